"""Runs: kept in plain files from the first moment on, whatever thread, process or order they are written from."""

from __future__ import annotations

import math
import multiprocessing
import random
import re
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.em.local.faultydisk import run_unprivileged

from t9k import em
from t9k.em import session
from t9k.em.errors import (
    BackendUnavailable,
    Conflict,
    CorruptLocalData,
    FolderNotFound,
    IncompleteWarning,
    InvalidHparams,
    InvalidInput,
    InvalidMetric,
    InvalidName,
    LocalError,
    NotALocalNode,
    NotLoggedIn,
    RecoveredDataWarning,
)
from t9k.em.run import Run


@pytest.fixture
def run() -> Run:
    return Run({"name": "r"})


def values(run: Run, kind: str = "train") -> list[dict]:
    return [entry["value"] for entry in run.metrics.get(kind, [])]


def steps(run: Run, kind: str = "train") -> list[int]:
    return [entry["sequence"]["step"] for entry in run.metrics.get(kind, [])]


class TestLog:
    @pytest.mark.parametrize(
        ("alias", "kind"),
        [("train", "train"), ("training", "train"), ("val", "val"), ("validate", "val"), ("validation", "val")]
        + [(alias, "test") for alias in ("test", "testing", "eval", "evaluate", "evaluation")]
        + [(own, own) for own in ("Train", "my metrics", "a/b", "..", "CON", "é😀", "x" * 300)],
    )
    def test_knows_every_alias_and_any_type_of_ones_own(self, run, alias, kind):
        run.log(alias, {"loss": 1.5}, step=1)
        run.log(type=kind, metrics={"loss": 2.5}, step=2)
        assert list(run.metrics) == [kind]
        assert values(run, kind) == [{"loss": 1.5}, {"loss": 2.5}]
        assert values(em.load_run(run.local), kind) == values(run, kind)
        [path] = (Path(run.local) / "metrics").iterdir()
        assert yaml.safe_load((Path(run.local) / "index.yaml").read_text())["metrics"] == {kind: f"metrics/{path.name}"}
        assert len(yaml.safe_load(path.read_text())) == 2

    def test_keeps_what_json_lacks(self, run):
        run.log("train", {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "tiny": 5e-324, "int": 10**30}, step=1)
        [value] = values(run)
        assert math.isnan(value.pop("nan"))
        assert value == {"inf": math.inf, "-inf": -math.inf, "tiny": 5e-324, "int": 10**30}

    def test_takes_numbers_of_numpy(self, run):
        run.log("train", {"a": np.float32(0.5), "b": np.array([[2]]), "c": np.array(3.0), "d": True}, step=np.int64(7))
        assert values(run) == [{"a": 0.5, "b": 2, "c": 3.0, "d": 1}]
        assert steps(run) == [7]

    def test_takes_steps_in_any_order_and_keeps_it(self, run):
        order = [5, -1, 5, 0, 10**20]
        for step in order:
            run.log("train", {"x": step}, step=step, epoch=step)
        assert steps(run) == order
        assert [entry["sequence"]["epoch"] for entry in run.metrics["train"]] == order

    def test_from_eight_threads_loses_nothing(self, run):
        kinds = ["train", "training", "val", "test", "eval", *(f"own {number}" for number in range(8)), "x" * 300]
        start = threading.Barrier(8)

        def work(worker: int) -> None:
            order = random.Random(worker).sample(kinds, len(kinds))
            start.wait()
            for step in range(20):
                for kind in order:
                    run.log(kind, {"worker": worker}, step=step)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(map(len, run.metrics.values())) == 8 * 20 * len(kinds)
        for entries in run.metrics.values():
            for worker in range(8):
                own = [entry["sequence"]["step"] for entry in entries if entry["value"]["worker"] == worker]
                assert own == sorted(own)
        assert set(yaml.safe_load((Path(run.local) / "index.yaml").read_text())["metrics"]) == set(run.metrics)
        assert set(em.load_run(run.local).metrics) == set(run.metrics)

    def test_goes_on_while_another_thread_finishes(self, run):
        stop = threading.Event()

        def finish() -> None:
            while not stop.is_set():
                run.finish()

        thread = threading.Thread(target=finish)
        thread.start()
        for step in range(300):
            run.log("train", {"x": 1}, step=step)
        stop.set()
        thread.join()
        assert steps(run) == list(range(300))

    @pytest.mark.parametrize(
        ("given", "advice"),
        [
            ({"metrics": [1]}, "are a dict"),
            ({"step": 1.5}, "step must be an integer"),
            ({"step": None}, "step must be an integer"),
            ({"epoch": "1"}, "epoch must be a finite number"),
            ({"epoch": True}, "epoch must be a finite number"),
            ({"epoch": math.nan}, "epoch must be a finite number"),
            ({"type": ""}, "must be a string such as 'train'"),
            ({"type": None}, "must be a string such as 'train'"),
            ({"type": ["train"]}, "must be a string such as 'train'"),
            ({"type": "a\nb"}, "control characters"),
        ],
    )
    def test_refuses_what_is_no_metric_and_writes_nothing(self, run, snapshot, given, advice):
        run.log("train", {"loss": 1}, step=1)
        before = snapshot()
        with pytest.raises(InvalidMetric, match=advice):
            run.log(**{"type": "train", "metrics": {"loss": 1}, "step": 2, **given})
        assert snapshot() == before

    @pytest.mark.parametrize(
        ("bad", "says"),
        [
            ({"acc": "0.5"}, "'acc' must be a number, not '0.5'"),
            ({"acc": None}, "'acc' must be a number, not None"),
            ({"acc": [1, 2]}, "not list"),
            ({"acc": np.zeros(3)}, "log its mean"),
            ({"": 1}, "must not be empty"),
            ({1: 1}, "must be a string"),
            ({"acc": np.ma.masked}, "'acc' must be a number"),
            ({"acc": np.ma.array([1.0], mask=[True])}, "'acc' must be a number"),
            ({"acc": np.datetime64("2020-01-01T00:00:00", "ns")}, "'acc' must be a number"),
            ({"acc": np.timedelta64(5, "ns")}, "'acc' must be a number"),
            ({"acc": pd.NA}, "'acc' must be a number"),
            ({"acc": pd.NaT}, "'acc' must be a number"),
            ({"acc": pd.Timedelta(seconds=1)}, "'acc' must be a number"),
            ({"acc": 1 << 2000}, "too large"),
        ],
    )
    def test_leaves_out_what_is_no_metric_with_one_warning_and_logs_the_rest(self, run, snapshot, bad, says):
        run.log("train", {"loss": 1}, step=1)
        with pytest.warns(IncompleteWarning, match=says) as warned:
            run.log("train", {"loss": 2, **bad}, step=2)
        assert len(warned) == 1
        assert warned[0].filename == __file__
        before = snapshot()
        run.log("train", bad, step=3)  # where a warning is an error: told already
        assert snapshot() == before, "nothing remained to be logged"
        run.log("train", {**bad, "loss": 3}, step=4)
        assert [entry["value"] for entry in run.metrics["train"]] == [{"loss": 1}, {"loss": 2}, {"loss": 3}]

    def test_leaves_out_without_raising_where_warnings_are_errors(self, run):
        run.log("val", {"loss": 1, "acc": None}, step=1)
        assert run.metrics["val"][0]["value"] == {"loss": 1}

    @pytest.mark.parametrize(
        ("args", "kwargs", "right"),
        [
            (({"loss": 1},), {"step": 3}, "run.log('train', {'loss': 1}, step=3)"),
            (({"loss": 1},), {}, "run.log('train', {'loss': 1}, step=step)"),
            (({"loss": 1}, 3), {}, "run.log('train', {'loss': 1}, step=3)"),
            (("loss", 0.5), {}, "run.log('train', {'loss': 0.5}, step=step)"),
            (("loss", 0.5, 3), {}, "run.log('train', {'loss': 0.5}, step=3)"),
            (("train", {"loss": 1}), {}, "run.log('train', {'loss': 1}, step=step)"),
            (("train",), {"step": 2}, "run.log('train', {'train': 0.5}, step=2)"),
            (({f"m{index}": index for index in range(99)},), {}, "run.log('train', {\"loss\": 0.5, ...}, step=step)"),
        ],
    )
    def test_in_the_order_of_another_library_tells_the_right_call(self, run, args, kwargs, right):
        with pytest.raises(InvalidMetric, match=re.escape(right)):
            run.log(*args, **kwargs)
        assert run.metrics == {}

    def test_fractional_epochs_are_kept(self, run):
        for step, epoch in enumerate([0, 0.5, np.float32(0.25), 1.0, 1e-7, np.int64(2), None]):
            run.log("train", {"loss": 1}, step=step, epoch=epoch)
        epochs = [entry["sequence"].get("epoch") for entry in em.load_run(run.local).metrics["train"]]
        assert repr(epochs) == "[0, 0.5, 0.25, 1.0, 1e-07, 2, None]"
        table = run.metrics_table()
        assert str(table.schema.field("epoch").type) == "double"
        assert table["epoch"].to_pylist() == epochs

    def test_recovers_a_torn_tail_and_tells(self, run):
        run.log("train", {"loss": 1}, step=1)
        run.log("train", {"loss": 2}, step=2)
        run.finish()
        path = Path(run.local) / "metrics" / "train.yaml"
        path.write_bytes(path.read_bytes()[:-20] + bytes(64))
        loaded = em.load_run(run.local)
        with pytest.warns(RecoveredDataWarning, match="left out line 2"):
            assert values(loaded) == [{"loss": 1}]
        with pytest.warns(RecoveredDataWarning, match="dropped an incomplete last line"):
            loaded.log("train", {"loss": 3}, step=3)
        assert values(loaded) == [{"loss": 1}, {"loss": 3}]


