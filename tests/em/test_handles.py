"""Many runs at once, runs in other processes, and in other working directories."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from t9k import em
from t9k.em.errors import NotALocalNode


@pytest.mark.long
def test_two_thousand_unfinished_runs_log_with_256_descriptors():
    program = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from t9k.em.run import Run
runs = [Run({"name": "r"}) for _ in range(2000)]
for step in range(2):
    for run in runs:
        run.log("train", {"loss": 1.0}, step=step)
assert all(len(run.metrics["train"]) == 2 for run in runs)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=300)


@pytest.mark.long
def test_five_hundred_logs_of_output_take_256_descriptors():
    program = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from pathlib import Path
from t9k.em.capture.output import OutputLog
logs = []
for number in range(500):
    logs.append(OutputLog(Path(f"{number}.log")))
    logs[-1].start()
    print("first", number, end="")
for log in reversed(logs):
    print("", "last")
    log.stop()
for number in range(500):
    assert Path(f"{number}.log").read_text() == f"first {number} last\\n"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=300, stdout=subprocess.DEVNULL)


def test_local_is_right_in_another_working_directory(tmp_path, monkeypatch):
    run, artifact = em.create_run(name="r"), em.create_artifact("a")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert os.path.isdir(run.local)
    assert os.path.isdir(artifact.local)
    run.finish()


def test_a_pickled_run_logs_to_the_same_files_and_ends_nothing():
    run = em.create_run(name="r")
    Path("run.pickle").write_bytes(pickle.dumps(run))
    program = "import pickle\nrun = pickle.load(open('run.pickle', 'rb'))\nrun.log('train', {'loss': 1}, step=7)\nrun.finish()"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert [entry["sequence"]["step"] for entry in run.metrics["train"]] == [7]
    assert em.load_run(run.local).status == "Running"
    run.finish()


@pytest.mark.parametrize("make", [lambda: em.create_run(name="r"), lambda: em.create_artifact("a")])
def test_a_pickle_whose_directory_is_gone_says_what_to_pass(make):
    made = make()
    pickled = pickle.dumps(made)
    assert pickle.loads(pickled).id == made.id
    assert copy.deepcopy(made) is made
    shutil.rmtree(made.local, ignore_errors=True)
    shutil.rmtree(made.local, ignore_errors=True)
    with pytest.raises(NotALocalNode, match="the path that it was uploaded to"):
        pickle.loads(pickled)


@pytest.mark.long
def test_nothing_that_happens_to_the_disk_raises_where_warnings_are_errors():
    program = """
import shutil
from pathlib import Path
from t9k import em
torn = em.create_run(name="torn")
torn.log("train", {"loss": 1}, step=0)
torn.finish()
with Path(torn.local, "metrics/train.yaml").open("ab") as file:
    file.write(b"- {")
em.load_run(torn.local).log("train", {"loss": 1}, step=1)
assert [entry["sequence"]["step"] for entry in torn.metrics["train"]] == [0, 1]
run = em.create_run(name="r", system_metrics=0.01, auto_upload=True, folder="file:///dev/null/store#/a/b")
artifact = em.create_artifact("a")
shutil.rmtree(".em", ignore_errors=True)
shutil.rmtree(".em", ignore_errors=True)
run.log("train", {"loss": 1}, step=0)
run.hparams["lr"] = 0.1
run.hparams = {"lr": 0.2}
run.mark_output(artifact)
print("printed")
run.finish(timeout=1)
run.finish(status="Failed", timeout=1)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def _log_one(run: em.Run, step: int) -> str:
    run.log("train", {"loss": step}, step=step)
    run.finish()
    return run.status


@pytest.mark.long
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork", "loky"])
def test_runs_passed_to_a_pool_log_and_end_nothing(method):
    """Also by loky, the pool of joblib, which pickles by cloudpickle."""
    run = em.create_run(name="r")
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from tests.em.test_handles import _log_one
from t9k import em
if __name__ == "__main__":
    run = em.load_run({run.local!r})
    calls = [(run, step) for step in range(4)]
    if {method!r} == "loky":
        from joblib import Parallel, delayed
        print(Parallel(n_jobs=2)(delayed(_log_one)(*call) for call in calls))
    else:
        from multiprocessing import get_context
        with get_context({method!r}).Pool(2) as pool:
            print(pool.starmap(_log_one, calls))
"""
    Path("pool.py").write_text(program)
    done = subprocess.run([sys.executable, "pool.py"], timeout=120, check=False, capture_output=True, text=True)
    assert "['Running', 'Running', 'Running', 'Running']" in done.stdout, done.stderr
    assert sorted(entry["sequence"]["step"] for entry in run.metrics["train"]) == [0, 1, 2, 3]
    assert em.load_run(run.local).status == "Running"
    run.finish()
