"""Several processes, threads and objects change one run or artifact: what each has changed stays, whoever writes last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.em.local.faultydisk import mounted
from tests.em.test_signals import interrupted

from t9k import em
from t9k.em.errors import IncompleteWarning, KeyCollision, LocalError
from t9k.em.local import locking, reentry
from t9k.em.local.files import sha256_of_file
from t9k.em.run import Run

fcntl = pytest.importorskip("fcntl")
COUNT = 32


def start(code: str, *args: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *map(str, args)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def ended(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return out


MARKING = """
import os, sys
from t9k import em

directory, count = sys.argv[1], int(sys.argv[2])
begin, gate = os.pipe()
children = []
for number in range(count):
    child = os.fork()
    if child == 0:
        try:
            os.close(gate)
            run = em.load_run(directory, output="off")
            os.read(begin, 1)
            artifact = em.create_artifact(f"predictions-{number}")
            run.mark_output(artifact)
            run.labels.append(f"label-{number}")
            run.hparams[f"evaluated-{number}"] = {"by": number}
            run.save()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    children.append(child)
print("ready", flush=True)
sys.stdin.readline()
os.close(gate)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_what_32_processes_mark_while_the_training_finishes_is_kept():
    run = em.create_run(name="cnn", hparams={"lr": 0.1}, labels=["base"], output="off")
    run.mark_input(em.create_artifact("mnist"))
    evaluations = start(MARKING, run.local, COUNT)
    assert evaluations.stdout is not None
    assert evaluations.stdout.readline() == "ready\n"
    assert evaluations.stdin is not None
    evaluations.stdin.write("go\n")
    evaluations.stdin.flush()
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline and evaluations.poll() is None and not em.load_run(run.local).associations["output"]
    ):
        time.sleep(0.001)
    run.labels.append("mine")
    run.description = "trained"
    run.hparams["lr"] = 0.01
    run.mark_output(em.create_artifact("model"))
    run.finish()
    ended(evaluations)

    found = em.load_run(run.local)
    assert found.status == "Complete"
    assert found.end_timestamp
    assert found.description == "trained"
    assert {record["name"] for record in found.associations["input"]} == {"mnist"}
    assert {record["name"] for record in found.associations["output"]} == {
        "model",
        *(f"predictions-{number}" for number in range(COUNT)),
    }
    assert sorted(found.labels) == sorted(["base", "mine", *(f"label-{number}" for number in range(COUNT))])
    assert found.hparams.as_dict() == {
        "lr": 0.01,
        **{f"evaluated-{number}": {"by": number} for number in range(COUNT)},
    }


