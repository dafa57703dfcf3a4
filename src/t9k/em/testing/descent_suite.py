"""What a backend promises to who uploads one node from several copies, as tests."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from t9k.em.backend import Backend, Collects
from t9k.em.errors import Conflict, Diverged
from t9k.em.names import STRATEGIES, new_op
from t9k.em.records import Body, Outcome, UploadRequest
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.backend_suite import FILES, OTHER
from t9k.em.testing.uploads import finish, make_request, read_node, upload

MINE, THEIRS = {**FILES, "mine": b"mine"}, {**FILES, "theirs": b"theirs"}


class DescentSuite(BackendFixtures):
    """Conformance tests of a backend that keeps a copy from being put over what it does not come from."""

    @pytest.fixture
    def first(self, backend: Backend, folder: str) -> UploadRequest:
        """Provide the first version, which is there."""
        request = make_request(folder, "m", FILES, ancestors=())
        upload(backend, request, FILES)
        return request

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_what_comes_from_the_newest_version_is_published(
        self, backend: Backend, folder: str, first: UploadRequest, strategy: str
    ) -> None:
        before = backend.stat(f"{folder}/m")
        assert before.op == first.op
        request = make_request(folder, "m", MINE, id=first.draft.id, strategy=strategy, ancestors=[new_op(), before.op])
        node = upload(backend, request, MINE)
        assert (node.path, node.op) == (before.path, request.op)
        assert read_node(backend, backend.stat(node.path)) == MINE

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_another_copy_overwrites_only_by_replace(
        self, backend: Backend, folder: str, first: UploadRequest, strategy: str
    ) -> None:
        theirs = make_request(folder, "m", THEIRS, id=first.draft.id, ancestors=[first.op])
        upload(backend, theirs, THEIRS)
        mine = make_request(folder, "m", MINE, id=first.draft.id, strategy=strategy, ancestors=[first.op])
        if strategy == "replace":
            assert read_node(backend, upload(backend, mine, MINE)) == MINE
            return
        with pytest.raises(Diverged):
            backend.begin(mine)
        assert read_node(backend, backend.stat(f"{folder}/m")) == THEIRS

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_copy_that_was_never_there_overwrites_only_by_replace(
        self, backend: Backend, folder: str, first: UploadRequest, strategy: str
    ) -> None:
        mine = make_request(folder, "m", MINE, id=first.draft.id, strategy=strategy, ancestors=[])
        if strategy == "replace":
            assert read_node(backend, upload(backend, mine, MINE)) == MINE
            return
        with pytest.raises(Conflict):
            backend.begin(mine)

    def test_who_says_nothing_publishes_on_top_of_what_is_there(
        self, backend: Backend, folder: str, first: UploadRequest
    ) -> None:
        request = make_request(folder, "m", MINE, id=first.draft.id)
        assert request.ancestors is None
        assert read_node(backend, upload(backend, request, MINE)) == MINE

    def test_the_same_as_the_newest_is_no_conflict(self, backend: Backend, folder: str, first: UploadRequest) -> None:
        again = finish(backend.begin(make_request(folder, "m", FILES, id=first.draft.id, ancestors=[])), FILES)
        assert again.outcome is Outcome.UNCHANGED
        assert again.node is not None
        assert again.node.op == first.op, "so that the copy comes from it now"

    def test_the_one_who_comes_second_at_the_end_is_told(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str, first: UploadRequest
    ) -> None:
        mine = backend.begin(make_request(folder, "m", MINE, id=first.draft.id, ancestors=[first.op]))
        theirs = make_request(folder, "m", THEIRS, id=first.draft.id, ancestors=[first.op])
        upload(new_backend(), theirs, THEIRS)
        with pytest.raises(Diverged):
            finish(mine, MINE)
        assert read_node(backend, backend.stat(f"{folder}/m")) == THEIRS

    def test_two_copies_that_begin_at_once_are_one_version_and_a_conflict(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        mine = make_request(folder, "m", MINE, ancestors=[])
        one = backend.begin(mine)
        theirs = make_request(folder, "m", THEIRS, id=mine.draft.id, ancestors=[])
        upload(new_backend(), theirs, THEIRS)
        with pytest.raises(Diverged):
            finish(one, MINE)

    def test_what_was_published_already_is_no_conflict(
        self, backend: Backend, folder: str, first: UploadRequest
    ) -> None:
        mine = make_request(folder, "m", MINE, id=first.draft.id, ancestors=[first.op])
        upload(backend, mine, MINE)
        theirs = make_request(folder, "m", THEIRS, id=first.draft.id, ancestors=[mine.op])
        upload(backend, theirs, THEIRS)
        again = finish(backend.begin(evolve(mine, resumed=True)), MINE)
        assert (again.outcome, again.node and again.node.op) == (Outcome.PUBLISHED, mine.op)
        assert read_node(backend, backend.stat(f"{folder}/m")) == THEIRS

    def test_under_the_alternative_name_it_is_the_same(self, backend: Backend, folder: str) -> None:
        upload(backend, make_request(folder, "m", OTHER, ancestors=[]), OTHER)
        mine = make_request(folder, "m", FILES, strategy="new", alternative_name="m_alt", ancestors=[])
        upload(backend, mine, FILES)
        theirs = evolve(
            make_request(folder, "m", THEIRS, id=mine.draft.id, strategy="new", alternative_name="m_alt"),
            prefer_alternative=True,
            ancestors=(mine.op,),
        )
        assert upload(backend, theirs, THEIRS).path == f"{folder}/m_alt"
        late = make_request(
            folder, "m", MINE, id=mine.draft.id, strategy="new", alternative_name="m_alt", ancestors=[mine.op]
        )
        for request in (late, evolve(late, op=new_op(), prefer_alternative=True)):
            with pytest.raises(Diverged):
                finish(backend.begin(request), MINE)
        assert read_node(backend, backend.stat(f"{folder}/m_alt")) == THEIRS

    def test_after_a_deletion_any_copy_may_be_uploaded(
        self, backend: Backend, folder: str, first: UploadRequest
    ) -> None:
        backend.delete(f"{folder}/m")
        request = make_request(folder, "m", MINE, id=first.draft.id, ancestors=[])
        assert read_node(backend, upload(backend, request, MINE)) == MINE

    def test_a_collection_makes_no_copy_older(self, backend: Backend, folder: str, first: UploadRequest) -> None:
        if not isinstance(backend, Collects):
            return
        second = make_request(folder, "m", OTHER, id=first.draft.id, ancestors=[first.op])
        upload(backend, second, OTHER)
        left = backend.begin(make_request(folder, "m", MINE, id=first.draft.id, ancestors=[second.op]))
        left.put([(file, Body.of(MINE[file.key])) for file in left.missing])
        backend.collect(grace_s=-60, apply=True)
        assert backend.stat(f"{folder}/m").op == second.op
        same = finish(backend.begin(make_request(folder, "m", OTHER, id=first.draft.id, ancestors=[])), OTHER)
        assert same.node is not None
        assert same.node.op == second.op
        with pytest.raises(Diverged):
            backend.begin(make_request(folder, "m", MINE, id=first.draft.id, ancestors=[first.op]))
        request = make_request(folder, "m", MINE, id=first.draft.id, ancestors=[second.op])
        assert read_node(backend, upload(backend, request, MINE)) == MINE