class TestHparams:
    def test_every_change_is_on_disk_at_once(self, run):
        run.hparams["lr"] = 0.1
        run.params.opt = {"name": "sgd"}
        run.hparams.opt.momentum = math.nan
        loaded = em.load_run(run.local).hparams.as_dict()
        assert math.isnan(loaded["opt"].pop("momentum"))
        assert loaded == {"lr": 0.1, "opt": {"name": "sgd"}}
        run.hparams = {"new": [1, 2]}
        assert em.load_run(run.local).hparams.as_dict() == {"new": [1, 2]}
        assert run.params is run.hparams

    def test_what_is_no_dict_is_refused_and_changes_nothing(self, run, snapshot):
        run.hparams.lr = 0.1
        before = snapshot()
        for value in (1, "x", [1, 2]):
            with pytest.raises(InvalidHparams):
                run.hparams.update(value)
            with pytest.raises(InvalidHparams):
                run.hparams = value
        assert run.hparams.as_dict() == {"lr": 0.1}
        assert snapshot() == before

    def test_what_yaml_cannot_hold_becomes_what_it_can(self, run):
        run.hparams.update({"ids": {1, 2}, "names": {1: Path("a")}})
        assert em.load_run(run.local).hparams.as_dict() == {"ids": [1, 2], "names": {"1": "a"}}


