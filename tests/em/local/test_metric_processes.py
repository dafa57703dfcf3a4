"""Several processes log to one run: nothing is lost, nothing is torn, and none cuts what another wrote."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from tests.em.local.faultydisk import fill, mounted

from t9k import em
from t9k.em.errors import IncompleteWarning, RecoveredDataWarning
from t9k.em.local import appender, lost_lines, metrics
from t9k.em.local.appender import LineAppender
from t9k.em.run import Run

TIME = "2023-08-17T08:05:24.390002Z"


def line(step: int) -> bytes:
    return metrics.encode({"x": step}, step, None, TIME)


def python(code: str, *args: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *map(str, args)],
        check=check,
        text=True,
        capture_output=True,
        env=environment,
        timeout=120,
    )


FORKING = """
import os, sys, threading
from t9k import em

run = em.load_run(sys.argv[1])
run.log("train", {"worker": -1, "x": 0}, step=0)
stop = threading.Event()

def log_beside():  # so that a fork meets locks that are held
    step = 0
    while not stop.is_set():
        run.log("beside", {"worker": 100, "x": step}, step=step)
        run.log("train", {"worker": 100, "x": step}, step=step)
        step += 1

thread = threading.Thread(target=log_beside)
thread.start()
children = []
for worker in range(8):
    child = os.fork()
    if not child:
        for step in range(500):
            run.log("train", {"worker": worker, "x": step, "name" * (step % 200 + 1): 1}, step=step)
            if step % 100 == 0:
                run.log(f"own {worker}", {"worker": worker, "x": step}, step=step)
        os._exit(0)
    children.append(child)
for step in range(500):
    run.log("train", {"worker": 99, "x": step}, step=step)
codes = [os.waitpid(child, 0)[1] for child in children]
stop.set()
thread.join()
run.finish()
assert codes == [0] * 8, codes
"""


def by_worker(run: Run, kind: str = "train") -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in run.metrics[kind]:
        found.setdefault(int(entry["value"]["worker"]), []).append(entry["sequence"]["step"])
    return found


@pytest.mark.long
def test_children_made_by_fork_and_their_parent_share_a_file_without_a_loss():
    run = Run({"name": "r"})
    python(FORKING, run.local)
    steps = by_worker(em.load_run(run.local))
    for worker in (*range(8), 99):
        assert steps[worker] == list(range(500))
    assert steps[100] == list(range(len(steps[100])))
    assert {f"own {worker}" for worker in range(8)} < set(run.metrics)
    assert run.metrics["own 3"][-1]["value"]["x"] == 400


LOGGING = """
import sys
from t9k import em