def test_threads_with_objects_of_their_own_lose_nothing_of_each_other():
    run = Run({"name": "r"})
    faults = []

    def mark(number: int) -> None:
        try:
            mine = em.load_run(run.local, output="off")
            for part in range(5):
                mine.labels.append(f"{number}-{part}")
                mine.save()
                mine.hparams[f"h{number}"] = part
        except Exception as error:  # noqa: BLE001 - told to the test
            faults.append(error)

    threads = [threading.Thread(target=mark, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    found = em.load_run(run.local)
    assert sorted(found.labels) == sorted(f"{number}-{part}" for number in range(8) for part in range(5))
    assert found.hparams.as_dict() == {f"h{number}": 4 for number in range(8)}


class TestJoining:
    @pytest.fixture
    def run(self):
        return Run(
            {"name": "r", "labels": ["a", "b"], "description": "old"}, hparams={"lr": 1, "opt": {"a": 1, "b": 2}}
        )

    @pytest.fixture
    def other(self, run):
        return em.load_run(run.local, output="off")

    def test_the_own_view_shows_what_others_wrote_as_soon_as_it_writes(self, run, other):
        other.labels.append("c")
        other.save()
        assert run.labels == ["a", "b"]
        run.description = "new"
        run.save()
        assert run.labels == ["a", "b", "c"]
        other.labels.append("d")
        other.save()
        assert other.description == "new"

    def test_a_field_that_both_changed_is_what_the_last_one_wrote(self, run, other):
        other.description = "other"
        other.save()
        run.description = "mine"
        run.save()
        assert em.load_run(run.local).description == "mine"

    def test_what_one_removed_is_gone_and_what_the_other_added_is_there(self, run, other):
        other.labels.remove("a")
        other.labels.append("c")
        del other.hparams["lr"]
        other.save()
        run.labels.append("d")
        run.hparams["new"] = 1
        run.save()
        found = em.load_run(run.local)
        assert found.labels == ["b", "c", "d"]
        assert found.hparams.as_dict() == {"opt": {"a": 1, "b": 2}, "new": 1}
        assert run.labels == ["b", "c", "d"]

    def test_nested_hyperparameters_are_joined_key_by_key(self, run, other):
        view = run.hparams["opt"]
        other.hparams["opt"]["a"] = 10
        run.hparams["opt"]["b"] = 20
        assert em.load_run(run.local).hparams.as_dict() == {"lr": 1, "opt": {"a": 10, "b": 20}}
        assert view.a == 10

    def test_nan_that_nobody_changed_counts_as_the_same(self, run):
        run.hparams["x"] = float("nan")
        other = em.load_run(run.local, output="off")
        other.hparams["x"] = 1.0
        run.hparams["y"] = 2
        assert em.load_run(run.local).hparams["x"] == 1.0

    def test_the_process_that_records_a_run_says_whether_it_goes_on(self, run, other):
        other.finish(status="Failed")
        run.labels.append("c")
        run.save()
        assert em.load_run(run.local).status == "Running"
        run.finish()
        assert em.load_run(run.local).status == "Complete"

    def test_a_mark_keeps_the_status_that_the_training_wrote_meanwhile(self, run, other):
        run.finish(status="Failed")
        end = run.end_timestamp
        other.mark_output(em.create_artifact("a"))
        found = em.load_run(run.local)
        assert (found.status, found.end_timestamp) == ("Failed", end)
        assert other.status == "Failed"

    def test_fields_that_a_later_version_wrote_stay(self, run):
        path = Path(run.local) / "metadata.yaml"
        path.write_text(f"{path.read_text()}later: 1\n")
        for label in ("c", "d"):
            run.labels.append(label)
            run.save()
        assert "later: 1\n" in path.read_text()

    @pytest.mark.parametrize("text", ["labels: [", "a list", "labels: 3\n", "- 1\n"])
    def test_what_cannot_be_understood_is_written_over_with_a_warning(self, run, text):
        (Path(run.local) / "metadata.yaml").write_text(text)
        run.labels.append("c")
        with pytest.warns(IncompleteWarning, match=r"holds|metadata.* was written over it"):
            run.save()
        assert em.load_run(run.local).labels == ["a", "b", "c"]

    def test_hyperparameters_that_are_taken_over_are_uploaded(self, run, other, backend):
        other.hparams["extra"] = 3
        other.labels.append("c")
        other.save()
        run.upload("default", make_folder=True)
        there = em.load_run("default/r")
        assert there.hparams["extra"] == 3
        assert there.labels == ["a", "b", "c"]

    def test_whoever_changes_nothing_writes_nothing(self, run, other):
        other.labels.append("c")
        other.save()
        before = (Path(run.local) / "metadata.yaml").stat()
        run.save()
        assert (Path(run.local) / "metadata.yaml").stat() == before


ADDING = """
import sys
from pathlib import Path
from t9k import em

artifact, number = em.load_artifact(sys.argv[1]), sys.argv[2]
source = Path(f"source-{number}")
source.mkdir()
print("ready", flush=True)
sys.stdin.readline()
for round in range(10):
    Path(f"f-{number}").write_text(f"{number} {round}" * 1000)
    (source / "one").write_text(f"{number} {round} one")
    (source / f"own-{number}").write_text(f"{round}")
    artifact.add_file(f"f-{number}", "same")
    artifact.add_dir(str(source), "d")
"""


class TestArtifacts:
    def test_objects_that_several_add_are_all_there(self):
        artifact = em.create_artifact("a")
        Path("f").write_text("x")
        others = [em.load_artifact(artifact.local) for _ in range(4)]

        def add(number: int) -> None:
            for part in range(10):
                others[number].add_file("f", f"{number}-{part}")

        threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        keys = {f"{number}-{part}" for number in range(4) for part in range(10)}
        assert {entry["key"] for entry in em.load_artifact(artifact.local).objects} == keys

    def test_the_index_names_what_lies_there_whoever_adds_the_same_key(self):
        artifact = em.create_artifact("a")
        adding = [start(ADDING, artifact.local, number) for number in range(6)]
        for process in adding:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in adding:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in adding:
            ended(process)
        found = em.load_artifact(artifact.local)
        assert {entry["key"] for entry in found.objects} == {
            "same",
            "d/one",
            *(f"d/own-{number}" for number in range(6)),
        }
        for entry in found.objects:
            assert sha256_of_file(Path(found.local, "objects", entry["key"])) == entry["sha256"]

    def test_a_key_that_some_file_system_takes_for_anothers_is_refused(self):
        artifact = em.create_artifact("a")
        Path("f").write_text("x")
        other = em.load_artifact(artifact.local)
        artifact.add_file("f", "Weights")
        with pytest.raises(KeyCollision):
            other.add_file("f", "weights")
        assert [entry["key"] for entry in em.load_artifact(artifact.local).objects] == ["Weights"]

    def test_what_others_added_is_uploaded(self, backend):
        artifact = em.create_artifact("a")
        Path("f").write_text("x")
        em.load_artifact(artifact.local).add_file("f", "others")
        artifact.add_file("f", "mine")
        em.load_artifact(artifact.local).add_file("f", "later")
        artifact.upload("x", make_folder=True)
        assert {entry["key"] for entry in em.load_artifact("x/a").objects} == {"others", "mine", "later"}


class TestTheLock:
    def test_a_new_run_takes_it_at_most_once(self, monkeypatch):
        taken = []
        held = locking.DirectoryLock.held
        monkeypatch.setattr(locking.DirectoryLock, "held", lambda self: taken.append(self) or held(self))
        em.create_run(name="r", hparams={"a": 1}, output="off")
        assert len(taken) <= 1

    def test_the_file_of_a_process_that_was_killed_is_no_lock(self):
        run = Run({"name": "r"})
        holder = start(
            "import sys, pathlib; from t9k.em.local import locking\n"
            "with locking.lock_of(pathlib.Path(sys.argv[1]), '.em').held():\n"
            "    print('held', flush=True); sys.stdin.read()",
            run.local,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        saved = threading.Thread(target=run.hparams.update, args=({"a": 1},))
        saved.start()
        saved.join(0.2)
        assert saved.is_alive()
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        saved.join(60)
        assert not saved.is_alive()
        assert em.load_run(run.local).hparams["a"] == 1

    def test_one_that_is_never_given_back_is_waited_for_once_and_told(self, monkeypatch):
        monkeypatch.setattr(locking, "MOST_S", 0.2)
        run = Run({"name": "r"})
        run.save()
        private = Path(run.local) / ".em"
        private.mkdir(exist_ok=True)
        with (private / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.warns(IncompleteWarning, match=r"lock was held by somebody else .* fuser") as told:
                run.hparams["a"] = 1
            run.hparams["b"] = 2
            run.finish()
        assert len(told) == 1
        assert em.load_run(run.local).hparams.as_dict() == {"a": 1, "b": 2}
        assert em.load_run(run.local).status == "Complete"

    def test_a_child_made_by_fork_while_it_is_held_neither_holds_nor_waits_for_it(self):
        run = Run({"name": "r"})
        lock = locking.lock_of(Path(run.local), ".em")
        with lock.held():
            child = os.fork()
            if child == 0:
                time.sleep(0.3)  # until the parent has given it back
                code = 1
                try:
                    em.load_run(run.local, output="off").hparams["child"] = 1
                    code = 0
                finally:
                    os._exit(code)
        with lock.held():  # although the child has inherited the open file
            pass
        assert os.waitpid(child, 0)[1] == 0
        assert em.load_run(run.local).hparams["child"] == 1

    def test_a_directory_without_locks_is_written_to_all_the_same(self, monkeypatch):
        def refuse(fd: int, operation: int) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr(locking.fcntl, "flock", refuse)
        run = Run({"name": "r"})
        run.hparams["a"] = 1
        other = em.load_run(run.local, output="off")
        run.labels.append("x")
        run.save()
        other.labels.append("y")
        other.save()
        assert em.load_run(run.local).labels == ["x", "y"]

    def test_a_system_without_flock_is_written_to_all_the_same(self, monkeypatch):
        monkeypatch.setattr(locking, "fcntl", None)
        run = Run({"name": "r"})
        run.hparams["a"] = 1
        assert em.load_run(run.local).hparams["a"] == 1

    def test_a_directory_that_is_read_only_is_read_and_says_so_when_it_is_written(self, tmp_path, monkeypatch):
        with mounted(tmp_path / "disk", "size=4m") as disk:
            monkeypatch.setenv("EM_RUN_PARENT_DIR", str(disk / "runs"))
            run = Run({"name": "r"}, {"a": 1})
            run.finish()
            again = em.load_run(run.local, output="off")
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            assert em.load_run(run.local).hparams["a"] == 1
            again.labels.append("x")
            with pytest.raises(LocalError, match="read-only, choose another directory"):
                again.save()
            with pytest.warns(IncompleteWarning, match="are not on the disk"):
                again.hparams["a"] = 2

    def test_a_file_that_was_deleted_while_it_was_waited_for_is_made_anew(self):
        run = Run({"name": "r"})
        run.hparams["a"] = 1
        path = Path(run.local) / ".em" / "lock"
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            saved = threading.Thread(target=run.hparams.update, args=({"b": 2},))
            saved.start()
            saved.join(0.1)
            path.unlink()
        saved.join(60)
        assert path.is_file()
        assert em.load_run(run.local).hparams.as_dict() == {"a": 1, "b": 2}

    @pytest.mark.parametrize("number", range(30))
    def test_a_handler_may_finish_the_run_while_its_own_thread_holds_the_lock(self, number):
        run = Run({"name": "r"})
        left = number * 25

        def finish() -> None:
            nonlocal left
            left -= 1
            if left == -1:
                run.finish(status="Preempted")

        with interrupted(finish):
            run.labels.append("x")
            run.save()
        if left >= 0:
            run.finish(status="Preempted")
        assert not reentry.waiting
        found = em.load_run(run.local)
        assert (found.labels, found.status) == (["x"], "Preempted")


LOGGING = """
import sys
from t9k import em

run = em.load_run(sys.argv[1], output="off")
run.log("val", {"loss": 0.5}, step=1)
print("logged", flush=True)
sys.stdin.readline()
run.mark_output(em.create_artifact("predictions"))
run.finish()
"""


def test_an_evaluation_that_logged_to_a_run_does_not_undo_how_the_training_ended():
    run = em.create_run(name="cnn", output="off")
    evaluation = start(LOGGING, run.local)
    assert evaluation.stdout is not None
    assert evaluation.stdout.readline() == "logged\n"
    run.finish(status="Failed")
    evaluation.communicate("go\n", timeout=120)
    assert evaluation.returncode == 0
    found = em.load_run(run.local)
    assert (found.status, found.end_timestamp) == ("Failed", run.end_timestamp)
    assert [record["name"] for record in found.associations["output"]] == ["predictions"]