class TestLife:
    def test_runs_then_is_complete(self, run):
        assert (run.status, run.end_timestamp) == ("Running", "")
        run.finish("any", arguments=1)
        assert run.status == "Complete"
        assert run.start_timestamp <= run.end_timestamp
        loaded = em.load_run(run.local)
        assert (loaded.status, loaded.end_timestamp) == ("Complete", run.end_timestamp)

    def test_may_be_finished_often(self, run, snapshot):
        run.finish()
        before = snapshot()
        run.finish()
        with run:
            pass
        assert snapshot() == before

    @pytest.mark.parametrize(("code", "status"), [(None, "Complete"), (0, "Complete"), (1, "Failed"), ("no", "Failed")])
    def test_leaving_by_exit_is_a_failure_only_with_an_error(self, code, status):
        with pytest.raises(SystemExit), em.create_run(name="r") as run:
            sys.exit(code)
        assert em.load_run(run.local).status == status

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_fails_when_its_block_raises(self, run, error):
        with pytest.raises(error), run:
            raise error
        assert em.load_run(run.local).status == "Failed"
        run.finish()
        assert run.status == "Failed"

    def test_goes_on_when_it_is_loaded_and_logged_to(self, run, snapshot):
        run.log("train", {"loss": 1}, step=1)
        run.finish()
        before = snapshot()
        loaded = em.load_run(run.local)
        assert snapshot() == before
        loaded.log("training", {"loss": 2}, step=2)
        assert (loaded.status, loaded.end_timestamp, loaded.id) == ("Running", "", run.id)
        assert em.load_run(run.local).status == "Running"
        sys.stdout.write("heard\n")
        loaded.log("own", {"x": 1}, step=1)
        loaded.finish()
        assert loaded.status == "Complete"
        assert values(loaded) == [{"loss": 1}, {"loss": 2}]
        assert "heard" in (Path(loaded.local) / "stdout.log").read_text()

    def test_that_is_only_read_stays_as_it_is(self, run, snapshot):
        with pytest.raises(ValueError), run:
            raise ValueError
        before = snapshot()
        loaded = em.load_run(run.local)
        with loaded:
            assert loaded.metrics == {}
        loaded.finish()
        assert loaded.status == "Failed"
        assert snapshot() == before

    def test_tells_about_itself(self, run):
        assert repr(run) == f"Run(name='r', status='Running', local={run.local!r})"

    def test_collects_platform_and_git(self):
        run = em.create_run()
        assert run.platform["hostname"]
        assert run.git == {}
        run.finish()
        assert em.load_run(run.local).platform == run.platform


