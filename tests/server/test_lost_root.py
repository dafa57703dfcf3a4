"""A root that goes while a server runs: nothing is acknowledged and hidden, and the server says what is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.backends.aistore.clients import Clients
from tests.server.sending import document, upload
from tests.services.aistore import AIStorePlace, Someone, aistore

from t9k.em.errors import EMError, StoreGone
from t9k.em.testing.uploads import finish, make_request, read_node
from t9k.em.testing.uploads import upload as upload_by
from t9k_em_backends.local import LocalBackend, LocalStore

CONTENT = {"a.bin": b"a" * 1000, "b.bin": b"b"}
KINDS = ("nothing", "an empty directory", "another store")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[AIStorePlace]:
    with aistore(tmp_path / "server") as place:
        yield place


def root_of(place: AIStorePlace) -> Path:
    return Path(place.settings["root"].removeprefix("file://"))


@contextmanager
def moved(root: Path, instead: str) -> Iterator[None]:
    """The root is elsewhere for as long as the block lasts."""
    elsewhere = root.with_name("elsewhere")
    root.rename(elsewhere)
    if instead == "an empty directory":
        root.mkdir()
    elif instead == "another store":
        LocalBackend(LocalStore(root), f"file://{root}").init_store()
    try:
        yield
    finally:
        if root.exists():
            root.rename(root.with_name("instead"))
        elsewhere.rename(root)


def wait_until_ready_says(someone: Someone, status: int) -> dict[str, Any]:
    """Waits until `/ready`, which looks once in some seconds, answers so; gives the answer."""
    before = time.monotonic() + 60
    while (answer := someone.ask("GET", "/ready")).status_code != status:
        assert time.monotonic() < before, answer.text
        time.sleep(0.1)
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.long
@pytest.mark.parametrize("instead", KINDS)
def test_uploads_are_refused_with_the_reason_and_go_on_when_the_root_is_back(place, instead) -> None:
    alice = place.someone()
    folder = f"/{alice.name}/f"
    there = upload(alice, folder, "m", CONTENT)
    begun = document(folder, "halfway", CONTENT)
    assert alice.ask("POST", "uploads", json=begun).status_code == 200
    assert (
        alice.ask("PUT", f"uploads/{begun['op']}/file", params={"key": "a.bin"}, data=CONTENT["a.bin"]).status_code
        == 204
    )
    with moved(root_of(place), instead):
        requests: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("PUT", f"uploads/{begun['op']}/file", {"params": {"key": "b.bin"}, "data": CONTENT["b.bin"]}),
            ("POST", f"uploads/{begun['op']}/commit", {}),
            ("POST", "uploads", {"json": document(folder, "new", CONTENT)}),
            ("POST", "folders", {"json": {"path": f"/{alice.name}/g"}}),
            ("GET", "nodes", {"params": {"path": f"{folder}/m"}}),
        )
        for method, path, options in requests:
            answer = alice.ask(method, path, **options)
            assert answer.status_code == 503, (path, answer.text)
            assert answer.json()["error"]["code"] == "store_gone"
            assert "is not mounted" in answer.json()["error"]["message"]
            assert str(root_of(place)) not in answer.text, "where the store lies is none of the client's business"
        told = wait_until_ready_says(alice, 503)
        assert told["error"]["code"] == "store_gone"
        assert "is not mounted" in told["error"]["message"]
        assert alice.ask("GET", "/health").status_code == 200
        if instead == "nothing":
            assert not root_of(place).exists()
    assert alice.ask("GET", "/ready").status_code == 200
    listed = alice.ask("GET", "nodes/children", params={"path": folder}).json()["items"]
    assert [node["name"] for node in listed] == ["m"]
    assert listed[0]["generation"] == there["generation"]
    assert (
        alice.ask("PUT", f"uploads/{begun['op']}/file", params={"key": "b.bin"}, data=CONTENT["b.bin"]).status_code
        == 204
    )
    assert alice.ask("POST", f"uploads/{begun['op']}/commit").json()["outcome"] == "published"
    assert str(root_of(place)) in place.log(), "the log says which store is gone"


@pytest.mark.long
@pytest.mark.parametrize("instead", ["nothing", "another store"])
def test_clients_that_upload_all_the_time_lose_nothing_that_was_acknowledged(place, instead) -> None:
    people = [place.someone() for _ in range(3)]
    acknowledged: dict[str, set[str]] = {person.name: set() for person in people}
    refused: list[EMError] = []
    sent, stop = threading.Event(), threading.Event()
    with Clients() as client:

        def send(person: Someone) -> None:
            backend, number = client(person), 0
            while not stop.is_set():
                number += 1
                name = f"n{number}"
                try:
                    upload_by(backend, make_request(f"/{person.name}/f", name, CONTENT), CONTENT)
                except EMError as error:
                    refused.append(error)
                    stop.wait(0.05)
                else:
                    acknowledged[person.name].add(name)
                    sent.set()

        threads = [threading.Thread(target=send, args=(person,)) for person in people]
        for thread in threads:
            thread.start()
        assert sent.wait(60)
        with moved(root_of(place), instead):
            before = len(refused)
            while len(refused) < before + 3 and any(thread.is_alive() for thread in threads):
                stop.wait(0.05)
        told = [error for error in refused if isinstance(error, StoreGone)]
        assert told
        assert "mark is missing" in str(told[0])
        sent.clear()
        assert sent.wait(60), "they go on when it is back"
        stop.set()
        for thread in threads:
            thread.join()
        for person in people:
            backend = client(person)
            found = {node.name: node for node in backend.list(f"/{person.name}/f")}
            assert acknowledged[person.name] <= found.keys()
            assert all(read_node(backend, node) == CONTENT for node in found.values())


@pytest.mark.long
def test_a_client_goes_on_with_its_upload_when_the_root_is_back(place) -> None:
    alice = place.someone()
    with Clients() as client:
        backend = client(alice)
        begun = backend.begin(request := make_request(f"/{alice.name}/f", "m", CONTENT))
        with moved(root_of(place), "an empty directory"), pytest.raises(StoreGone):
            finish(begun, CONTENT)
        node = upload_by(backend, request, CONTENT)
        assert read_node(backend, node) == CONTENT


@pytest.mark.long
@pytest.mark.parametrize("instead", ["nothing", "an empty directory"])
def test_a_server_that_starts_without_its_root_is_not_ready_until_it_is_back(place, instead) -> None:
    alice = place.someone()
    upload(alice, f"/{alice.name}/f", "m", CONTENT)
    place.stop()
    with moved(root_of(place), instead):
        place.start("/health")
        answer = alice.ask("GET", "/ready")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_gone")
        assert "em server --root" in place.log()
    assert alice.ask("GET", "/ready").status_code == 200
    assert alice.ask("GET", "nodes", params={"path": f"/{alice.name}/f/m"}).status_code == 200


@pytest.mark.long
def test_another_store_is_served_once_somebody_has_accepted_it(place) -> None:
    alice = place.someone()
    upload(alice, f"/{alice.name}/f", "m", CONTENT)
    root = root_of(place)
    root.rename(root.with_name("elsewhere"))
    other = LocalBackend(LocalStore(root), f"file://{root}").init_store()
    wait_until_ready_says(alice, 503)
    place.accounts.accept_store(f"file://{root}", other)
    before = time.monotonic() + 60
    folder = {"path": f"/{alice.name}/f"}
    while (
        answer := alice.ask("POST", "folders", json=folder)
    ).status_code != 200:  # and nobody asks whether it is ready
        assert (answer.status_code, time.monotonic() < before) == (503, True), answer.text
        time.sleep(0.1)
    assert alice.ask("GET", "/ready").status_code == 200
    upload(alice, f"/{alice.name}/f", "m", CONTENT)
