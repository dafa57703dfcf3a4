"""What a transfer tells of itself: all bytes once, and large files while they move."""

import os
from pathlib import Path

import pytest

from t9k import em
from t9k.em import session
from t9k.em.records import CHUNK_BYTES, Body
from t9k.em.transfer.progress import Watch


class Record:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.plans: list[tuple[str, int, int]] = []
        self.steps: list[tuple[int, int]] = []

    def start(self, what: str, files: int, size: int) -> None:
        self.plans.append((what, files, size))

    def advance(self, files: int, size: int) -> None:
        self.steps.append((files, size))

    @property
    def total(self) -> tuple[int, int]:
        return sum(files for files, _ in self.steps), sum(size for _, size in self.steps)


@pytest.fixture
def record() -> Record:
    return Record()


def test_an_upload_and_a_download_tell_every_byte_once_and_large_files_in_steps(record: Record, store: str) -> None:
    Path("large").write_bytes(os.urandom(5 * CHUNK_BYTES))
    artifact = em.create_artifact("a")
    artifact.add_file("large")
    backend = session.login(store)
    artifact.send(backend, "/alice/default", progress=record)
    (what, files, size) = record.plans[-1]
    assert what == "uploading a"
    assert record.total == (files, size)
    assert len([step for step in record.steps if step[0] == 0]) >= 5

    os.rename(".em", "elsewhere")
    record.plans, record.steps = [], []
    em.load_artifact("default/a").download(progress=record)
    assert record.plans == [("downloading a", 1, 5 * CHUNK_BYTES)]
    assert record.total == (1, 5 * CHUNK_BYTES)
    assert len(record.steps) > 5


@pytest.mark.parametrize("reads", [0, 1, 3])
def test_a_body_counts_once_however_often_a_store_reads_it(record: Record, reads: int) -> None:
    watch = Watch(Body.of(b"x" * 10), record)
    for _ in range(reads):
        assert watch.body.read() == b"x" * 10
    watch.done()
    assert record.total == (1, 10)


def test_a_store_may_ask_the_stream_for_its_descriptor(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    body = Body(size=4, sha256=Body.of(b"data").sha256, open=lambda: path.open("rb"), path=path)
    with Watch(body, record).body.open() as stream:
        assert os.pread(stream.fileno(), 4, 0) == b"data"
