"""Uploads: what is missing in batches and in parallel, until the backend says what became of it."""

from __future__ import annotations

import threading

import pytest

from t9k.em import session
from t9k.em.errors import Conflict, InvalidName, SourceChanged, UploadFenced
from t9k.em.local.state import LocalState
from t9k.em.records import ARTIFACT, Body, Draft, Outcome
from t9k.em.transfer.uploading import BATCH_BYTES, upload_node

DRAFT = Draft(kind=ARTIFACT, name="x", alternative_name="x_1", id="1", metadata={"a": 1})


class Progress:
    def __init__(self) -> None:
        self.plans: list[tuple[str, int, int]] = []
        self.done: list[tuple[int, int]] = []

    def start(self, what: str, files: int, size: int) -> None:
        self.plans.append((what, files, size))

    def advance(self, files: int, size: int) -> None:
        self.done.append((files, size))


def bodies(**files: bytes) -> dict[str, Body]:
    return {key: Body.of(data) for key, data in files.items()}


def spied(backend, monkeypatch, before_put=lambda keys: None):
    """The batches that a backend is given."""
    begin, batches = backend.begin, []

    def begin_spied(request):
        upload = begin(request)
        put = upload.put

        def put_spied(items):
            keys = [file.key for file, _ in items]
            before_put(keys)
            batches.append(keys)
            put(items)

        upload.put = put_spied
        return upload

    monkeypatch.setattr(backend, "begin", begin_spied)
    return batches


def test_publishes_the_files_of_a_draft(backend):
    outcome, node = upload_node(backend, "/alice/default", DRAFT, bodies(b=b"2", a=b"1"), strategy="error")
    assert (outcome, node.path, node.metadata, node.size) == (Outcome.PUBLISHED, "/alice/default/x", {"a": 1}, 2)
    assert [file.key for file in backend.files(node)] == ["a", "b"]
    assert (
        upload_node(backend, "/alice/default", DRAFT, bodies(b=b"2", a=b"1"), strategy="error")[0] is Outcome.UNCHANGED
    )


def test_of_no_files_is_a_node_too(backend):
    assert upload_node(backend, "/alice/default", DRAFT, {}, strategy="new")[1].file_count == 0


def test_goes_in_batches_of_limited_number_and_size(backend, monkeypatch):
    batches = spied(backend, monkeypatch)
    most = backend.batch_files
    small = {f"s{number:03}": Body.of(b"x") for number in range(most + 1)}
    large = {f"t{number}": Body.of(bytes(BATCH_BYTES // 2 + 1)) for number in range(2)}
    progress = Progress()
    upload_node(backend, "/alice/default", DRAFT, small | large, strategy="new", progress=progress)
    assert sorted(map(len, batches)) == [1, 2, most]
    size = most + 1 + 2 * (BATCH_BYTES // 2 + 1)
    assert progress.plans == [("uploading x", most + 3, size)]
    assert tuple(map(sum, zip(*progress.done, strict=True))) == (most + 3, size)


def test_goes_in_parallel(backend, monkeypatch):
    together = threading.Barrier(2)
    spied(backend, monkeypatch, lambda keys: together.wait(60))
    large = {f"t{number}": Body.of(bytes(BATCH_BYTES)) for number in range(2)}
    assert upload_node(backend, "/alice/default", DRAFT, large, strategy="new")[0] is Outcome.PUBLISHED


def test_that_fails_starts_nothing_else_and_publishes_nothing(backend, monkeypatch):
    def fail(keys):
        raise SourceChanged("it changed")

    spied(backend, monkeypatch, fail)
    large = {f"t{number}": Body.of(bytes(BATCH_BYTES)) for number in range(3)}
    with pytest.raises(SourceChanged):
        upload_node(backend, "/alice/default", DRAFT, large, strategy="new")
    assert backend.list("/alice/default") == []


def test_plans_again_when_somebody_else_was_faster(backend, monkeypatch):
    other = Draft(kind=ARTIFACT, name="x", alternative_name="x_2", id="2")
    raced: list[list[str]] = []

    def race(keys):
        if not raced:
            raced.append(keys)
            upload_node(session.backend_at(backend.uri), "/alice/default", other, bodies(a=b"other"), strategy="error")

    spied(backend, monkeypatch, race)
    outcome, node = upload_node(backend, "/alice/default", DRAFT, bodies(a=b"mine"), strategy="new")
    assert (outcome, node.path) == (Outcome.PUBLISHED, "/alice/default/x_1")
    assert backend.stat("/alice/default/x").id == "2"


def test_that_is_skipped_or_refused_moves_no_byte(backend, monkeypatch):
    upload_node(backend, "/alice/default", DRAFT, bodies(a=b"1"), strategy="new")
    batches = spied(backend, monkeypatch)
    other = Draft(kind=ARTIFACT, name="x", alternative_name="x_2", id="2")
    assert upload_node(backend, "/alice/default", other, bodies(a=b"2"), strategy="skip")[0] is Outcome.SKIPPED
    with pytest.raises(Conflict):
        upload_node(backend, "/alice/default", other, bodies(a=b"2"), strategy="error")
    assert batches == []


@pytest.mark.parametrize("folder", ["/alice/default@1", "/alice@12345678"])
def test_goes_into_no_version_of_a_folder(backend, folder):
    with pytest.raises(InvalidName, match="without '@' and digits"):
        upload_node(backend, folder, DRAFT, {}, strategy="new", make_folder=True)
    assert backend.list("/") == []


class TestJournal:
    def test_remembers_the_op_until_the_end(self, backend, tmp_path, monkeypatch):
        journal = LocalState(tmp_path)
        ops = []
        begin = backend.begin

        def interrupted(request):
            ops.append((request.op, request.resumed))
            if len(ops) == 1:
                raise KeyboardInterrupt
            return begin(request)

        monkeypatch.setattr(backend, "begin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            upload_node(backend, "/alice/default", DRAFT, bodies(a=b"1"), strategy="new", journal=journal)
        upload_node(backend, "/alice/default", DRAFT, bodies(a=b"1"), strategy="new", journal=LocalState(tmp_path))
        upload_node(backend, "/alice/default", DRAFT, bodies(a=b"2"), strategy="new", journal=journal)
        assert [resumed for _, resumed in ops] == [False, True, False]
        assert ops[0][0] == ops[1][0] != ops[2][0]

    def test_begins_anew_with_another_op_when_the_old_one_was_fenced(self, backend, tmp_path, monkeypatch):
        journal = LocalState(tmp_path)
        old, _ = journal.op_for(f"{backend.uri}#/alice/default", "other")
        ops = []
        begin = backend.begin

        def fenced(request):
            ops.append(request.op)
            if request.resumed:
                raise UploadFenced("collected")
            return begin(request)

        monkeypatch.setattr(backend, "begin", fenced)
        monkeypatch.setattr("t9k.em.transfer.uploading._digest", lambda *_: "other")
        outcome, _ = upload_node(backend, "/alice/default", DRAFT, bodies(a=b"1"), strategy="new", journal=journal)
        assert outcome is Outcome.PUBLISHED
        assert ops[0] == old != ops[1]

    def test_gives_up_when_a_new_op_is_fenced_too(self, backend, tmp_path, monkeypatch):
        def fenced(request):
            raise UploadFenced("collected")

        monkeypatch.setattr(backend, "begin", fenced)
        for journal in (None, LocalState(tmp_path)):
            with pytest.raises(UploadFenced):
                upload_node(backend, "/alice/default", DRAFT, {}, strategy="new", journal=journal)
        assert list((tmp_path / ".em" / "uploads").iterdir()) == []