run = em.load_run(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for step in range(1000):
    run.log("train", {"worker": int(sys.argv[2]), "x": step, "name" * (step % 200 + 1): 1}, step=step)
run.log(f"own {sys.argv[2]}", {"x": 1}, step=1)
"""


@pytest.mark.long
def test_processes_that_opened_one_run_lose_nothing_and_tear_nothing():
    run = Run({"name": "r"})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOGGING, run.local, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for worker in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert by_worker(em.load_run(run.local)) == {worker: list(range(1000)) for worker in range(4)}
    assert set(run.metrics) == {"train", *(f"own {worker}" for worker in range(4))}


class TestPieces:
    """What a process leaves that is killed, or meets a full disk, in the middle of a line."""

    @pytest.mark.parametrize("length", [1, 3, 11, 20, len(line(1)) - 1])
    def test_the_line_of_another_behind_a_piece_is_read(self, tmp_path, length):
        path = tmp_path / "train.yaml"
        path.write_bytes(line(1) + line(2)[:length] + line(3) + line(4))
        with pytest.warns(RecoveredDataWarning, match=rf"left out line 2, .* \({length} bytes\)"):
            assert [entry["sequence"]["step"] for entry in metrics.read(path)] == [1, 3, 4]

    def test_of_two_pieces_both_are_left_out(self, tmp_path):
        path = tmp_path / "train.yaml"
        path.write_bytes(line(1)[:30] + line(2)[:40] + line(3))
        with pytest.warns(RecoveredDataWarning, match=r"left out line 1, .* \(70 bytes"):
            assert [entry["sequence"]["step"] for entry in metrics.read(path)] == [3]

    def test_a_name_that_looks_like_a_line_is_none(self, tmp_path):
        path = tmp_path / "train.yaml"
        name = 'x- {"value":{"y":1},"sequence":{"step":5}}'
        path.write_bytes(metrics.encode({name: 1}, 1, None, TIME)[:-3] + b"\n")
        with pytest.warns(RecoveredDataWarning):
            assert metrics.read(path) == []

    def test_a_killed_child_does_not_take_the_next_line_of_its_parent_with_it(self, tmp_path):
        path = tmp_path / "train.yaml"
        with LineAppender(path) as lines:
            lines.append(line(1))
            if not (child := os.fork()):
                os.write(os.open(path, os.O_WRONLY | os.O_APPEND), line(2)[:50])  # as far as it came
                os._exit(0)
            os.waitpid(child, 0)
            lines.append(line(3))
        with pytest.warns(RecoveredDataWarning):
            assert [entry["sequence"]["step"] for entry in metrics.read(path)] == [1, 3]

    def test_what_a_full_disk_took_of_a_line_stays_while_another_may_have_written_behind_it(self, tmp_path):
        with mounted(tmp_path / "disk", "size=2m") as full:
            fill(full, leave_bytes=8192)
            path = full / "train.yaml"
            with LineAppender(path) as one, LineAppender(path) as other:
                one.append(line(1))
                other.append(line(2))
                with pytest.raises(em.errors.LocalError, match="free some space"):
                    one.append(b'- {"value":{"' + b"x" * 100_000 + b"\n")
                (full / "filler").unlink()
                other.append(line(3))
                one.append(line(4))
            with pytest.warns(RecoveredDataWarning):
                assert [entry["sequence"]["step"] for entry in metrics.read(path)] == [1, 2, 3, 4]

    def test_a_line_that_the_system_takes_piecemeal_is_written_again_behind_that_of_another(
        self, tmp_path, monkeypatch
    ):
        path = tmp_path / "train.yaml"
        with LineAppender(path) as one, LineAppender(path) as other:
            one.append(line(1))
            other.append(line(2))

            def first_a_piece(fd: int, data: bytes, _: int) -> int:
                written = os.write(fd, data[:20])
                other.append(line(3))
                return written

            monkeypatch.setattr(one, "_write", first_a_piece)
            one.append(line(4))
        with pytest.warns(RecoveredDataWarning):
            assert [entry["sequence"]["step"] for entry in metrics.read(path)] == [1, 2, 3, 4]


class TestVanished:
    @pytest.fixture(autouse=True)
    def _fast(self, monkeypatch):
        monkeypatch.setattr(appender, "_SYNC_PERIOD_S", 0.01)
        monkeypatch.setattr(lost_lines, "_CALM_S", 0.0)

    def log_until_told(self, run: Run) -> list[str]:
        """Log until something is told, which is when the background has looked."""
        deadline = time.monotonic() + 60
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            while not caught and time.monotonic() < deadline:
                run.log("train", {"x": 1}, step=1)
                time.sleep(0.01)
        return [str(warning.message) for warning in caught]

    def test_a_directory_that_vanished_is_told_once_and_the_loop_goes_on(self, tmp_path):
        run = Run({"name": "r"})
        run.log("train", {"x": 1}, step=0)
        directory = Path(run.local)
        for path in (directory / "metrics").iterdir():
            path.unlink()
        (directory / "metrics").rename(tmp_path / "gone")
        told = self.log_until_told(run)
        assert re.search(
            "metrics.*: (it was deleted while it was written to|No such file or directory). The run", told[0]
        )
        for step in range(100):
            run.log("train", {"x": 1}, step=step)
            run.log("own", {"x": 1}, step=step)
        (tmp_path / "gone").rename(directory / "metrics")
        with pytest.warns(
            IncompleteWarning, match="metrics are written again; lost were 100 of type 'own', 1.. of type 'train'"
        ):
            run.log("train", {"x": 1}, step=7)
        with pytest.warns(IncompleteWarning, match="could not be written and are lost"):
            run.finish()
        assert [entry["sequence"]["step"] for entry in run.metrics["train"]] == [7]

    def test_a_file_that_was_deleted_begins_anew(self):
        run = Run({"name": "r"})
        run.log("train", {"x": 1}, step=0)
        (Path(run.local) / "metrics" / "train.yaml").unlink()
        told = self.log_until_told(run)
        assert re.search(
            r"cannot write .*train.yaml: it was deleted while it was written to\. The run goes on", told[0]
        )
        run.log("train", {"x": 1}, step=7)
        assert run.metrics["train"][-1]["sequence"]["step"] == 7
        run.finish()

    @pytest.mark.long
    def test_a_disk_that_failed_to_sync_is_told_and_the_line_is_written(self, monkeypatch):
        failed = threading.Event()
        run = Run({"name": "r"})
        path = Path(run.local, "metrics/train.yaml")

        def flush(fd: int) -> None:
            # Files that other tests left are synced by the same thread.
            if not failed.is_set() and path.exists() and os.path.samestat(os.fstat(fd), path.stat()):
                failed.set()
                raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(appender, "_flush_to_disk", flush)
        run.log("train", {"x": 1}, step=0)
        assert failed.wait(30)
        while run._metrics._by_type["train"]._failure is None:
            time.sleep(0.001)
        with pytest.warns(IncompleteWarning) as caught:
            run.log("train", {"x": 1}, step=1)
        began, ended = (str(warning.message) for warning in caught)
        assert "Input/output error. The run goes on" in began
        assert "written again; lost were none" in ended
        run.finish()
        assert [entry["sequence"]["step"] for entry in run.metrics["train"]] == [0, 1]


def test_a_clock_that_is_set_back_changes_no_order_and_is_kept_as_it_was(monkeypatch):
    run = Run({"name": "r"})
    moments = [
        1_700_000_000_999_999_999,
        1_700_000_000_000_000_000,
        1_600_000_000_500_000_000,
        1_700_000_001_000_001_000,
    ]
    for step, moment in enumerate(moments):
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        run.log("train", {"x": 1}, step=step)
    assert [entry["sequence"] for entry in run.metrics["train"]] == [
        {"step": 0, "timestamp": "2023-11-14T22:13:20.999999Z"},
        {"step": 1, "timestamp": "2023-11-14T22:13:20.000000Z"},
        {"step": 2, "timestamp": "2020-09-13T12:26:40.500000Z"},
        {"step": 3, "timestamp": "2023-11-14T22:13:21.000001Z"},
    ]


GROWING = """
import sys
from t9k.em.run import Run

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

run = Run({"name": "r"})
def log(steps):
    for step in steps:
        run.log("train", {"loss": step / 7, "acc": step * 0.5}, step=step, epoch=step // 1000)
        if step % 100 == 0:
            run.log(f"own {step // 100 % 5}", {f"name {step // 100 % 500}": step}, step=step)
log(range(60_000))
before = resident_bytes()
log(range(60_000, 300_000))
print(resident_bytes() - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is told by /proc")
def test_a_process_does_not_grow_with_what_it_logs():
    grown = int(python(GROWING).stdout)
    assert grown < 4 << 20  # 240,000 points take at least 24 MiB in any form
