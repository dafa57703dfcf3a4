"""A run that is uploaded from its own thread: what goes wrong there never reaches the training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import pytest

from t9k import em
from t9k.em import session
from t9k.em.errors import (
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    IncompleteWarning,
    InvalidInput,
    NotAuthenticated,
)
from t9k.em.live import uploading
from t9k.em.local import objects
from t9k.em.testing.wrappers import BackendWrapper

FOLDER = "/alice/live"
DEADLINE_S = 30


class Breakable(BackendWrapper):
    """A backend that raises, or hangs, while it is broken."""

    def __init__(self, inner):
        super().__init__(inner)
        self.trouble = None
        self.calls = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def around(self, what, call):
        self.calls += 1
        assert self.go_on.wait(DEADLINE_S)
        if self.trouble is not None:
            raise self.trouble
        return call()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("t9k.em.live.pace.FIRST_S", 0.02)
    monkeypatch.setattr(uploading, "POLL_S", 0.02)
    monkeypatch.setattr(uploading, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(uploading, "LONGEST_PAUSE_S", 0.1)


@pytest.fixture
def backend():
    em.login("store")
    session._current = Breakable(session.current())
    return session._current


def start(name="live", **more):
    return em.create_run(name=name, hparams={"lr": 0.1}, auto_upload=True, folder=FOLDER, make_folder=True, **more)


def there(name="live"):
    """The run as somebody else finds it now; None when it is not there."""
    try:
        return em.load_run(f"{Path('store').absolute().as_uri()}#{FOLDER}/{name}")
    except LookupError:
        return None


def eventually(is_so):
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def steps_of(run):
    return [entry["sequence"]["step"] for entry in run.metrics.get("train", [])]


def test_a_run_is_visible_at_once_and_grows(backend):
    run = start()
    eventually(there)
    first = there()
    assert (first.status, dict(first.hparams)) == ("Running", {"lr": 0.1})
    for step in range(50):
        run.log("train", {"loss": 1.0}, step=step)
    eventually(lambda: len(steps_of(there())) == 50)
    assert there().status == "Running"
    run.finish()
    last = there()
    assert (last.status, last.metrics) == ("Complete", run.metrics)


FAULTS = [
    BackendUnavailable("the server is away"),
    BackendFull("the bucket is full"),
    BackendPermissionError("it refuses"),
    NotAuthenticated("the key was revoked"),
    OSError(-3, "the name is unknown"),
    ValueError("a defect"),
]


@pytest.mark.long
@pytest.mark.parametrize("trouble", FAULTS, ids=lambda trouble: type(trouble).__name__)
def test_a_fault_is_told_once_and_nothing_is_lost(backend, trouble):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        backend.trouble = trouble
        run = start()
        for step in range(20):
            run.log("train", {"loss": 1.0}, step=step)
        before = backend.calls
        eventually(lambda: backend.calls > before + 3)
        backend.trouble = None
        eventually(lambda: there() is not None and len(steps_of(there())) == 20)
        run.finish()
    told = [str(warning.message) for warning in caught if warning.category is IncompleteWarning]
    assert len(told) == 1, told
    assert str(trouble) in told[0]
    assert there().metrics == run.metrics


def test_a_login_that_comes_later_is_in_time(monkeypatch):
    with pytest.warns(IncompleteWarning, match="no backend is chosen") as told:  # noqa: PT031 - from another thread
        run = start()
        run.log("train", {"loss": 1.0}, step=0)
        eventually(lambda: len(told) > 0)
    em.login("store")
    eventually(there)
    run.finish()
    assert there().status == "Complete"


def test_a_backend_that_hangs_keeps_nobody_waiting(backend):
    backend.go_on.clear()
    run = start()
    run.log("train", {"loss": 1.0}, step=0)
    began = time.monotonic()
    with pytest.warns(IncompleteWarning, match=r"not uploaded completely.*em upload .*live"):
        run.finish(timeout=0.2)
    assert time.monotonic() - began < 5
    assert run.status == "Complete"
    backend.go_on.set()
    eventually(lambda: there() is not None and there().status == "Complete")


def test_the_command_in_the_warning_sends_what_remains_from_anywhere(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("EM_RUN_PARENT_DIR", "my runs; here's $HOME")
    backend.trouble = BackendUnavailable("away")
    with pytest.warns(IncompleteWarning) as told:  # noqa: PT031 - from another thread
        run = start()
        run.log("train", {"loss": 1.0}, step=0)
        run.finish(timeout=0.1)
    command = str(told[-1].message).rpartition(" with: ")[2]
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PATH": tools},
        capture_output=True,
    )
    assert done.stdout.startswith(b"published")
    backend.trouble = None
    assert (there().status, steps_of(there())) == ("Complete", [0])


def test_the_environment_says_how_long_to_wait(backend, monkeypatch):
    monkeypatch.setenv("EM_FINISH_TIMEOUT", "0.1")
    backend.trouble = BackendUnavailable("away")
    with pytest.warns(IncompleteWarning) as told:  # noqa: PT031 - likewise
        run = start()
        run.finish()
    assert "away" in str(told[-1].message)
    assert "em upload" in str(told[-1].message)
    backend.trouble = None
    eventually(lambda: there() is not None and there().status == "Complete")


def test_what_is_logged_after_the_end_is_uploaded_by_the_next_end(backend):
    run = start()
    run.log("train", {"loss": 1.0}, step=0)
    run.finish()
    run.log("train", {"loss": 1.0}, step=1)
    run.finish()
    assert steps_of(there()) == [0, 1]


def test_what_is_logged_after_an_end_that_came_late_is_uploaded_by_the_next_end(backend):
    run = start()
    backend.go_on.clear()
    with pytest.warns(IncompleteWarning, match="not uploaded completely"):
        run.finish(timeout=0.1)
    backend.go_on.set()
    eventually(lambda: run._live.has_stopped)
    run.log("train", {"loss": 1.0}, step=1)
    run.finish()
    assert steps_of(there()) == [1]


def test_without_a_thread_the_end_uploads(backend, monkeypatch):
    class Refused(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(uploading, "threading", types.SimpleNamespace(Thread=Refused, Condition=threading.Condition))
    run = start()
    run.log("train", {"loss": 1.0}, step=1)
    run.finish()
    assert (there().status, steps_of(there())) == ("Complete", [1])


def test_warnings_that_cannot_be_shown_do_not_end_the_uploads(monkeypatch):
    def fail(_):
        raise ValueError("I/O operation on closed file")

    failures: list[bool] = [True, False, False]
    source = Changing(lambda: None if failures.pop() else time.sleep(1 / 0))
    upload = uploading.LiveUpload(source, uploading.Steps(), fail)
    upload.start()
    eventually(lambda: source.published == 1)
    failures.append(True)
    assert upload.finish() is None


@pytest.mark.parametrize("timeout", [float("nan"), "soon", object()])
def test_a_timeout_that_is_no_number_is_refused_before_anything_is_done(backend, timeout):
    run = start()
    with pytest.raises(InvalidInput, match="number of seconds"):
        run.finish(timeout=timeout)
    assert run.status == "Running"
    run.finish()


def test_what_the_training_holds_of_a_loaded_run_stays_its_own(backend):
    run = start()
    run.finish()
    backend.go_on.clear()
    again = em.load_run(run.local, auto_upload=True, folder=FOLDER)
    hparams = again.hparams
    backend.go_on.set()
    eventually(lambda: again._live is not None and again._live._rounds.writes)
    hparams["lr"] = 0.5
    again.finish()
    assert (again.hparams["lr"], there().hparams["lr"]) == (0.5, 0.5)


@pytest.mark.parametrize("what", ["metadata", "hparams"])
def test_what_is_older_never_replaces_what_is_newer(monkeypatch, what):
    run = em.create_run(name="r", hparams={"n": 0})
    owner, method = (type(run), "_metadata") if what == "metadata" else (type(run.hparams), "as_dict")
    original = getattr(owner, method)
    found, changed = threading.Event(), threading.Event()

    def slow(self):
        result = original(self)
        if threading.current_thread() is other:
            found.set()
            changed.wait(0.5)
        return result

    other = threading.Thread(target=run.save if what == "metadata" else run.finish)
    monkeypatch.setattr(owner, method, slow)
    other.start()
    found.wait(0.5)
    if what == "metadata":
        run.description = "new"
        run.save()
    else:
        run.hparams["n"] = 1
    changed.set()
    other.join()
    loaded = em.load_run(run.local)
    assert (loaded.description if what == "metadata" else loaded.hparams["n"]) == ("new" if what == "metadata" else 1)


def test_an_artifact_that_is_added_to_while_it_is_uploaded_forgets_nothing(monkeypatch):
    artifact = em.create_artifact("weights")
    for name in "cba":
        Path(name).write_text(name)
    artifact.add_file("c")
    artifact.add_file("b")
    original = objects.write_atomic
    began, added = threading.Event(), threading.Event()

    def slow(path, data):
        began.set()
        added.wait(0.5)
        original(path, data)

    monkeypatch.setattr(objects, "write_atomic", slow)
    other = threading.Thread(target=artifact.upload, args=("memory://added#/alice/f", True))
    other.start()
    assert began.wait(DEADLINE_S)
    artifact.add_file("a")
    added.set()
    other.join()
    assert {found["key"] for found in em.load_artifact(artifact.local).objects} == {"a", "b", "c"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_fork_waits_for_no_lock_of_the_thread(backend):
    run = start()
    eventually(there)
    held, go_on = threading.Event(), threading.Event()

    def hold():
        with run._locks.sending, run._locks.changing, run._state.lock.held():
            held.set()
            go_on.wait(DEADLINE_S)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(DEADLINE_S)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        run.description = "child"
        run.save()
        run._state.set("x", 1)
        os._exit(0)
    go_on.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run.finish()


def test_a_loaded_run_goes_on(backend):
    run = start()
    run.log("train", {"loss": 1.0}, step=0)
    run.finish()
    again = em.load_run(run.local, auto_upload=True, folder=FOLDER)
    again.log("train", {"loss": 1.0}, step=1)
    eventually(lambda: there().status == "Running" and steps_of(there()) == [0, 1])
    again.finish()
    assert (there().status, steps_of(there())) == ("Complete", [0, 1])


def test_an_upload_by_hand_at_the_same_time_is_fine(backend):
    run = start()
    for step in range(30):
        run.log("train", {"loss": 1.0}, step=step)
        if step % 10 == 0:
            run.upload(folder=FOLDER, make_folder=True)
    run.finish()
    assert there().metrics == run.metrics
    assert [node.name for node in session.current().list(FOLDER)] == ["live"]


def test_several_runs_at_once(backend):
    runs = [start(f"live{number}") for number in range(4)]
    for step in range(20):
        for run in runs:
            run.log("train", {"loss": 1.0}, step=step)
    for run in runs:
        run.finish()
    for number, run in enumerate(runs):
        assert there(f"live{number}").metrics == run.metrics


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("new", ["live", "live_"]), ("replace", ["live"]), ("skip", ["live"]), ("error", ["live"])],
)
def test_a_name_that_is_taken(backend, strategy, expected):
    other = em.create_run(name="live")
    other.upload(folder=FOLDER, make_folder=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = start(conflict_strategy=strategy)
        run.log("train", {"loss": 1.0}, step=0)
        run.finish(timeout=1)
    names = [node.name for node in session.current().list(FOLDER)]
    assert len(names) == len(expected)
    assert all(name.startswith(start) for name, start in zip(sorted(names), expected, strict=True))
    kept = there().id
    assert kept == (run.id if strategy == "replace" else other.id)
    assert any("is there already" in str(warning.message) for warning in caught) == (strategy == "error")


SCRIPT = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored below some shells
from t9k import em
from t9k.em.live import pace
em.login(sys.argv[1])
run = em.create_run(name="live", auto_upload=True, folder="/alice/live", make_folder=True)
for step in range(100):
    run.log("train", {"loss": 1.0}, step=step)
while run._live._rounds.writes == 0:
    time.sleep(0.01)
for step in range(100, 200):
    run.log("train", {"loss": 1.0}, step=step)
ACT
"""
ENDS = {
    "end": ("pass", 0, "Complete"),
    "exit": ("sys.exit(3)", 3, "Failed"),
    "error": ("raise ValueError('oh')", 1, "Failed"),
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", -signal.SIGTERM, "Preempted"),
    "interrupted": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", -signal.SIGINT, "Failed"),
}


