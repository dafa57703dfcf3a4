"""Uploads that kill their own process at every call of the store, each in a process of its own; a program for `run`."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from t9k.em.backend import ObjectStore
from t9k.em.local.state import LocalState
from t9k.em.records import RUN, Body, Draft
from t9k.em.registry import open_backend
from t9k.em.testing.wrappers import StoreWrapper
from t9k.em.transfer.uploading import upload_node

T = TypeVar("T")
FOLDER = "/alice/default"
REPOSITORY = Path(__file__).parents[2]


class DyingStore(StoreWrapper):
    """A store whose n-th call is the last thing that its process does.

    Args:
        inner: The store to ask.
        number: Of the call, from 1; it is done, and what it says is never heard.
    """

    def __init__(self, inner: ObjectStore, number: int) -> None:
        super().__init__(inner)
        self._number = number
        self._calls = 0
        self._lock = threading.Lock()

    def around(self, what: str, call: Callable[[], T]) -> T:
        with self._lock:
            self._calls += 1
            here = self._calls == self._number
        try:
            return call()
        finally:
            if here:
                os.kill(os.getpid(), signal.SIGKILL)


def upload(uri: str, contents: Mapping[str, bytes], local: Path, last_call: int | None = None) -> None:
    """Uploads a run, or goes on with what another process began.

    Args:
        uri: Of the backend.
        contents: The files of the run.
        local: What the process remembers about it lies here.
        last_call: After which call of the store it gets SIGKILL.
    """
    backend = open_backend(uri)
    if last_call is not None:
        backend.store = DyingStore(backend.store, last_call)
    draft = Draft(kind=RUN, name="m", alternative_name="m_other", id="one")
    bodies = {key: Body.of(data) for key, data in contents.items()}
    upload_node(backend, FOLDER, draft, bodies, strategy="error", journal=LocalState(local))
    backend.close()


def die_and_resume(uri: str, options: str, sizes: Mapping[str, int], step: int, local: Path) -> int:
    """Lets uploads die after the first call, after the one `step` later and so on, and goes on with each.

    Returns:
        How many died, the k-th of them below the k-th root.
    """
    with contextlib.suppress(ImportError):  # what every child would load
        import_module("s3fs")
    contents = {key: content(size) for key, size in sizes.items()}
    for died in itertools.count():
        place = f"{uri}/{died}?{options}"
        begin = partial(upload, place, contents, local / str(died))
        ended = _in_a_child(partial(begin, 1 + died * step))
        if ended == 0:
            return died
        if ended != -signal.SIGKILL or (ended := _in_a_child(begin)):
            raise SystemExit(f"the upload to {place} ended with {ended}")
    raise AssertionError


def content(size: int) -> bytes:
    """Bytes of which no two mebibytes are alike."""
    return array("Q", range(-(-size // 8))).tobytes()[:size]


def _in_a_child(act: Callable[[], None]) -> int:
    """Does something in a fork of this process, which has opened no store yet; how it ended."""
    child = os.fork()
    if child == 0:
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(*, uri: str, options: str, sizes: Mapping[str, int], local: Path, step: int = 1) -> int:
    """Runs `die_and_resume` as a program."""
    command = [sys.executable, "-m", "tests.faults.dying", uri, options, json.dumps(sizes), str(step), str(local)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, timeout=240, stdout=subprocess.PIPE)
    return int(done.stdout)


if __name__ == "__main__":
    print(die_and_resume(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])))  # noqa: T201 - for `run`