class TestDirectory:
    def test_of_something_else_is_refused(self, tmp_path):
        artifact = em.create_artifact("a")
        for directory in (tmp_path, Path(artifact.local), tmp_path / "nowhere"):
            with pytest.raises(NotALocalNode, match="is not the directory of a run"):
                Run._open_directory(directory)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("metadata.yaml", "type: Run\nname: [\n"),
            ("metadata.yaml", "type: Run\nname: ../x\n"),
            ("metadata.yaml", "type: Run\nname: a\nalternative_name: ../../x\n"),
            ("metadata.yaml", "type: Run\nname: a\nlabels: 5\n"),
            ("metadata.yaml", "type: Run\nname: a\nstatus: [x]\n"),
            ("metadata.yaml", "type: Run\nname: a\nassociations: {input: [1]}\n"),
            ("metadata.yaml", "type: Run\nname: &a [*a]\n"),
            ("metadata.yaml", "type: Run\nname: !!python/name:os.system\n"),
            ("metadata.yaml", "- Run\n"),
            ("hyperparameters.yaml", "- 1\n"),
            ("index.yaml", "metrics: [1]\n"),
            ("index.yaml", "metrics: {1: x}\n"),
            ("index.yaml", "metrics: 'x'\n"),
        ],
    )
    def test_that_is_damaged_is_named(self, run, name, text):
        (Path(run.local) / name).write_text(text)
        with pytest.raises(CorruptLocalData, match="good cop(y|ies)"):
            em.load_run(run.local)

    def test_without_an_alternative_name_is_called_like_its_directory(self, run, backend):
        path = Path(run.local) / "metadata.yaml"
        path.write_text("type: Run\nname: r\n")
        Path(run.local).rename("moved")
        loaded = em.load_run("moved")
        assert loaded.alternative_name == "moved"
        loaded.upload()

    def test_taken_by_another_run_is_refused(self, run, snapshot):
        before = snapshot()
        with pytest.raises(LocalError, match="is there already; load it, or move it away"):
            Run({"name": "x", "alternative_name": run.alternative_name})
        assert snapshot() == before

    def test_whose_parent_is_a_file_is_refused(self, tmp_path):
        (tmp_path / ".em").write_text("")
        with pytest.raises(LocalError, match="a file is in its place; choose another directory"):
            em.create_run()

    def test_that_may_not_be_made_is_refused(self, tmp_path):
        (tmp_path / "closed").mkdir(0o555)
        tmp_path.chmod(0o755)
        code = """
os.chdir(sys.argv[1])
from t9k.em.run import Run
try:
    Run({'name': 'a'})
except errors.LocalError as error:
    print(error)
"""
        assert "or choose another directory" in run_unprivileged(code, "closed")

    def test_is_removed_when_the_run_cannot_be_made(self, snapshot):
        before = snapshot()
        with pytest.raises(InvalidInput):
            Run({"name": "a"}, platform={"a": object()})
        with pytest.raises(InvalidInput):
            Run({"name": "a"}, git={"a": "\ud800"})
        found = {path: kind for path, kind in snapshot().items() if path not in before}
        assert {Path(path).name for path in found} == {".em", ".gitignore", "runs"}


def make_runs(start, results) -> None:
    start.wait()
    results.put([Run({"name": "r"}).local for _ in range(20)])


@pytest.mark.long
def test_two_processes_that_create_runs_at_once_never_collide():
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests in this process may have left threads
        processes = [context.Process(target=make_runs, args=(start, results)) for _ in range(4)]
        for process in processes:
            process.start()
    made = [local for _ in processes for local in results.get()]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(set(made)) == len(made) == 80
    assert sorted(map(str, Path(".em/runs").absolute().iterdir())) == sorted(made)