POOL = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from t9k.em import session
from t9k.em.testing.wrappers import BackendWrapper
class Pooled(BackendWrapper):
    def around(self, what, call):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call).result()
session._current = Pooled(session.current())
artifact = em.create_artifact("weights")
for number in range(200):
    Path(f"{number}").write_bytes(b"w")
    artifact.add_file(f"{number}")
run.mark_output(artifact)
"""
ENDS["with a backend that needs threads"] = POOL, 0, "Complete"


@pytest.mark.long
@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_sends_what_was_logged(how):
    act, code, status = ENDS[how]
    root = Path("store").absolute()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("ACT", act), str(root)], timeout=60, check=False, capture_output=True
    )
    assert done.returncode == code, done.stderr.decode()
    loaded = there()
    assert (loaded.status, steps_of(loaded)) == (status, list(range(200)))


def test_a_killed_process_is_finished_by_a_command_of_another_exactly_once():
    root = Path("store").absolute()
    act = "os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", SCRIPT.replace("ACT", act), str(root)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    (directory,) = Path(".em/runs").iterdir()
    assert len(steps_of(there())) <= 200
    before = there().id
    for _ in range(2):
        subprocess.run(
            [
                Path(sys.executable).with_name("em"),
                "--backend",
                str(root),
                "upload",
                str(directory),
                "--folder",
                FOLDER,
            ],
            check=True,
            timeout=60,
        )
    loaded = there()
    assert (loaded.id, steps_of(loaded)) == (before, list(range(200)))
    em.login(str(root))
    assert [node.name for node in session.current().list(FOLDER)] == ["live"]


class Changing:
    """A run that is never as it was, and takes a while to upload."""

    def __init__(self, publish=lambda: time.sleep(0.1)):
        self._publish = publish
        self.published = 0

    def publish(self):
        self._publish()
        self.published += 1

    def state(self):
        return object()

    def growing(self):
        return []

    def sync(self):
        pass

    def sent(self, size):
        pass


def live(source, told):
    upload = uploading.LiveUpload(source, uploading.Steps(), told.append)
    upload.start()
    return upload


@pytest.mark.long
def test_a_run_that_hangs_keeps_no_other_from_being_sent_at_the_end(monkeypatch):
    monkeypatch.setattr("t9k.em.live.pace.FIRST_S", 60)
    go_on, source = threading.Event(), Changing()
    told: list[str] = []
    hanging, other = live(Changing(go_on.wait), told), live(source, told)
    eventually(lambda: source.published == 1 and other._rounds._is_published)
    monkeypatch.setattr(uploading, "_all", [hanging, other])
    uploading.flush_all(0.5)
    assert source.published == 2
    go_on.set()
    assert (hanging.finish(), other.finish(), told) == (None, None, [])


def test_the_end_is_never_taken_for_reached_by_a_round_before_it():
    class Slow(uploading.LiveUpload):
        def _ask(self, *args, **more):
            time.sleep(0.3)
            return super()._ask(*args, **more)

    source = Changing(lambda: None)
    upload = Slow(source, uploading.Steps(), print)
    upload.start()
    eventually(lambda: source.published)
    assert upload.finish() is None


def test_what_is_waited_for_is_sent_however_much_was_written(monkeypatch):
    source = Changing(lambda: None)
    upload = uploading.LiveUpload(source, uploading.Steps(), print)
    upload.start()
    eventually(lambda: source.published)
    upload._rounds._quota.writes = 10**6
    time.sleep(0.1)
    before = source.published
    assert upload.flush(DEADLINE_S)
    assert source.published > before
    assert upload.finish() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_fork_ends_at_once_by_a_signal(backend):
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        run = start()
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        child = os.fork()
        if child == 0:
            os._exit(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        run.finish()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_child_of_fork_uploads_nothing_and_waits_for_nothing(backend):
    run = start()
    run.log("train", {"loss": 1.0}, step=0)
    eventually(there)
    child = os.fork()
    if child == 0:
        began = time.monotonic()
        run.finish()
        os._exit(0 if time.monotonic() - began < 10 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run.log("train", {"loss": 1.0}, step=1)
    run.finish()
    assert steps_of(there()) == [0, 1]
