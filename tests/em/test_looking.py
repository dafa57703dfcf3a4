"""What is loaded from a backend leaves nothing behind while it is only looked at, and gets a directory by its first change."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from t9k import em
from t9k.em.errors import Diverged, IncompleteWarning, InvalidMetric, LocalError
from t9k.em.run import Run

PLACE = "default/r"


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch) -> Path:
    """Where temporary directories are made."""
    directory = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def run(backend, monkeypatch) -> Run:
    run = em.create_run(name="r", hparams={"lr": 0.1})
    run.log("train", {"loss": 1}, step=1)
    run.finish()
    run.upload()
    monkeypatch.setenv("EM_RUN_PARENT_DIR", "loaded")
    monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "loaded artifacts")
    return run


def _made() -> list[str]:
    parent = Path("loaded")
    return sorted(path.name for path in parent.iterdir()) if parent.exists() else []


@pytest.mark.long
def test_reading_all_of_many_runs_leaves_no_directory_and_no_descriptor(run, temporary):
    descriptors = len(os.listdir("/proc/self/fd"))
    wanted = run.to_dict()
    for _ in range(300):
        loaded = em.load_run(PLACE)
        assert loaded.to_dict() == wanted
        assert loaded.error == {}
        assert loaded.remote[-1]["action"] == "download"
        assert f"remote='{loaded.remote[-1]['uri']}#/alice/default/r@1'" in repr(loaded)
        assert not loaded._has_directory
    del loaded
    gc.collect()
    assert _made() == []
    assert list(temporary.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_a_table_of_what_is_only_looked_at_makes_no_directory(run):
    pytest.importorskip("pyarrow")
    assert em.load_run(PLACE).metrics_table("train")["loss"].to_pylist() == [1]
    assert _made() == []


def test_an_earlier_version_is_looked_at_as_it_was(run):
    again = em.load_run(run.local)
    again.log("train", {"loss": 2}, step=2)
    again.finish()
    again.upload()
    assert [len(em.load_run(place).metrics["train"]) for place in (f"{PLACE}@1", PLACE)] == [1, 2]
    assert _made() == []


CHANGES: dict[str, Callable[[Run], object]] = {
    "log": lambda run: run.log("train", {"loss": 2}, step=2),
    "hparams": lambda run: run.hparams.update(lr=0.2),
    "new hparams": lambda run: setattr(run, "hparams", {"lr": 0.2}),
    "mark": lambda run: run.mark_input(em.create_artifact(name="a")),
    "save": lambda run: run.save(),
    "upload": lambda run: run.upload(),
    "finish": lambda run: run.finish(),
    "parse": lambda run: run.parse_from_dict(run.to_dict()),
    "local": lambda run: run.local,
    "directory": lambda run: run.directory,
    "download": lambda run: run.download(),
    "pickle": pickle.dumps,
}


@pytest.mark.long
@pytest.mark.parametrize("change", CHANGES)
def test_the_first_change_makes_the_directory_and_removes_the_temporary_one(run, temporary, change):
    loaded = em.load_run(PLACE)
    CHANGES[change](loaded)
    assert _made() == [run.alternative_name]
    assert list(temporary.iterdir()) == []
    assert loaded.local == os.path.abspath(f"loaded/{run.alternative_name}")
    assert f"local={loaded.local!r}" in repr(loaded)
    loaded.finish()
    assert em.load_run(loaded.local).to_dict() == loaded.to_dict()
    loaded.upload()


def test_what_is_logged_goes_on_after_what_was_looked_at(run):
    loaded = em.load_run(PLACE)
    assert len(loaded.metrics["train"]) == 1
    loaded.log("train", {"loss": 2}, step=2)
    loaded.log("val", {"loss": 3}, step=2)
    loaded.finish()
    assert [entry["sequence"]["step"] for entry in loaded.metrics["train"]] == [1, 2]
    loaded.upload()
    assert em.load_run(PLACE).to_dict() == loaded.to_dict()


def test_a_call_of_log_that_is_wrong_makes_no_other_value(run):
    loaded = em.load_run(PLACE)
    with pytest.raises(InvalidMetric):
        loaded.log("", {"loss": 2}, step=2)
    assert loaded.metrics == run.metrics


def test_what_is_changed_descends_from_the_version_that_was_looked_at(run):
    seen = em.load_run(PLACE)
    first = em.load_run(PLACE)
    first.log("train", {"loss": 2}, step=2)
    first.finish()
    first.upload()
    seen.log("train", {"loss": 3}, step=3)
    seen.finish()
    assert len(seen.metrics["train"]) == 2
    with pytest.raises(Diverged):
        seen.upload()
    assert len(em.load_run(PLACE).metrics["train"]) == 2


def test_attributes_that_were_set_before_are_saved_in_the_directory(run):
    loaded = em.load_run(PLACE)
    loaded.labels = ["good"]
    assert _made() == []
    loaded.save()
    assert em.load_run(loaded.local).labels == ["good"]


def test_a_download_goes_where_it_is_told_and_says_where_it_is(run, temporary):
    loaded = em.load_run(PLACE)
    assert loaded.download("deep/mine") == os.path.abspath("deep/mine") == loaded.local
    assert loaded.download("deep/mine") == loaded.download() == loaded.local
    with pytest.raises(LocalError, match="lies in .*mine already; copy that directory"):
        loaded.download("other")
    assert _made() == []
    assert list(temporary.iterdir()) == []
    assert em.load_run("deep/mine").to_dict() == run.to_dict()
    assert run.download() == run.local


def test_a_download_never_replaces_what_is_there_and_can_be_tried_again(run):
    Path("there").mkdir()
    Path("there/file").write_text("mine")
    loaded = em.load_run(PLACE)
    with pytest.raises(LocalError, match="holds something else"):
        loaded.download("there")
    with pytest.raises(LocalError, match="not a URI"):
        loaded.download("s3://bucket/x")
    assert os.listdir("there") == ["file"]
    assert loaded.metrics == run.metrics
    assert loaded.download("free") == os.path.abspath("free")


def test_the_directory_is_made_where_it_would_have_been_when_the_run_was_loaded(run, monkeypatch):
    loaded = em.load_run(PLACE)
    wanted = os.path.abspath(f"loaded/{run.alternative_name}")
    monkeypatch.delenv("EM_RUN_PARENT_DIR")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert loaded.local == wanted
    assert os.listdir() == []


def test_a_directory_that_holds_the_same_is_used(run):
    local = em.load_run(PLACE).local
    assert em.load_run(PLACE).local == local
    assert _made() == [run.alternative_name]


def test_a_training_goes_on_where_no_directory_can_be_made_and_keeps_what_it_logged_when_one_can(run):
    Path("loaded").write_text("in the way")
    loaded = em.load_run(PLACE)
    with pytest.warns(IncompleteWarning, match="has no local directory yet.*choose another directory"):
        loaded.log("train", {"loss": 2}, step=2)
    loaded.log("train", {"loss": 3}, step=3)  # a second warning would be an error
    Path("loaded").unlink()
    loaded.log("train", {"loss": 4}, step=4)
    loaded.finish()
    assert [entry["sequence"]["step"] for entry in em.load_run(loaded.local).metrics["train"]] == [1, 2, 3, 4]


def test_a_copy_is_the_run_itself_and_a_pickled_one_has_its_directory(run):
    loaded = em.load_run(PLACE)
    assert copy.deepcopy(loaded) is loaded
    assert copy.copy(loaded) is loaded
    assert _made() == []
    again = pickle.loads(pickle.dumps(loaded))
    assert again.local == loaded.local
    assert again.to_dict() == run.to_dict()


def test_what_a_process_looked_at_goes_with_it(run, backend, temporary):
    code = f"from t9k import em; run = em.load_run('{backend.uri}#/alice/{PLACE}'); assert run.metrics; print(run)"
    if backend.uri.startswith("memory:"):
        pytest.skip("another process does not see it")
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TMPDIR": str(temporary)})
    assert list(temporary.iterdir()) == []
    assert _made() == []


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_made_by_fork_does_not_remove_what_its_parent_reads(run):
    loaded = em.load_run(PLACE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
        pid = os.fork()
    if pid == 0:
        del loaded
        gc.collect()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert loaded.metrics == run.metrics


def test_an_artifact_that_is_only_looked_at_makes_no_directory(run, temporary):
    Path("f").write_text("data")
    artifact = em.create_artifact(name="a")
    artifact.add_file("f")
    artifact.upload()
    shutil.rmtree(artifact.local)
    loaded = em.load_artifact("default/a")
    assert loaded.to_dict() == artifact.to_dict()
    with loaded.open("f") as file:
        assert file.read() == b"data"
    assert loaded.fs.cat_file("f") == b"data"
    assert not loaded._has_directory
    assert Path(loaded.get("f")).read_text() == "data"
    assert loaded.get("f").startswith(os.path.abspath("loaded artifacts"))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("change", ["add", "download", "save", "upload"])
def test_the_first_change_of_an_artifact_makes_its_directory(run, change):
    Path("f").write_text("data")
    em.create_artifact(name="a").upload()
    shutil.rmtree("loaded artifacts")
    loaded = em.load_artifact("default/a")
    assert not Path("loaded artifacts").exists()
    {
        "add": lambda: loaded.add_file("f"),
        "download": loaded.download,
        "save": loaded.save,
        "upload": loaded.upload,
    }[change]()
    assert loaded._has_directory
    assert [path.name for path in Path("loaded artifacts").iterdir()] == [loaded.alternative_name]
    assert em.load_artifact(loaded.local).objects == loaded.objects
    loaded.upload()


def test_a_block_that_only_reads_leaves_nothing(run, backend):
    with em.load_run(PLACE) as loaded:
        assert loaded.metrics["train"][0]["value"] == {"loss": 1}
    assert (loaded.status, loaded._has_directory, _made()) == ("Complete", False, [])
    with em.load_run(PLACE) as loaded:
        loaded.log("train", {"loss": 2}, step=2)
    assert (loaded.status, loaded._has_directory) == ("Complete", True)
