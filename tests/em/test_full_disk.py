"""A full disk: a clear error, nothing half written, and everything goes on when there is space again."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import pytest
from tests.em.local.faultydisk import fill, mounted

from t9k import em
from t9k.em.artifact import Artifact
from t9k.em.errors import IncompleteWarning, LocalError
from t9k.em.local import lost_lines
from t9k.em.run import Run


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small disk, which is the working directory."""
    with mounted(tmp_path / "small", "size=1m") as small:
        monkeypatch.chdir(small)
        yield small
        monkeypatch.chdir(tmp_path)


def test_a_run_that_cannot_be_made_leaves_nothing(small):
    fill(small)
    with pytest.raises(LocalError, match="free some space there, or choose another directory"):
        Run({"name": "r"}, hparams={str(number): "x" * 1000 for number in range(100)})
    assert list(small.glob(".em/runs/*")) == []
    (small / "filler").unlink()
    Run({"name": "r"})


def log(run: Run, numbers: range, *, name: str = "x", kinds: tuple[str, ...] = ("train",)) -> None:
    for step in numbers:
        for kind in kinds:
            run.log(kind, {name: step}, step=step)


def incomplete(caught) -> list[str]:
    return [str(warning.message) for warning in caught if warning.category is IncompleteWarning]


def test_metrics_that_do_not_fit_are_lost_whole_and_told_once(small, monkeypatch):
    run = Run({"name": "r"})
    run.log("train", {"x": 0}, step=0)
    fill(small)
    with pytest.warns(IncompleteWarning) as caught:
        log(run, range(1, 200), kinds=("train", "own"))
    (began,) = incomplete(caught)
    assert "No space left on device; free some space there" in began
    assert "The run goes on" in began
    kept = [entry["sequence"]["step"] for entry in run.metrics["train"]]
    assert kept == list(range(len(kept)))  # what fitted
    assert len(kept) < 200
    assert run.metrics.get("own", []) == []

    (small / "filler").unlink()
    monkeypatch.setattr(lost_lines, "_CALM_S", 0.0)
    with pytest.warns(IncompleteWarning) as caught:
        log(run, range(200, 210))
    lost = f"199 of type 'own', {200 - len(kept)} of type 'train'"
    there = Path(run.local).absolute() / "metrics"
    assert incomplete(caught) == [f"{there}: metrics are written again; lost were {lost}"]
    with pytest.warns(IncompleteWarning) as caught:
        run.finish()
    assert f"{lost} could not be written and are lost" in incomplete(caught)[0]
    assert [entry["sequence"]["step"] for entry in em.load_run(run.local).metrics["train"]] == [*kept, *range(200, 210)]
    run.finish()


def log_long_and_short(run: Run) -> None:
    for step in range(1, 60):
        run.log("train", {"x" * 2000: step}, step=step)
        run.log("own", {"x": step}, step=step)


def test_a_nearly_full_disk_takes_what_fits_and_that_ends_no_fault(small):
    run = Run({"name": "r"})
    run.log("train", {"x": 0}, step=0)
    run.log("own", {"x": 0}, step=0)
    fill(small)
    with pytest.warns(IncompleteWarning) as caught:
        log_long_and_short(run)
    assert len(incomplete(caught)) == 1
    steps = [entry["sequence"]["step"] for entry in run.metrics["own"]]
    assert steps == list(range(len(steps)))
    assert len(steps) > 10
    (small / "filler").unlink()
    with pytest.warns(IncompleteWarning, match="of type 'train' could not be written"):
        run.finish()


def test_warnings_that_are_errors_do_not_raise_into_the_loop(small):
    run = Run({"name": "r"})
    run.log("train", {"x": 0}, step=0)
    fill(small)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log(run, range(200))
    (small / "filler").unlink()
    with pytest.warns(IncompleteWarning, match="could not be written and are lost"):
        run.finish()


def test_the_index_names_a_type_that_began_on_a_full_disk(small):
    run = Run({"name": "r"})
    fill(small)
    kind = "x" * 300  # known from the index only
    with pytest.warns(IncompleteWarning, match="The run goes on"):
        run.log(kind, {"x": 0}, step=0)
    (small / "filler").unlink()
    run.log(kind, {"x": 1}, step=1)
    assert em.load_run(run.local).metrics[kind][-1]["value"] == {"x": 1}


def test_a_run_that_is_loaded_logs_although_it_cannot_say_that_it_goes_on(small):
    with Run({"name": "r"}) as run:
        run.log("train", {"x": 0}, step=0)
    loaded = em.load_run(run.local)
    fill(small)
    with pytest.warns(IncompleteWarning, match="on the disk it still has ended: .*free some space"):
        loaded.log("train", {"x": 1}, step=1)
    (small / "filler").unlink()
    loaded.finish()
    assert [entry["sequence"]["step"] for entry in loaded.metrics["train"]] == [0, 1]


def test_a_disk_that_becomes_read_only_and_writable_again(tmp_path, monkeypatch):
    monkeypatch.setattr(lost_lines, "_CALM_S", 0.0)
    with mounted(tmp_path / "disk", "size=1m") as disk:
        monkeypatch.chdir(disk)
        run = Run({"name": "r"})
        run.log("train", {"x": 0}, step=0)
        run._metrics.close()  # a descriptor that is open for writing keeps a disk from becoming read-only
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.warns(IncompleteWarning, match="read-only"):
            run.log("train", {"x": 1}, step=1)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        with pytest.warns(IncompleteWarning, match="written again; lost were 1 of type 'train'"):
            run.log("train", {"x": 2}, step=2)
        with pytest.warns(IncompleteWarning, match="1 of type 'train' could not be written"):
            run.finish()
        assert [entry["sequence"]["step"] for entry in run.metrics["train"]] == [0, 2]
        monkeypatch.chdir(tmp_path)


def test_objects_that_do_not_fit_are_not_there(small, snapshot, tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "1").write_bytes(b"x" * (2 << 20))
    (tmp_path / "big" / "2").write_bytes(b"x")
    artifact = Artifact({"name": "a"})
    artifact.add_file(str(tmp_path / "big" / "2"))
    for add in (
        lambda: artifact.add_file(str(tmp_path / "big" / "1")),
        lambda: artifact.add_dir(str(tmp_path / "big")),
    ):
        with pytest.raises(LocalError, match="free some space"):
            add()
        assert [data["key"] for data in artifact.objects] == ["2"]
        assert [path.name for path in Path(artifact.local, "objects").rglob("*")] == ["2"]
    assert em.load_artifact(artifact.local).objects == artifact.objects


def test_what_was_not_fetched_for_lack_of_space_is_fetched_later(small, tmp_path, backend):
    (tmp_path / "f").write_bytes(b"x" * (600 << 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EM_ARTIFACT_PARENT_DIR", str(tmp_path / "elsewhere"))
        artifact = Artifact({"name": "a"})
        artifact.add_file(str(tmp_path / "f"))
        artifact.upload()
    loaded = em.load_artifact("default/a")
    (small / "half").write_bytes(b"x" * (600 << 10))
    with pytest.raises(LocalError, match="free some space"):
        loaded.download()
    (small / "half").unlink()
    assert Path(loaded.get("f")).stat().st_size == 600 << 10
