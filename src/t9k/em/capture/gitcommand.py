"""Ask git something: within a time, without a word to anybody, and without a change to the repository."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time

from attrs import frozen

_REAP_S = 0.5
_CHUNK_BYTES = 1 << 16
_SETTINGS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


@frozen
class Answer:
    """What git wrote.

    Attributes:
        code: Its exit code; -1 if it could not be run, or not to its end.
        output: What it wrote to stdout, as far as it was read.
        is_cut: Whether there was more than was asked for, or more time was needed.
    """

    code: int
    output: bytes = b""
    is_cut: bool = False


def ask(deadline: float, directory: str, *args: str) -> str | None:
    """Return what git answers, as text; None if it refuses, fails, or says nothing.

    Args:
        deadline: Until when it may take, by `time.monotonic`.
        directory: Where it is run.
        *args: Its arguments.
    """
    answer = run(deadline, directory, *args)
    return answer.output.decode("utf-8", "backslashreplace").removesuffix("\n") or None if answer.code == 0 else None


def run(deadline: float, directory: str, *args: str, limit_bytes: int | None = None) -> Answer:
    """Run git; a process that takes too long or writes too much is killed, with those that it started.

    Args:
        deadline: Until when it may take, by `time.monotonic`.
        directory: Where it is run.
        *args: Its arguments.
        limit_bytes: How much of its output is read; None for all.
    """
    if deadline <= time.monotonic():
        return Answer(-1, is_cut=True)
    environment = {
        **os.environ,
        "GIT_ASKPASS": "true",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    try:
        process = subprocess.Popen(
            ["git", "--no-pager", *_SETTINGS, *args],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:  # no git, or not a program
        return Answer(-1)
    output, is_whole = _read(process, deadline, limit_bytes)
    if is_whole:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(_REAP_S, deadline - time.monotonic()))
    if process.returncode is None:
        _kill(process)
        return Answer(-1, output, is_cut=True)
    return Answer(process.returncode, output)


def _read(process: subprocess.Popen[bytes], deadline: float, limit_bytes: int | None) -> tuple[bytes, bool]:
    """Read what a process writes; tell whether that is all."""
    pipe = process.stdout
    if pipe is None:  # not with PIPE
        return b"", True
    output = bytearray()
    with pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while limit_bytes is None or len(output) <= limit_bytes:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not selector.select(left_s):
                return bytes(output), False
            chunk = os.read(pipe.fileno(), _CHUNK_BYTES)
            if not chunk:
                return bytes(output), True
            output += chunk
    return bytes(output[:limit_bytes]), False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill git and the programs that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_S)