class TestDict:
    FULL: ClassVar[dict[str, Any]] = {
        "metadata": {
            "name": "r",
            "labels": ["x"],
            "description": "d",
            "status": "Complete",
            "id": "1",
            "alternative_name": "r_1",
        },
        "hparams": {"lr": 0.1},
        "metrics": {"train": [{"value": {"loss": 1.0}, "sequence": {"step": 1, "epoch": 2, "timestamp": "t"}}]},
        "platform": {"hostname": "h"},
        "git": {"branch": "main"},
    }

    def test_of_a_run_makes_the_same_run(self):
        first = Run(**self.FULL)
        data = first.to_dict()
        assert data["metadata"] | self.FULL["metadata"] == data["metadata"]
        assert {name: data[name] for name in data if name != "metadata"} == {
            name: self.FULL[name] for name in self.FULL if name != "metadata"
        }
        second = Run({"name": "other"})
        second.parse_from_dict(data)
        assert second.to_dict() == data
        assert em.load_run(second.local).to_dict() == data

    def test_replaces_all_there_was(self, run):
        run.log("own", {"x": 1}, step=1)
        run.hparams.lr = 1
        run.parse_from_dict(self.FULL)
        run.parse_from_dict({"metadata": {"name": "new"}})
        assert (run.name, run.alternative_name) == ("new", Path(run.local).name)
        assert run.to_dict() == {**run.to_dict(), "hparams": {}, "metrics": {}, "platform": {}, "git": {}}
        assert em.load_run(run.local).to_dict() == run.to_dict()

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"metadata": None},
            {"metadata": {"name": "a/b"}},
            {"metadata": {"name": "a", "labels": "x"}},
            {"hparams": 1},
            {"hparams": [1]},
            {"metrics": [1]},
            {"metrics": {"train": {}}},
            {"metrics": {"train": [1]}},
            {"metrics": {"train": [{"value": {"a": 1}}]}},
            {"metrics": {"train": [{"value": {"a": 1}, "sequence": "step"}]}},
            {"metrics": {"train": [{"value": {"a": 1}, "sequence": {"epoch": 1}}]}},
            {"metrics": {"train": [{"value": {"a": "x"}, "sequence": {"step": 1}}]}},
            {"metrics": {"train": [{"value": {"a": 1}, "sequence": {"step": 1, "timestamp": 5}}]}},
            {"metrics": {"a\nb": []}},
            {"metrics": {1: []}},
            {"platform": {"a": object()}},
            {"platform": [1]},
            {"git": "x"},
        ],
    )
    def test_in_a_wrong_form_changes_nothing(self, data, snapshot):
        run = Run(**self.FULL)
        before, was = snapshot(), run.to_dict()
        whole = data if data == {} or "metadata" in data else {**self.FULL, **data}
        with pytest.raises(InvalidInput):
            run.parse_from_dict(whole)
        assert run.to_dict() == was
        assert snapshot() == before
        if data and "metadata" not in data:
            with pytest.raises(InvalidInput):
                Run({"name": "a"}, **data)
            assert snapshot() == before


