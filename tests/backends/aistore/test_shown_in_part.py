"""Of a folder that is shared in part, a listing says so, and a mirror deletes nothing for the sake of the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.backends.aistore.clients import Clients
from tests.backends.aistore.scripted import Reply, Request, Scripted, an_error, as_json
from tests.services.aistore import AIStorePlace, Someone

from t9k.em import session, wire
from t9k.em.backend import Backend
from t9k.em.errors import BackendError
from t9k.em.records import FOLDER, RUN, Node
from t9k.em.testing import make_request, upload
from t9k.em.transfer.mirroring.mirror import Side, run_mirror
from t9k.em.transfer.mirroring.nodes import Options
from t9k_em_backends.aistore import AIStoreBackend


def put(backend: Backend, *paths: str) -> None:
    for path in paths:
        folder, _, name = path.rpartition("/")
        upload(backend, make_request(folder, name, {}, kind=RUN), {})


def names(backend: Backend, path: str) -> set[str]:
    return {node.name for node in backend.list(path)}


@pytest.fixture
def bob(over_files: AIStorePlace) -> Someone:
    return over_files.someone(prefix="bob")


@pytest.fixture
def copy(tmp_path) -> Backend:
    return session.backend_at((tmp_path / "copy").as_uri())


def mirror(source: Backend, target: Backend, path: str) -> None:
    run_mirror(
        Side(backend=source, uri=source.uri, path=path),
        Side(backend=target, uri=target.uri, path=path),
        Options(delete=True),
    )


class TestAServer:
    def test_a_mirror_by_somebody_who_sees_a_part_takes_nothing_out_of_the_copy(
        self, over_files: AIStorePlace, client: Clients, alice: Someone, bob: Someone, copy: Backend
    ) -> None:
        home = f"/{alice.name}/team"
        whole = client(alice)
        put(whole, f"{home}/open/a", f"{home}/closed/b", f"{home}/c")
        mirror(whole, copy, home)
        over_files.accounts.share(f"{home}/open", "user", bob.name, "view", alice.name)
        mirror(client(bob), copy, home)
        assert names(copy, home) == {"open", "closed", "c"}
        whole.delete(f"{home}/open/a")
        put(whole, f"{home}/open/z")
        mirror(client(bob), copy, home)  # of what is shared all is seen
        assert names(copy, f"{home}/open") == {"z"}
        whole.delete(f"{home}/c")
        mirror(whole, copy, home)
        assert names(copy, home) == {"open", "closed"}

    def test_a_listing_says_whether_its_reader_sees_all(
        self, over_files: AIStorePlace, client: Clients, alice: Someone, bob: Someone
    ) -> None:
        home = f"/{alice.name}/team"
        put(client(alice), f"{home}/open/a", f"{home}/closed/b")
        over_files.accounts.share(f"{home}/open", "user", bob.name, "view", alice.name)
        by_alice, by_bob = client(alice), client(bob)
        assert by_alice.list_all(home).is_whole
        assert by_bob.list_all(f"{home}/open").is_whole
        assert [node.name for node in by_bob.list_all(home).nodes] == ["open"]
        assert not by_bob.list_all(home).is_whole
        assert not by_bob.list_all("/").is_whole
        assert not by_alice.list_all("/").is_whole

    def test_a_key_of_one_folder_sees_a_part_of_those_above(
        self, over_files: AIStorePlace, client: Clients, alice: Someone
    ) -> None:
        home = f"/{alice.name}/team"
        put(client(alice), f"{home}/open/a", f"{home}/closed/b")
        key = over_files.accounts.add_key(alice.name, folder=f"{home}/open")[1]
        narrow = client(Someone(alice.url, alice.name, key))
        assert narrow.list_all(f"{home}/open").is_whole
        assert not narrow.list_all(home).is_whole
        assert not narrow.list_all(f"/{alice.name}").is_whole

    def test_what_was_there_before_the_folder_that_one_may_pass_is_not_listed(
        self, over_files: AIStorePlace, client: Clients, alice: Someone, bob: Someone
    ) -> None:
        home = f"/{alice.name}/team"
        put(client(alice), f"{home}/was")
        over_files.accounts.share(f"{home}/was/deep", "user", bob.name, "view", alice.name)
        assert client(bob).list(home) == []


CHILD = wire.node_json(Node(path="/alice/x", kind=RUN, id="i", generation=1))


def listing(*wholes: bool | None, permission: str = "own") -> Callable[[Request], Reply]:
    """A folder in as many pages, each of which says whether it is whole."""

    def answers(request: Request) -> Reply:
        if request.what == "/nodes":
            return as_json(wire.node_json(Node(path="/alice", kind=FOLDER, id="", generation=0), permission))
        if request.what != "/nodes/children":
            return an_error("not_found")
        number = int(request.query.get("after", "0"))
        said = {} if wholes[number] is None else {"whole": wholes[number]}
        child = CHILD | {"path": f"/alice/x{number}"}
        return as_json({"items": [child], "next": str(number + 1) if number + 1 < len(wholes) else None, **said})

    return answers


def backend_of(client: Clients, server: Scripted) -> AIStoreBackend:
    return client(Someone(server.url, "alice", "6fa459ea-ee8a-3ca4-894e-db77e160355e"))


class TestOtherServers:
    @pytest.mark.parametrize(("permission", "whole"), [("own", True), ("edit", True), ("view", True), ("pass", False)])
    def test_of_an_older_one_the_permission_tells(self, client: Clients, permission: str, whole: bool) -> None:
        with Scripted(listing(None, permission=permission)) as server:
            assert backend_of(client, server).list_all("/alice").is_whole is whole

    @pytest.mark.parametrize("wholes", [(True, False), (False, True), (False,)])
    def test_one_page_that_is_not_whole_is_enough(self, client: Clients, wholes: tuple[bool, ...]) -> None:
        with Scripted(listing(*wholes)) as server:
            found = backend_of(client, server).list_all("/alice")
            assert (len(found.nodes), found.is_whole) == (len(wholes), False)

    def test_one_that_says_neither_is_not_understood(self, client: Clients) -> None:
        with Scripted(listing("yes")) as server, pytest.raises(BackendError, match="neither true nor false"):  # type: ignore[arg-type]
            backend_of(client, server).list_all("/alice")
