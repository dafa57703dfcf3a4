"""What `t9k.em.backend.ServesUsers` promises, as tests."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

import pytest

from t9k.em.backend import Backend, ServesUsers
from t9k.em.errors import FolderNotFound, InvalidInput, InvalidName
from t9k.em.records import FOLDER
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.uploads import make_request, read_node, upload

FILES = {"a": b"a"}


class ServesUsersSuite(BackendFixtures):
    """For backends that are `ServesUsers`."""

    def test_each_view_is_its_user_and_the_first_stays_who_it_was(self, backend: Backend) -> None:
        assert isinstance(backend, ServesUsers)
        me = backend.whoami()
        bob, carol = backend.for_user("bob"), backend.for_user("carol")
        assert isinstance(bob, ServesUsers)
        assert [user.whoami() for user in (bob, carol, bob.for_user("dan"), backend)] == ["bob", "carol", "dan", me]
        assert bob.uri == backend.uri

    def test_the_home_of_each_user_always_exists(self, backend: Backend) -> None:
        assert isinstance(backend, ServesUsers)
        bob = backend.for_user("bob")
        for path in ("/bob", "/bob/default"):
            assert bob.stat(path).kind == FOLDER
            assert list(bob.list(path)) == []
            with pytest.raises(InvalidInput):
                bob.delete("/bob")
        with pytest.raises(FolderNotFound):
            backend.list("/bob")

    def test_what_a_user_writes_is_theirs_and_everybody_sees_it(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, ServesUsers)
        bob = backend.for_user("bob")
        made = bob.make_folder(folder)
        node = upload(bob, make_request(folder, "m", FILES, make_folder=False), FILES)
        home = upload(bob, make_request("/bob/default", "m", FILES, make_folder=False), FILES)
        assert [seen.writer for seen in (made, node, home)] == ["bob"] * 3
        assert backend.stat(node.path) == node
        assert read_node(backend, backend.stat(home.path)) == FILES
        backend.for_user("carol").delete(node.path)
        assert bob.versions(node.path)[0].writer == "carol"

    @pytest.mark.parametrize("user", ["", ".", "..", "a/b", "a\\b", "a\0", "x@3", ".em", "x" * 256])
    def test_nobody_can_be_called_so(self, backend: Backend, user: str) -> None:
        assert isinstance(backend, ServesUsers)
        with pytest.raises(InvalidName):
            backend.for_user(user)

    def test_a_view_that_is_closed_opens_again_and_so_does_the_backend(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, ServesUsers)
        with backend.for_user("bob") as bob:
            node = upload(bob, make_request(folder, "m", FILES), FILES)
        assert read_node(backend, backend.stat(node.path)) == FILES
        assert bob.stat(node.path) == node