class TestUpload:
    def test_brings_every_file(self, run, backend):
        run.hparams.lr = 0.1
        run.log("train", {"loss": 1}, step=1)
        run.finish()
        run.upload()
        node = backend.stat("/alice/default/r")
        assert (node.kind, node.id, node.metadata["status"]) == ("Run", run.id, "Complete")
        keys = [file.key for file in backend.files(node)]
        assert keys == ["hyperparameters.yaml", "index.yaml", "metadata.yaml", "metrics/train.yaml"]
        for file in backend.files(node):
            assert b"".join(backend.read(node, file)) == (Path(run.local) / file.key).read_bytes()

    def test_and_load_give_the_same_run(self, backend, monkeypatch):
        run = em.create_run(name="r", hparams={"lr": 0.1, "odd": {"é😀": math.inf}}, labels=["x"], description="#: a\n")
        sys.stdout.write("printed äöü\n")
        for kind in ("train", "own type", "x" * 300):
            run.log(kind, {"loss": -math.inf}, step=1)
        run.finish()
        run.upload()
        monkeypatch.setenv("EM_RUN_PARENT_DIR", "loaded")
        loaded = em.load_run("default/r")
        assert Path(loaded.local) == Path("loaded").absolute() / run.alternative_name
        assert loaded.to_dict() == run.to_dict()
        assert "printed äöü" in (Path(loaded.local) / "stdout.log").read_text()

    def test_again_is_an_update_of_its_own_node(self, run, backend):
        for strategy in ("error", "skip", "new", "replace"):
            run.log("train", {"loss": 1}, step=1)
            run.upload(conflict_strategy=strategy)
        node = backend.stat("/alice/default/r")
        assert (node.generation, node.id) == (4, run.id)
        assert [node.name for node in backend.list("/alice/default")] == ["r"]
        run.upload()
        assert backend.stat("/alice/default/r").generation == 4

    def test_goes_on_where_it_went_under_its_alternative_name(self, run, backend):
        Run({"name": "r"}).upload()
        run.upload()
        run.log("train", {"loss": 1}, step=1)
        run.upload()
        assert backend.stat(f"/alice/default/{run.alternative_name}").generation == 2
        assert backend.stat("/alice/default/r").generation == 1

    def test_may_happen_while_it_runs(self, backend, monkeypatch):
        run = em.create_run(name="r")
        run.log("train", {"loss": 1}, step=1)
        run.upload()
        assert backend.stat("/alice/default/r").metadata["status"] == "Running"
        monkeypatch.setenv("EM_RUN_PARENT_DIR", "loaded")
        assert values(em.load_run("default/r")) == [{"loss": 1}]
        run.log("train", {"loss": 2}, step=2)
        run.finish()
        run.upload()
        loaded = em.load_run("default/r")
        assert (loaded.status, values(loaded)) == ("Complete", [{"loss": 1}, {"loss": 2}])
        assert values(em.load_run("default/r@1")) == [{"loss": 1}]

    @pytest.mark.long
    def test_may_happen_while_other_threads_log(self, run, backend, monkeypatch):
        stop = threading.Event()

        def work() -> None:
            step = 0
            while not stop.is_set():
                run.log("train", {"x": step}, step=step)
                step += 1

        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(5):
            run.upload()
        stop.set()
        thread.join()
        run.upload()
        monkeypatch.setenv("EM_RUN_PARENT_DIR", "loaded")
        loaded = em.load_run("default/r")
        assert steps(loaded) == steps(run)

    def test_resumed_elsewhere_updates_the_same_node(self, run, backend, monkeypatch):
        run.log("train", {"loss": 1}, step=1)
        run.upload()
        monkeypatch.setenv("EM_RUN_PARENT_DIR", "loaded")
        loaded = em.load_run("default/r")
        loaded.log("train", {"loss": 2}, step=2)
        loaded.finish()
        loaded.upload(conflict_strategy="error")
        assert backend.stat("/alice/default/r").generation == 2

    @pytest.mark.parametrize(
        ("strategy", "names"), [("skip", ["r"]), ("error", ["r"]), ("replace", ["r"]), ("new", ["r", "alternative"])]
    )
    def test_of_another_run_of_that_name_does_what_the_strategy_says(self, run, backend, strategy, names):
        other = Run({"name": "r"})
        other.upload()
        if strategy == "error":
            with pytest.raises(Conflict, match="use another name, or conflict_strategy='new'"):
                run.upload(conflict_strategy="error")
        else:
            run.upload(conflict_strategy=strategy)
        found = [
            "alternative" if node.name == run.alternative_name else node.name for node in backend.list("/alice/default")
        ]
        assert sorted(found) == sorted(names)
        assert backend.stat("/alice/default/r").id == (run.id if strategy == "replace" else other.id)

    def test_into_a_folder_that_is_missing_makes_it_only_if_asked(self, run, backend):
        with pytest.raises(FolderNotFound, match="make_folder=True"):
            run.upload("cv/mnist")
        with pytest.raises(FolderNotFound, match="make_folder=True"):
            run.upload("/bob/x")
        assert backend.list("/alice") == []
        run.upload("cv/mnist", make_folder=True)
        run.upload("/bob/x/y", make_folder=True)
        assert [node.name for node in backend.list("/alice/cv/mnist")] == ["r"]
        assert [node.path for node in backend.list("/bob/x/y")] == ["/bob/x/y/r"]

    def test_by_a_uri_goes_to_that_backend_for_this_call(self, run, backend, tmp_path):
        other = (tmp_path / "other").as_uri()
        run.upload(f"{other}#/bob/x", make_folder=True)
        run.upload(other)
        assert [node.name for node in session.backend_at(other).list("/bob/x")] == ["r"]
        assert [node.name for node in session.backend_at(other).list("/alice/default")] == ["r"]
        assert backend.list("/alice/default") == []

    @pytest.mark.parametrize(
        ("folder", "advice"),
        [
            ("a//b", "choose another name"),
            ("../x", "choose another name"),
            ("a\nb", "choose another name"),
            ("default@3", "without '@' and digits"),
            ("/alice@2", "without '@' and digits"),
            ("file://host/x", "three slashes"),
            ("nope://x", "installed are"),
            ("s3://k:seCret@b", "leave it out"),
        ],
    )
    def test_into_what_cannot_be_a_folder_is_refused(self, run, backend, folder, advice, snapshot):
        before = snapshot(Path(run.local))
        with pytest.raises(InvalidInput, match=advice):
            run.upload(folder, make_folder=True)
        assert snapshot(Path(run.local)) == before
        assert backend.list("/") == []

    def test_needs_a_backend_and_a_known_strategy(self, run, snapshot):
        before = snapshot()
        with pytest.raises(NotLoggedIn, match="em.login"):
            run.upload()
        with pytest.raises(InvalidInput, match="use one of"):
            run.upload(conflict_strategy="mine")
        assert snapshot() == before

    def test_onto_a_node_of_another_kind_or_folder_is_refused(self, run, backend):
        em.create_artifact("r").upload()
        with pytest.raises(Conflict, match="is an? Artifact, not a Run"):
            run.upload(conflict_strategy="replace")
        with pytest.raises(FolderNotFound, match="and no folder"):
            run.upload("default/r")

    def test_of_a_name_that_differs_by_case_or_form_is_a_conflict(self, backend):
        Run({"name": "Modèle"}).upload()
        for name in ("modèle", "MODE\u0300LE"):
            with pytest.raises(Conflict, match="differs from it only by case or Unicode form"):
                Run({"name": name}).upload(conflict_strategy="replace")
        assert len(backend.list("/alice/default")) == 1


