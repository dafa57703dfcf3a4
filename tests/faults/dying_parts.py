"""A directory that takes an object in parts, and a process that is killed at every call of the system; a program for `run`."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from array import array
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from t9k.em.records import Body
from t9k_em_backends.local import LocalStore, parts

REPOSITORY = Path(__file__).parents[2]
KEY = "alice/m/file"
DATA = array("Q", range(1000)).tobytes()
STARTS = (0, 3000, 6000)
PART_BYTES = 3000
CALLS = ("open", "write", "pwrite", "fsync", "ftruncate", "utime", "replace", "unlink", "mkdir")
MODES = ("before", "half", "after")


def put(store: LocalStore, starts: Sequence[int]) -> None:
    """Puts some parts."""
    for start in starts:
        store.put_part(KEY, start, Body.of(DATA[start : start + PART_BYTES]))


def work(root: Path) -> None:
    """What the process does that is killed."""
    store = LocalStore(root)
    put(store, (STARTS[1], STARTS[0], STARTS[1], STARTS[2]))
    store.assemble(KEY, len(DATA), sha256(DATA).hexdigest())


def die_at(number: int, mode: str) -> None:
    """Lets the n-th call of the system that changes something be the last, before it, after it, or after half of it."""
    calls = itertools.count(1)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def last(*arguments: Any, **options: Any) -> Any:
            here = next(calls) == number
            if here and mode == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if here and mode == "half" and call in writes:
                arguments = (arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
            try:
                return call(*arguments, **options)
            finally:
                if here:
                    os.kill(os.getpid(), signal.SIGKILL)

        return last

    writes = (os.write, os.pwrite)
    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))
    parts._sync_data = dying(parts._sync_data)


def check(root: Path) -> None:
    """What is there claims nothing that is not, and another process makes it whole."""
    store = LocalStore(root)
    seen = [info.key for info in store.list("")]
    if seen and b"".join(store.get(KEY)) != DATA:
        raise AssertionError("the object is seen before it is whole")
    claimed = store.parts(KEY)
    if claimed:
        (staged,) = (path for path in (root / ".em/tmp").iterdir() if path.name.count("-") == 2)
        for part in claimed:
            if staged.read_bytes()[part.start :][: part.size] != DATA[part.start :][: part.size]:
                raise AssertionError(f"{part} claims to be there")
    put(store, [start for start in STARTS if start not in {part.start for part in claimed}] if not seen else [])
    store.assemble(KEY, len(DATA), sha256(DATA).hexdigest())
    if b"".join(store.get(KEY)) != DATA or [info.key for info in store.list("")] != [KEY]:
        raise AssertionError("the object is not what was sent")
    store.remove_swept([*store.sweep(-60)])
    if [*(root / ".em/tmp").iterdir()]:
        raise AssertionError("something is left that nobody sweeps")


def die_everywhere(root: Path) -> list[int]:
    """Lets the process die at the first call, the second and so on, in each mode, and goes on with what is there.

    Returns:
        How many died in each mode.
    """
    died = []
    for mode in MODES:
        for number in itertools.count(1):
            place = root / f"{mode}-{number}"
            child = os.fork()
            if child == 0:
                die_at(number, mode)
                work(place)
                os._exit(0)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if ended not in (0, -signal.SIGKILL):
                raise SystemExit(f"{place} ended with {ended}")
            check(place)
            if ended == 0:
                died.append(number - 1)
                break
    return died


def run(root: Path) -> list[int]:
    """Runs `die_everywhere` as a program."""
    command = [sys.executable, "-m", "tests.faults.dying_parts", str(root)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, timeout=240, stdout=subprocess.PIPE, text=True)
    return [int(number) for number in done.stdout.split()]


if __name__ == "__main__":
    print(*die_everywhere(Path(sys.argv[1])))  # noqa: T201 - for `run`
