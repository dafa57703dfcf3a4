"""What is fetched appears whole, under a name of its own, and never in place of something else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from t9k import em
from t9k.em import loading
from t9k.em.artifact import Artifact
from t9k.em.errors import CorruptData, LocalError, NotFound
from t9k.em.loading import fetch_artifact, fetch_run
from t9k.em.run import Run


@pytest.fixture
def run(backend, monkeypatch) -> Run:
    run = Run({"name": "r"})
    run.log("train", {"loss": 1}, step=1)
    run.finish()
    run.upload()
    monkeypatch.setenv("EM_RUN_PARENT_DIR", "loaded")
    return run


def test_a_run_comes_whole_and_knows_where_it_is_from(run, backend):
    loaded = fetch_run(backend, "/alice/default/r")
    assert Path(loaded.local) == Path("loaded").absolute() / run.alternative_name
    assert loaded.to_dict() == run.to_dict()
    [entry] = loaded.remote
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"action": "download", "uri": backend.uri, "path": "/alice/default/r", "generation": "1"}


def test_a_directory_that_holds_the_same_is_used(run, backend, monkeypatch):
    first = fetch_run(backend, "/alice/default/r")
    assert fetch_run(backend, "/alice/default/r").local == first.local
    monkeypatch.delenv("EM_RUN_PARENT_DIR")
    assert fetch_run(backend, "/alice/default/r").local == run.local
    assert len(list(Path("loaded").iterdir())) == 1


@pytest.mark.parametrize("change", ["log", "missing", "file"])
def test_a_directory_that_holds_something_else_is_left_alone(run, backend, snapshot, change):
    first = fetch_run(backend, "/alice/default/r")
    if change == "log":
        first.log("train", {"loss": 2}, step=2)
        first.finish()
    elif change == "missing":
        (Path(first.local) / "metrics" / "train.yaml").unlink()
    else:
        Path(first.local).rename("away")
        Path(first.local).write_text("a file")
    before = snapshot(Path("loaded"))
    second = fetch_run(backend, "/alice/default/r")
    assert second.local.startswith(f"{first.local}-")
    assert second.alternative_name == run.alternative_name
    assert second.to_dict() == run.to_dict()
    assert {path: data for path, data in snapshot(Path("loaded")).items() if path in before} == before


def test_threads_that_fetch_the_same_get_it_each(run, backend):
    found: list[str] = []
    start = threading.Barrier(6)

    def fetch() -> None:
        start.wait()
        found.append(fetch_run(backend, "/alice/default/r").local)

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for local in found:
        assert em.load_run(local).to_dict() == run.to_dict()
    assert not [path for path in Path("loaded").iterdir() if path.name.startswith(".em-fetch-")]


def test_nothing_is_left_of_what_failed(run, backend, monkeypatch):
    def fail(*_: object) -> None:
        raise CorruptData("damaged")

    monkeypatch.setattr(backend, "read", fail)
    with pytest.raises(CorruptData):
        fetch_run(backend, "/alice/default/r")
    assert list(Path("loaded").iterdir()) == []


def test_other_errors_of_the_system_come_out_as_they_are(run, backend, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(loading.Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        fetch_run(backend, "/alice/default/r")
    assert list(Path("loaded").iterdir()) == []


def test_an_old_version_is_never_replaced_by_the_newest(run, backend, monkeypatch):
    again = em.load_run(run.local)
    again.log("train", {"loss": 2}, step=2)
    again.upload()
    read = backend.read
    monkeypatch.setattr(
        backend, "read", lambda node, file, *args: iter([b"x"]) if node.generation == 1 else read(node, file, *args)
    )
    with pytest.raises(CorruptData):
        fetch_run(backend, "/alice/default/r@1")
    assert len(fetch_run(backend, "/alice/default/r").metrics["train"]) == 2


def test_a_version_that_is_collected_meanwhile_gives_way_to_the_newest(run, backend, monkeypatch):
    again = em.load_run(run.local)
    again.log("train", {"loss": 2}, step=2)
    old = backend.stat("/alice/default/r")
    again.upload()
    read, stat = backend.read, backend.stat
    seen = []

    def first_an_old_one(path):
        seen.append(path)
        return old if len(seen) == 1 else stat(path)

    def collected(node, file, *args):
        if node.generation == 1:
            raise NotFound("collected")
        return read(node, file, *args)

    monkeypatch.setattr(backend, "stat", first_an_old_one)
    monkeypatch.setattr(backend, "read", collected)
    loaded = fetch_run(backend, "/alice/default/r")
    assert len(loaded.metrics["train"]) == 2
    assert loaded.remote[-1]["generation"] == "2"


def test_the_other_kind_is_refused_with_advice(run, backend):
    with pytest.raises(NotFound, match="is a Run; load it with em.load_run"):
        fetch_artifact(backend, "/alice/default/r")
    Artifact({"name": "a"}).upload()
    with pytest.raises(NotFound, match="load it with em.load_artifact"):
        fetch_run(backend, "/alice/default/a")
    with pytest.raises(NotFound, match="is a Folder; list what is in it"):
        fetch_run(backend, "/alice/default")


def test_a_name_as_long_as_can_be_finds_room_for_another(backend, monkeypatch):
    artifact = Artifact({"name": "n" * 255})
    artifact.upload()
    monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "loaded")
    first = fetch_artifact(backend, f"/alice/default/{'n' * 255}")
    (Path(first.local) / "index.yaml").unlink()
    second = fetch_artifact(backend, f"/alice/default/{'n' * 255}")
    assert second.local != first.local
    assert second.to_dict() == artifact.to_dict()


class TestToAnotherPlace:
    def test_a_run_and_an_artifact_become_what_was_asked_for(self, run, backend):
        loaded = fetch_run(backend, "/alice/default/r", directory=Path("deep/er/mine"))
        assert loaded.local == os.path.abspath("deep/er/mine")
        assert loaded.to_dict() == run.to_dict()
        assert fetch_run(backend, "/alice/default/r", directory=Path("deep/er/mine")).local == os.path.abspath(
            "deep/er/mine"
        )
        Artifact({"name": "a"}).upload()
        Path("empty").mkdir()
        assert fetch_artifact(backend, "/alice/default/a", directory=Path("empty")).local == os.path.abspath("empty")

    @pytest.mark.parametrize("kind", ["file", "directory", "node"])
    def test_what_is_there_is_left_alone(self, run, backend, snapshot, tmp_path, kind):
        if kind == "file":
            Path("there").write_text("keep")
        elif kind == "directory":
            Path("there").mkdir()
            Path("there/keep").write_text("keep")
        else:
            Path(Run({"name": "other"}).local).rename("there")
        before = snapshot(tmp_path)
        with pytest.raises(LocalError, match="holds something else; choose a directory that does not exist"):
            fetch_run(backend, "/alice/default/r", directory=Path("there"))
        assert snapshot(tmp_path) == before

    def test_other_errors_of_the_system_come_out_as_they_are(self, run, backend, monkeypatch):
        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(loading.Path, "rename", fail)
        with pytest.raises(OSError, match="Input/output"):
            fetch_run(backend, "/alice/default/r", directory=Path("there"))