class TestAutoUpload:
    def test_uploads_all_of_it(self, backend):
        with em.create_run(name="r", auto_upload=True, folder="cv", make_folder=True) as run:
            run.log("train", {"loss": 1}, step=1)
        assert backend.stat("/alice/cv/r").metadata["status"] == "Complete"
        with em.load_run(run.local, auto_upload=True, folder="cv", conflict_strategy="error") as loaded:
            loaded.log("train", {"loss": 2}, step=2)
        assert [node.name for node in backend.list("/alice/cv")] == ["r"]
        assert steps(em.load_run("cv/r")) == [1, 2]

    def test_is_off_by_default(self, backend):
        em.create_run(name="r", folder="cv", make_folder=True).finish()
        assert backend.list("/alice") == []

    @pytest.mark.long
    def test_that_fails_warns_and_says_how_to_do_it_later(self, backend):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = em.create_run(name="r", auto_upload=True, folder="missing")
            run.finish()
        told = [str(warning.message) for warning in caught if warning.category is IncompleteWarning]
        assert len(told) == 2
        assert re.search(r"make_folder=True.*em upload .*r_\d+", told[-1])
        assert run.status == "Complete"

    @pytest.mark.long
    def test_that_fails_does_not_hide_the_error_of_the_block(self, backend, monkeypatch):
        def refuse(request):
            raise BackendUnavailable("not now")

        monkeypatch.setattr(backend, "begin", refuse)
        monkeypatch.setenv("EM_FINISH_TIMEOUT", "1")
        run = em.create_run(name="r", auto_upload=True)
        with pytest.warns(IncompleteWarning, match="not now"), pytest.raises(ZeroDivisionError), run:
            raise ZeroDivisionError


