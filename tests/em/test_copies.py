"""One run or artifact on several machines: nothing that one has uploaded is silently replaced by another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from t9k import em
from t9k.em import session
from t9k.em.artifact import Artifact
from t9k.em.errors import Conflict, Diverged
from t9k.em.loading import fetch_artifact, fetch_run
from t9k.em.local.state import LocalState
from t9k.em.names import STRATEGIES
from t9k.em.records import Outcome
from t9k.em.run import Run

PATH = "/alice/default/r"
SAFE = [strategy for strategy in STRATEGIES if strategy != "replace"]


@pytest.fixture
def run(backend) -> Run:
    run = Run({"name": "r", "labels": ["a"]}, {"lr": 0.1, "epochs": 3})
    run.log("train", {"loss": 1}, step=1)
    run.upload()
    return run


def on_another_machine(monkeypatch, path: str = PATH, machine: str = "other") -> Run:
    monkeypatch.setenv("EM_RUN_PARENT_DIR", machine)
    return em.load_run(path)


def log(run: Run, *steps: int) -> None:
    for step in steps:
        run.log("train", {"loss": 1 / step}, step=step)


def published() -> Run:
    """What is there now."""
    directory = Path(f"look-{os.urandom(4).hex()}")
    return fetch_run(session.resolve("default")[0], PATH, directory=directory)


def keys(artifact: Artifact) -> list[str]:
    return sorted(artifact.to_dict()["objects"])


def steps(run: Run) -> list[int]:
    return [line["sequence"]["step"] for line in run.metrics.get("train", [])]


class TestAnOldVersion:
    @pytest.fixture
    def old(self, run, monkeypatch) -> Run:
        run.labels = ["better"]
        run.upload()
        return on_another_machine(monkeypatch, f"{PATH}@1")

    def test_that_was_only_looked_at_is_not_uploaded(self, old, backend):
        outcome, node = old.send(backend, "/alice/default")
        assert (outcome, node.generation) == (Outcome.UNCHANGED, 1)
        assert published().labels == ["better"]
        assert old.labels == ["a"]

    @pytest.mark.parametrize("strategy", SAFE)
    def test_that_was_changed_is_a_conflict_that_says_what_to_do(self, old, backend, strategy):
        old.labels = ["mine"]
        with pytest.raises(Diverged, match=r"version 2 of /alice/default/r .* version 1: .*load_run.*replace.*labels"):
            old.upload(conflict_strategy=strategy)
        assert published().labels == ["better"]
        assert [node.generation for node in backend.versions(PATH)] == [2, 1]

    def test_replaces_when_told_to(self, old, run):
        old.labels = ["mine"]
        old.upload(conflict_strategy="replace")
        assert published().labels == ["mine"]
        run.labels = ["late"]
        with pytest.raises(Conflict):
            run.upload()

    def test_looked_at_where_the_newest_is_makes_that_copy_no_older(self, run, backend):
        run.log("validate", {"loss": 2}, step=1)
        run.upload()
        em.load_run(f"{PATH}@1")
        run.labels = ["more"]
        run.upload()
        assert published().labels == ["more"]


class TestARunThatWentOnElsewhere:
    def test_is_not_put_back_by_the_first_machine(self, run, monkeypatch, backend):
        other = on_another_machine(monkeypatch)
        log(other, 2, 3)
        other.finish()
        other.upload()
        assert run.send(backend, "/alice/default")[0] is Outcome.UNCHANGED
        assert steps(published()) == [1, 2, 3]

    def test_is_a_conflict_when_both_have_logged_something_else(self, run, monkeypatch):
        other = on_another_machine(monkeypatch)
        log(other, 2, 3)
        other.upload()
        log(run, 2)
        run.log("train", {"loss": 7}, step=9)
        with pytest.raises(Diverged, match=r"metrics/train\.yaml"):
            run.upload()
        assert steps(published()) == [1, 2, 3]

    def test_takes_the_longer_metrics_where_one_is_the_beginning_of_the_other(self, run, monkeypatch):
        log(run, 2)
        other = on_another_machine(monkeypatch)
        other.description = "of the other"
        other.upload()
        log(run, 3)
        run.upload()
        assert steps(published()) == [1, 2, 3]
        assert published().description == run.description == "of the other"

    def test_brings_metrics_that_the_first_machine_lacks(self, run, monkeypatch):
        other = on_another_machine(monkeypatch)
        log(other, 2, 3)
        other.log("validate", {"loss": 4}, step=3)
        other.upload()
        run.description = "of mine"
        run.upload()
        there = published()
        assert (steps(there), there.description) == ([1, 2, 3], "of mine")
        assert there.metrics == run.metrics == Run._open_directory(run.directory).metrics
        log(run, 4)
        run.upload()
        assert steps(published()) == [1, 2, 3, 4]


class TestTwoPeople:
    def test_who_change_different_fields_both_keep_their_change(self, run, monkeypatch):
        other = on_another_machine(monkeypatch)
        other.labels = ["theirs"]
        other.hparams["batch"] = 32
        del other.hparams["epochs"]
        other.upload()
        run.description = "mine"
        run.hparams["lr"] = 0.2
        run.upload()
        there = published()
        assert (there.labels, there.description, there.hparams.as_dict()) == (
            ["theirs"],
            "mine",
            {"lr": 0.2, "batch": 32},
        )
        on_disk = Run._open_directory(run.directory)
        assert (on_disk.labels, on_disk.description, on_disk.hparams.as_dict()) == (
            ["theirs"],
            "mine",
            {"lr": 0.2, "batch": 32},
        )
        assert (run.labels, run.hparams) == (["theirs"], {"lr": 0.2, "batch": 32})

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (lambda run, who: setattr(run, "labels", [who]), "labels"),
            (lambda run, who: setattr(run, "description", who), "description"),
            (lambda run, who: run.hparams.update({"lr": who}), "hyperparameter lr"),
        ],
    )
    def test_who_change_the_same_differently_are_told_which(self, run, monkeypatch, change, named):
        other = on_another_machine(monkeypatch)
        change(other, "theirs")
        other.upload()
        change(run, "mine")
        with pytest.raises(Diverged, match=named):
            run.upload()
        assert published().to_dict() == other.to_dict()

    def test_who_change_the_same_alike_agree(self, run, monkeypatch, backend):
        other = on_another_machine(monkeypatch)
        other.labels = run.labels = ["both"]
        other.upload()
        assert run.send(backend, "/alice/default")[0] is Outcome.UNCHANGED
        run.labels = ["later"]
        run.upload()
        assert published().labels == ["later"]

    def test_who_both_add_objects_are_told(self, backend, tmp_path, monkeypatch):
        artifact = Artifact({"name": "r"})
        for name in ("a", "b", "c"):
            (tmp_path / name).write_text(name)
        artifact.add_file("a")
        artifact.upload()
        monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "other")
        other = em.load_artifact(PATH)
        other.add_file("b")
        other.upload()
        artifact.add_file("c")
        with pytest.raises(Diverged, match=r"index\.yaml"):
            artifact.upload()
        assert keys(em.load_artifact(PATH)) == ["a", "b"]

    def test_of_whom_one_adds_objects_and_the_other_describes_them_both_keep_theirs(
        self, backend, tmp_path, monkeypatch
    ):
        artifact = Artifact({"name": "r"})
        for name in ("a", "b"):
            (tmp_path / name).write_text(name)
        artifact.add_file("a")
        artifact.upload()
        monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "other")
        other = em.load_artifact(PATH)
        other.add_file("b")
        other.upload()
        artifact.description = "mine"
        artifact.upload()
        assert keys(artifact) == ["a", "b"]
        assert Path(artifact.get("b")).read_text() == "b"
        monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "third")
        there = em.load_artifact(PATH)
        assert (keys(there), there.description) == (["a", "b"], "mine")


class TestAnArtifactOfARun:
    @pytest.fixture
    def old(self, backend, tmp_path) -> Artifact:
        """A copy of the first version, when there is a second."""
        artifact = Artifact({"name": "data"})
        (tmp_path / "a").write_text("a")
        artifact.add_file("a")
        artifact.upload()
        old = fetch_artifact(backend, "/alice/default/data@1", directory=Path("old"))
        artifact.labels = ["newer"]
        artifact.upload()
        return old

    def test_that_is_an_old_version_stays_one(self, backend, old):
        run = Run({"name": "r"})
        run.mark_input(old)
        run.upload()
        [record] = published().associations["input"]
        assert (record["path"], record["generation"]) == ("/alice/default/data", "1")
        assert backend.stat("/alice/default/data").generation == 2

    def test_that_has_diverged_keeps_no_run_from_being_uploaded(self, backend, old):
        old.labels = ["other"]
        run = Run({"name": "r"})
        run.mark_input(old)
        with pytest.warns(UserWarning, match=r"artifact 'data' of the run 'r' was not uploaded.*labels"):
            run.upload()
        assert published().name == "r"
        assert backend.stat("/alice/default/data").metadata["labels"] == ["newer"]


class TestACopyOfTheDirectory:
    @pytest.fixture
    def copy(self, run) -> Run:
        shutil.copytree(run.directory, "copy")
        return Run._open_directory(Path("copy"))

    def test_goes_on_where_the_original_was(self, copy):
        log(copy, 2)
        copy.upload()
        assert steps(published()) == [1, 2]

    def test_and_the_original_are_two(self, copy, run):
        copy.labels, run.labels = ["copy"], ["original"]
        run.upload()
        with pytest.raises(Diverged):
            copy.upload()
        assert published().labels == ["original"]

    def test_beside_the_original_is_told_apart(self, run, backend):
        beside = run.directory.with_name("beside")
        shutil.copytree(run.directory, beside)
        copy = Run._open_directory(beside)
        log(copy, 2)
        with pytest.raises(
            Conflict, match=f"beside is a copy of .*{run.directory.name}, and both are the run {run.id}"
        ):
            copy.upload()
        assert steps(published()) == [1]
        metadata = beside / "metadata.yaml"
        metadata.write_text(metadata.read_text().replace(run.id, str(uuid4())))
        Run._open_directory(beside).upload()
        assert len(list(backend.list("/alice/default"))) == 2

    def test_beside_the_original_replaces_it_when_told_to(self, run):
        beside = run.directory.with_name("beside")
        shutil.copytree(run.directory, beside)
        copy = Run._open_directory(beside)
        log(copy, 2)
        copy.upload(conflict_strategy="replace")
        assert steps(published()) == [1, 2]

    def test_of_which_the_original_is_gone_is_the_run(self, run):
        run.directory.rename(run.directory.with_name("moved"))
        moved = Run._open_directory(run.directory.with_name("moved"))
        log(moved, 2)
        moved.upload()
        assert steps(published()) == [1, 2]

    def test_without_what_the_original_remembers_is_of_unknown_origin(self, copy):
        shutil.rmtree(copy.directory / ".em")
        copy.labels = ["copy"]
        with pytest.raises(Diverged, match="comes from none of its versions"):
            copy.upload()


class TestOneDirectory:
    def test_of_two_processes_is_one_copy(self, run):
        again = Run._open_directory(run.directory)
        for number in range(3):
            log(again, number + 2)
            again.upload()
            run.upload()
        assert steps(published()) == [1, 2, 3, 4]

    def test_whose_process_was_killed_before_it_noted_its_upload_goes_on(self, run):
        noted = {path: path.read_bytes() for path in (run.directory / ".em").rglob("*") if path.is_file()}
        run.labels = ["b"]
        state = run.directory / ".em"
        original = LocalState.done
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalState, "done", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run.upload()
        assert LocalState.done is original
        (state / "state.yaml").write_bytes(noted[state / "state.yaml"])
        again = Run._open_directory(run.directory)
        again.labels = ["c"]
        again.upload()
        assert published().labels == ["c"]

    def test_that_an_earlier_version_left_is_known_by_its_history(self, run):
        (run.directory / ".em" / "ancestors").unlink()
        run.labels = ["b"]
        run.upload()
        assert published().labels == ["b"]

    def test_that_an_earlier_version_left_is_known_in_each_place(self, run):
        elsewhere = f"memory://{uuid4()}#/alice/default"
        run.upload(elsewhere, make_folder=True)
        (run.directory / ".em" / "ancestors").unlink()
        run.labels = ["b"]
        run.upload()
        run.upload(elsewhere)
        assert published().labels == em.load_run(f"{elsewhere}/{run.name}").labels == ["b"]

    def test_that_an_earlier_version_left_is_no_newer_for_that(self, run, monkeypatch):
        other = on_another_machine(monkeypatch)
        other.labels = ["theirs"]
        other.upload()
        (run.directory / ".em" / "ancestors").unlink()
        run.labels = ["b"]
        with pytest.raises(Diverged):
            run.upload()


class TestAutoUpload:
    def test_goes_on_after_somebody_else_has_edited_the_run(self, backend, monkeypatch):
        run = em.create_run(name="r", auto_upload=True)
        log(run, 1)
        assert run._live is not None
        assert run._live.flush(30)
        other = on_another_machine(monkeypatch)
        other.labels = ["theirs"]
        other.upload()
        log(run, 2)
        assert run._live.flush(30)
        log(run, 3)
        run.finish()
        there = published()
        assert (there.labels, there.status, steps(there)) == (["theirs"], "Complete", [1, 2, 3])


class TestARunThatGoesOn:
    @pytest.fixture
    def live(self, backend) -> Run:
        run = em.create_run(name="r", auto_upload=True)
        log(run, 1)
        assert run._live is not None
        assert run._live.flush(30)
        return run

    def test_loses_nothing_that_was_shown_when_somebody_edits_it_and_its_machine_is_lost(self, live, monkeypatch):
        other = on_another_machine(monkeypatch)
        assert steps(other) == [1]
        log(live, 2, 3)
        assert live._live.flush(30)
        assert steps(published()) == [1, 2, 3]
        live._live.abandon(5)
        other.labels = ["theirs"]
        other.upload()
        there = published()
        assert (there.labels, steps(there), steps(other)) == (["theirs"], [1, 2, 3], [1, 2, 3])

    @pytest.mark.parametrize("strategy", SAFE)
    def test_is_not_replaced_by_a_copy_that_has_logged_something_else(self, live, monkeypatch, strategy):
        other = on_another_machine(monkeypatch)
        log(live, 2)
        assert live._live.flush(30)
        live._live.abandon(5)
        log(other, 7)
        with pytest.raises(Diverged, match=r"both that and this copy have logged to metrics/train.yaml"):
            other.upload(conflict_strategy=strategy)
        assert steps(published()) == [1, 2]
        other.upload(conflict_strategy="replace")
        assert steps(published()) == [1, 7]

    def test_may_be_gone_on_with_elsewhere(self, live, monkeypatch):
        live._live.abandon(5)
        other = on_another_machine(monkeypatch)
        log(other, 2)
        other.upload()
        log(other, 3)
        other.finish()
        other.upload()
        assert (published().status, steps(published())) == ("Complete", [1, 2, 3])
