"""How a run ends that nobody finished: real processes that end in every way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from t9k import em
from t9k.em.errors import NotFound
from t9k.em.run import Run

BEGIN = """
import atexit, multiprocessing, os, signal, sys, threading, time
from t9k import em
run = em.create_run(name="r")
run.log("train", {"loss": 1.0}, step=0)
"""


def python(program: str, *options: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program in the working directory."""
    return subprocess.run(
        [sys.executable, *options, *([] if stdin is not None else ["-c", program])],
        input=stdin,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )


def recorded() -> Run:
    """The one run that there is."""
    (directory,) = Path(".em/runs").iterdir()
    return em.load_run(str(directory))


ERROR = "raise ValueError('too large: \\u00e9')"
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
WAYS = {
    "the end": ("", 0, "Complete"),
    "sys.exit()": ("sys.exit()", 0, "Complete"),
    "sys.exit(0)": ("sys.exit(0)", 0, "Complete"),
    "sys.exit(3)": ("sys.exit(3)", 3, "Failed"),
    "exit(3)": ("exit(3)", 3, "Failed"),
    "quit()": ("quit()", 0, "Complete"),
    "an exit by name that was caught": ("try: exit(2)\nexcept SystemExit: pass", 0, "Complete"),
    "sys.exit of a text": ("sys.exit('no data')", 1, "Failed"),
    "an exception": (ERROR, 1, "Failed"),
    "an exception for a hook of the program": ("sys.excepthook = lambda *_: None\n" + ERROR, 1, "Failed"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -signal.SIGINT, "Failed"),
    "a pruned trial": ("class TrialPruned(Exception): pass\nraise TrialPruned", 1, "Pruned"),
    "SIGTERM": (TERMINATE, -signal.SIGTERM, "Preempted"),
    "SIGTERM that the program handles": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n" + TERMINATE,
        0,
        "Complete",
    ),
    "SIGTERM for a handler that calls the one before": (
        "old = signal.getsignal(signal.SIGTERM)\n"
        "def stop(*args):\n    old(*args)\n    raise InterruptedError\n"
        "signal.signal(signal.SIGTERM, stop)\n" + TERMINATE,
        1,
        "Preempted",
    ),
    "the code of a program that was terminated": ("sys.exit(143)", 143, "Preempted"),
    "an exit that was caught": ("try: sys.exit(2)\nexcept SystemExit: pass", 0, "Complete"),
    "an exception that was caught": ("try: 1 / 0\nexcept ZeroDivisionError: pass", 0, "Complete"),
    "an exception that was only shown": (
        "try: 1 / 0\nexcept ZeroDivisionError: sys.excepthook(*sys.exc_info())",
        0,
        "Complete",
    ),
    "an exception in a thread": ("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", 0, "Complete"),
    "an exit in a thread": ("t = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join()", 0, "Complete"),
    "a status that was given": ("run.finish(status='Preempted'); sys.exit(1)", 1, "Preempted"),
    "an end in a child made by fork": ("pid = os.fork()\nif not pid: sys.exit(5)\nos.waitpid(pid, 0)", 0, "Complete"),
    "an exception in a process of multiprocessing": (
        "child = multiprocessing.get_context('fork').Process(target=lambda: 1 / 0); child.start(); child.join()",
        0,
        "Complete",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_the_status_says_how_the_process_ended(way):
    act, code, status = WAYS[way]
    done = python(f"{BEGIN}{act}\n", "-W", "error::UserWarning")
    run = recorded()
    assert (done.returncode, run.status) == (code, status), done.stderr
    assert run.end_timestamp
    assert [entry["sequence"]["step"] for entry in run.metrics["train"]] == [0]


@pytest.mark.parametrize("act", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_what_ends_without_a_word_goes_on_for_all_that_is_known(act):
    python(BEGIN + act)
    assert recorded().status == "Running"


def test_a_child_that_ends_meanwhile_leaves_the_run_as_it_is():
    python(f"{BEGIN}pid = os.fork()\nif not pid: sys.exit(5)\nos.waitpid(pid, 0)\nos._exit(0)")
    assert recorded().status == "Running"


def test_a_child_that_finishes_the_run_ends_it_not():
    python(f"{BEGIN}pid = os.fork()\nif not pid:\n    run.finish()\n    os._exit(0)\nos.waitpid(pid, 0)\nos._exit(0)")
    assert recorded().status == "Running"


def test_the_run_goes_on_with_the_threads_of_the_program():
    done = python(
        BEGIN
        + "def train():\n    threading.main_thread().join()\n    time.sleep(0.2)\n    print(run.status)\n"
        + "threading.Thread(target=train).start()"
    )
    assert done.stdout == "Running\n"
    assert recorded().status == "Complete"


def test_the_exception_is_kept_and_stands_once_at_the_end_of_the_log():
    done = python(f"{BEGIN}def train(secret='s3cr3t-value'):\n    {ERROR}\ntrain()")
    run = recorded()
    assert (run.error["type"], run.error["message"]) == ("ValueError", "too large: é")
    assert run.error["traceback"] == done.stderr
    assert Path(run.local, "stdout.log").read_text().endswith(done.stderr)
    assert Path(run.local, "stdout.log").read_text().count("Traceback") == 1
    assert "s3cr3t-value" not in str(run.error) + Path(run.local, "stdout.log").read_text()


def test_no_exception_is_kept_of_a_normal_end():
    python(BEGIN)
    assert recorded().error == {}


def test_at_a_prompt_an_exception_ends_nothing():
    done = python("", "-i", "-q", stdin=f"{BEGIN}\n1 / 0\nprint('status', run.status)\n")
    assert "ZeroDivisionError" in done.stderr
    assert "status Running" in done.stdout
    assert recorded().status == "Complete"


def test_a_run_that_is_loaded_and_goes_on_ends_too():
    with em.create_run(name="r") as run:
        run.log("train", {"loss": 1.0}, step=0)
    python(f"from t9k import em\nrun = em.load_run({run.local!r})\nrun.log('train', {{'loss': 1}}, step=1)\n1 / 0")
    loaded = recorded()
    assert (loaded.status, loaded.error["type"]) == ("Failed", "ZeroDivisionError")


def test_a_process_that_logs_to_the_run_of_another_does_not_end_it():
    run = em.create_run(name="r")
    python(f"from t9k import em\nrun = em.load_run({run.local!r})\nrun.log('train', {{'loss': 1}}, step=1)")
    assert recorded().status == "Running"
    run.finish()


def test_a_directory_that_is_gone_is_no_trouble_at_the_end():
    done = python(f"{BEGIN}import shutil\nrun.platform\nshutil.rmtree('.em')", "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(".em").exists()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", "Complete"),
        (ERROR, "Failed"),
        (TERMINATE, "Preempted"),
        ("run.__exit__(*([ValueError, ValueError('x'), None]))", "Failed"),
    ],
    ids=["the end", "an exception", "SIGTERM", "an exception in the block"],
)
def test_a_run_that_was_uploaded_by_hand_ends_in_the_store_as_well(tmp_path, end, status):
    """Also where the process chose another backend meanwhile."""
    store = f"file://{tmp_path}/store"
    begin = f"{BEGIN}em.login({store!r})\nrun.upload('/alice/f', make_folder=True)\nem.login('memory://other')\n"
    done = python(f"{begin}run.log('train', {{'loss': 0.5}}, step=1)\nprint('last words')\n{end}")
    there = em.load_run(f"{store}#/alice/f/r")
    assert there.status == status, done.stderr
    assert len(there.metrics["train"]) == 2
    assert there.end_timestamp


def test_a_run_that_was_finished_is_not_uploaded_without_being_asked(tmp_path):
    store = f"file://{tmp_path}/store"
    python(f"{BEGIN}run.upload('{store}#/alice/f', make_folder=True)\nrun.finish()")
    assert em.load_run(f"{store}#/alice/f/r@1").status == "Running"
    with pytest.raises(NotFound):
        em.load_run(f"{store}#/alice/f/r@2")


@pytest.mark.long
def test_what_a_run_that_was_uploaded_by_hand_could_not_send_is_told(tmp_path):
    store = tmp_path / "store"
    program = f"{BEGIN}import shutil\nrun.upload('file://{store}#/alice/f', make_folder=True)\nshutil.rmtree('{store}')\nopen('{store}', 'w').close()"
    done = python(program)
    assert done.returncode == 0
    assert f"--folder 'file://{store}#/alice/f'" in done.stderr
    assert recorded().status == "Complete"