def test_a_killed_process_leaves_a_run_that_can_be_read(tmp_path):
    code = """
import os
from t9k import em
run = em.create_run(name='r', hparams={'lr': 0.1})
for step in range(100):
    run.log('train', {'loss': step}, step=step)
print(run.local, flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, text=True)
    assert ended.returncode == -9
    run = em.load_run(ended.stdout.strip())
    assert (run.status, run.hparams.as_dict(), steps(run)) == ("Running", {"lr": 0.1}, list(range(100)))


def test_an_invalid_name_tells_what_it_is_the_name_of():
    with pytest.raises(InvalidName, match="name of the run"):
        Run({})


class TestOutside:
    """What the rest of a process does to a run."""

    def test_a_change_of_the_working_directory_changes_nothing(self, run, tmp_path, monkeypatch):
        run.log("train", {"x": 1}, 1)
        artifact = em.create_artifact("a")
        (tmp_path / "sub").mkdir()
        monkeypatch.chdir(tmp_path / "sub")
        run.log("val", {"x": 1}, 2)
        run.hparams.update({"a": 1})
        (tmp_path / "f").write_bytes(b"f")
        artifact.add_file(str(tmp_path / "f"))
        run.mark_output(artifact)
        run.upload((tmp_path / "store").as_uri())
        run.finish()
        assert set(run.metrics) == {"train", "val"}
        assert em.load_run(str(tmp_path / run.local)).status == "Complete"
        assert not (tmp_path / "sub" / ".em").exists()

    def test_an_older_object_of_the_same_run_does_not_undo_what_was_written_since(self, run, store):
        older = em.load_run(run.local)
        run.hparams.lr = 0.1
        run.mark_output(em.create_artifact("a"))
        run.finish()
        em.login(store)
        older.upload()
        for seen in (em.load_run(run.local), em.load_run(f"default/{run.name}"), older):
            assert (seen.status, seen.hparams.as_dict()) == ("Complete", {"lr": 0.1})
            assert len(seen.associations["output"]) == 1

    def test_the_error_of_the_block_comes_through_when_the_directory_is_gone(self):
        def train():
            with em.create_run(name="r") as run:
                assert run._capture
                run._capture.wait_for_all()  # nothing writes there any more
                shutil.rmtree(run.local)
                raise ZeroDivisionError

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with pytest.raises(ZeroDivisionError):
                train()
        assert any("could not be finished" in str(warning.message) for warning in told)

    @pytest.mark.parametrize(
        ("name", "value"), [("description", 5), ("name", "a/b"), ("labels", None), ("labels", "abc")]
    )
    def test_an_attribute_that_cannot_be_is_refused_and_the_run_stays_readable(self, run, name, value):
        before = getattr(run, name)
        setattr(run, name, value)
        if value is None:  # no labels
            run.finish()
        else:
            with pytest.raises(InvalidInput, match=name):
                run.finish()
        assert getattr(em.load_run(run.local), name) == before

    def test_a_child_made_by_fork_does_not_end_the_run_of_its_parent(self):
        code = """
import os, sys
from t9k import em
with em.create_run(name="r") as run:
    child = os.fork()
    if child == 0:
        import importlib.metadata, platform
        sys.exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert em.load_run(run.local).status == "Running"
print(em.load_run(run.local).status)
"""
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert ran.stdout == "Complete\n"

    @pytest.mark.parametrize("folder", [None, 3])
    def test_a_folder_of_the_wrong_type_is_refused_at_once(self, folder, tmp_path):
        with pytest.raises(InvalidInput, match="is no folder"):
            em.create_run(auto_upload=True, folder=folder)
        assert not (tmp_path / ".em").exists()

    def test_an_unfinished_line_of_each_stream_does_not_disturb_an_upload(self, run, backend):
        sys.stdout.write("a line without an end")
        sys.stderr.write("progress")
        run.upload()
        sys.stderr.write("\rmore")
        run.upload()

    def test_one_called_like_the_default_folder_does_not_take_its_place(self, backend):
        em.create_run().upload("/alice")
        em.create_run(name="other").upload()
        assert backend.stat("/alice/default").kind == "Folder"
        with pytest.raises(InvalidInput, match="in the folder of a user"):
            em.create_run().upload("/")

    def test_a_user_without_a_name_is_told_what_to_set(self, run, backend, monkeypatch):
        monkeypatch.delenv("EM_USER")
        monkeypatch.setattr("getpass.getuser", lambda: {"root": 0}["uid"])
        with pytest.raises(InvalidInput, match="set the environment variable EM_USER"):
            run.upload()


class Foreign:
    """An object of a library that raises whatever is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise ValueError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return other is self


def test_a_metric_that_raises_whatever_is_asked_of_it_is_left_out():
    run = em.create_run(name="r")
    with pytest.warns(IncompleteWarning, match="not Foreign"):
        run.log("train", {"foreign": Foreign(), "loss": 0.5}, step=1)  # type: ignore[dict-item]  # what is wrong here
    with pytest.warns(IncompleteWarning, match="name of a metric must be a string"):
        run.log("train", {Foreign(): 1.0, "loss": 0.25}, step=2)  # type: ignore[dict-item]  # likewise
    assert [entry["value"] for entry in run.metrics["train"]] == [{"loss": 0.5}, {"loss": 0.25}]
    run.finish()
