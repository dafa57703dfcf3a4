"""A power cut while a run logs: at most the last period of syncing, and one sync, is lost, and nothing torn is read.

The disk is an image with ext4 on it. A copy of the image taken while it is written to is what a power cut leaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from t9k import em
from t9k.em.local.appender import _SYNC_PERIOD_S

CUTS = 3
SIZE_MIB = 48
SLACK_S = 0.1  # a thread that syncs may be late on a busy machine

LOGGING = """
import json, os, sys, time
from t9k.em.local import appender
from t9k.em.run import Run

flush = os.fdatasync
longest_s, begun_s = 0.0, None

def timed(fd):
    global longest_s, begun_s
    begun_s = time.monotonic()
    flush(fd)
    longest_s, begun_s = longest(), None

def longest():
    begun = begun_s
    return longest_s if begun is None else max(longest_s, time.monotonic() - begun)

appender._flush_to_disk = timed
told = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
run = Run({"name": "r"})
step = 0
while True:
    run.log("train", {"x": step / 7}, step=step)
    step += 1
    if step % 20 == 0:
        # What was logged when, by the clock of the machine that all see.
        os.write(told, json.dumps([time.monotonic(), step, longest()]).encode() + b"\\n")
        if step == 20:
            print(run.local, flush=True)
        time.sleep(0.001)
"""


def call(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")


@contextlib.contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir()
    call("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        call("umount", "-l", at)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk of its own, or a reason why there can be none."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux and root to mount an image of a disk")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4")
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(SIZE_MIB << 20)
    call("mkfs.ext4", "-q", "-F", image)
    try:
        with mounted(image, tmp_path / "try"):
            pass
    except OSError as error:
        pytest.skip(f"cannot mount an image: {error}")
    return image


def cut(image: Path, to: Path, process: subprocess.Popen) -> None:
    """Copy an image as it is at one moment: a process that writes is stopped, and the system is found to do nothing."""
    process.send_signal(signal.SIGSTOP)
    try:
        copied, before = image.read_bytes(), b""
        while copied != before:
            copied, before = image.read_bytes(), copied
    finally:
        process.send_signal(signal.SIGCONT)
    to.write_bytes(copied)


def safe_steps(told: Path, moment: float) -> int:
    """How many points have to survive a power cut at a moment, by the account of the process."""
    history = [json.loads(line) for line in told.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    longest_s = max((longest for when, _, longest in history if when <= moment), default=0.0)
    since = moment - _SYNC_PERIOD_S - longest_s - SLACK_S
    return max((step for when, step, _ in history if when <= since), default=0)


def wait_for_more(told: Path, than: int) -> float:
    """Wait until more points than that have to be safe."""
    deadline = time.monotonic() + 120
    while safe_steps(told, moment := time.monotonic()) <= than:
        assert moment < deadline
        time.sleep(0.05)
    return moment


@pytest.mark.long
def test_at_most_the_last_moments_are_lost_and_nothing_is_torn(image: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = tmp_path / "told"
    with mounted(image, tmp_path / "disk") as disk:
        process = subprocess.Popen(
            [sys.executable, "-c", LOGGING, told], cwd=disk, stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            assert process.stdout is not None
            local = os.path.relpath(process.stdout.readline().strip(), disk)
            safe: list[int] = [0]
            for number in range(CUTS):
                moment = wait_for_more(told, safe[-1])
                safe.append(safe_steps(told, moment))
                cut(image, tmp_path / f"cut{number}.img", process)
        finally:
            process.kill()
            process.communicate()

    for number in range(CUTS):
        with mounted(tmp_path / f"cut{number}.img", tmp_path / f"after{number}") as disk:  # replays the journal
            run = em.load_run(str(disk / local))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a tail may be torn, and is told
                entries = run.metrics["train"]
                steps = [entry["sequence"]["step"] for entry in entries]
                assert steps == list(range(len(steps)))
                assert all(entry["value"] == {"x": entry["sequence"]["step"] / 7} for entry in entries)
                run.log("train", {"x": 0}, step=-1)
                run.finish()
                assert run.metrics["train"][-1]["sequence"]["step"] == -1
        assert len(steps) >= safe[number + 1] > 0, f"cut {number}"
