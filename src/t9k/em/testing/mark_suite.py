"""What `t9k.em.backend.MarksStore` promises, as tests: who has seen a store takes nothing else for it."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

from collections.abc import Callable

import pytest

from t9k.em.backend import Backend, Collects, MarksStore
from t9k.em.errors import StoreGone
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.uploads import finish, make_request, read_node, upload

_FILES = {"weights.bin": b"\0" * 1000, "empty": b""}
_OTHER = {"other.txt": b"other"}
_NEVER = "0" * 32


class MarkSuite(BackendFixtures):
    """Conformance tests of a backend whose store has a mark; a part of `BackendSuite`."""

    def test_a_store_gets_a_mark_when_it_is_first_written_to(self, backend: Backend, folder: str) -> None:
        marked = _marked(backend)
        assert marked.store_id() == ""
        upload(backend, make_request(folder, "m", _FILES), _FILES)
        known = marked.store_id()
        assert 0 < len(known) <= 100
        assert known.isprintable()
        upload(backend, make_request(folder, "n", _FILES), _FILES)
        backend.delete(f"{folder}/n")
        assert marked.store_id() == known

    def test_clients_of_one_store_see_one_mark(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        known = _marked(backend).init_store()
        assert known
        assert list(backend.list(f"/{backend.whoami()}")) == [], "a store that is made holds nothing yet"
        other = new_backend()
        assert _marked(other).init_store() == known
        upload(other, make_request(folder, "m", _FILES), _FILES)
        assert _marked(other).store_id() == _marked(backend).store_id() == known

    def test_who_has_seen_a_store_that_is_gone_writes_nothing_until_it_is_back(
        self, backend: Backend, folder: str, take_away: Callable[[], Callable[[], None]]
    ) -> None:
        marked = _marked(backend)
        there = upload(backend, make_request(folder, "m", _FILES), _FILES)
        known = marked.store_id()
        request = make_request(folder, "n", _OTHER)
        begun = backend.begin(request)
        put_back = take_away()
        with pytest.raises(StoreGone):
            finish(begun, _OTHER)
        for made in (True, False):
            with pytest.raises(StoreGone):
                upload(backend, make_request(folder, "x", _OTHER, make_folder=made), _OTHER)
        with pytest.raises(StoreGone):
            backend.make_folder(f"{folder}/new")
        put_back()
        assert marked.store_id() == known
        assert read_node(backend, backend.stat(there.path)) == _FILES
        assert [node.path for node in backend.list(folder)] == [there.path]
        node = upload(backend, request, _OTHER)
        assert read_node(backend, backend.stat(node.path)) == _OTHER

    def test_who_expects_a_store_neither_writes_to_an_empty_place_nor_finds_nothing_there(
        self, backend: Backend, folder: str
    ) -> None:
        _marked(backend).expect_store(_NEVER, instead="say yes")
        for what in (
            lambda: backend.list(f"/{backend.whoami()}"),
            lambda: backend.stat(folder),
            lambda: backend.versions(folder),
            lambda: backend.make_folder(folder),
            lambda: backend.begin(make_request(folder, "m", _FILES)),
        ):
            with pytest.raises(StoreGone, match="say yes"):
                what()

    def test_another_store_in_its_place_is_refused_unless_somebody_accepts_it(
        self,
        backend: Backend,
        new_backend: Callable[[], Backend],
        folder: str,
        take_away: Callable[[], Callable[[], None]],
    ) -> None:
        marked, stranger = _marked(backend), new_backend()
        if stranger is backend:
            pytest.skip("it has one client only")
        known = marked.init_store()
        put_back = take_away()
        other = _marked(stranger).init_store()
        assert other != known
        with pytest.raises(StoreGone, match=other):
            upload(backend, make_request(folder, "m", _FILES), _FILES)
        with pytest.raises(StoreGone):
            _marked(stranger).expect_store(known)
        marked.expect_store(other, is_accepted=True)
        upload(backend, make_request(folder, "m", _FILES), _FILES)
        marked.expect_store(known)  # what others have seen counts less than what was accepted
        assert marked.store_id() == other
        put_back()

    def test_collecting_leaves_the_mark_alone(self, backend: Backend, folder: str) -> None:
        known = _marked(backend).init_store()
        if not isinstance(backend, Collects):
            pytest.skip("it is collected elsewhere")
        upload(backend, make_request(folder, "m", _FILES), _FILES)
        backend.delete(f"{folder}/m")
        backend.collect(grace_s=-60.0, apply=True)
        assert _marked(backend).store_id() == known


def _marked(backend: Backend) -> MarksStore:
    if not isinstance(backend, MarksStore):
        pytest.skip("its store has no mark")
    return backend
