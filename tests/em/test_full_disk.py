"""A full disk: a clear error, nothing half written, and everything goes on when there is space again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.em.local.faultydisk import fill, mounted

from t9k import em
from t9k.em.artifact import Artifact
from t9k.em.errors import LocalError
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


def test_metrics_that_do_not_fit_are_refused_whole(small):
    run = Run({"name": "r"})
    run.log("train", {"x": 0}, step=0)
    fill(small)
    logged = 1

    def log_on() -> None:
        nonlocal logged
        while True:
            run.log("train", {"x": logged}, step=logged)
            logged += 1

    with pytest.raises(LocalError, match="free some space"):
        log_on()
    assert [entry["sequence"]["step"] for entry in run.metrics["train"]] == list(range(logged))
    (small / "filler").unlink()
    run.log("train", {"x": logged}, step=logged)
    run.finish()
    assert len(em.load_run(run.local).metrics["train"]) == logged + 1


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
