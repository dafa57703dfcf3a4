"""Collect what a run records by itself, without making anybody wait."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t9k.em import settings
from t9k.em.capture.output import Output, OutputLog
from t9k.em.errors import LocalError
from t9k.em.local.below import Below
from t9k.em.local.layout import DIFF, GIT, LOG, PACKAGES, PLATFORM, write_mapping, write_text
from t9k.em.warn import warn_incomplete

if TYPE_CHECKING:
    from t9k.em.capture.background import Background

GIT_TIMEOUT_S = 2.0
WAIT_S = 3.0
FORK_WAIT_S = 1.0


class Capture:
    """The platform, git and output information of this process, for one run.

    Platform and git are collected in threads and written when they are known; after them all packages and the uncommitted changes.

    Args:
        output: How the output is taken, see `output.OutputLog`; 'off' for not at all.
    """

    def __init__(self, output: Output = "stream") -> None:
        self._collectors: list[Background] = []
        self._through = output
        self._output: OutputLog | None = None
        self._directory = Path()

    def start(self, directory: Path) -> None:
        """Start everything.

        Args:
            directory: Of the run.
        """
        from t9k.em.capture.background import Background  # noqa: PLC0415 - only a run that starts needs it

        _guard_forks()
        self._directory = directory
        self.start_output(directory)
        command, working_directory = list(sys.orig_argv or sys.argv), _working_directory()
        self._machine = Background(
            _writing(lambda: _platform(command, working_directory), Below(directory, PLATFORM)),
            then=lambda _: _write_packages(Below(directory, PACKAGES)),
        )
        repository = Background(
            _writing(_git, Below(directory, GIT)), then=lambda git: _write_changes(git, Below(directory, DIFF))
        )
        self._collectors = [self._machine, repository]

    def start_output(self, directory: Path) -> None:
        """Copy what the process prints to the log of the run, after what is there already."""
        if self._through == "off":
            return
        self._output = OutputLog(directory / LOG, self._through)
        self._output.start()

    def finished_output(self, size: int) -> int:
        """Return the number of bytes of the log that never change any more.

        Args:
            size: How many it has now; all of them, when this process does not write it.
        """
        output = self._output
        return size if output is None else output.finished

    def wait(self) -> None:
        """Wait until platform and git are written, at most 3 s."""
        deadline = time.monotonic() + WAIT_S
        for collector in self._collectors:
            collector.result(max(0.0, deadline - time.monotonic()))

    def wait_for_all(self) -> None:
        """Wait until all that is collected is written, at most 3 s."""
        deadline = time.monotonic() + WAIT_S
        for collector in self._collectors:
            collector.join(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """End the copy of the output; packages that were imported since the start are written too."""
        if self._output is not None:
            self._output.stop()
            self._output = None
        if self._collectors:
            self.wait_for_all()
            machine = self._machine.result(0)
            self._collectors = []
            if not machine:
                return
            try:
                write_mapping(Below(self._directory, PLATFORM), {**machine, "packages": _packages()})
            except (LocalError, OSError) as error:
                warn_incomplete(f"the packages of the run were not written: {error}; the rest of it is kept", 5)


class _Imports:
    """Keep a process from being forked while a collector imports: the child would wait for that import forever."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._is_held = False

    def before_fork(self) -> None:
        self._is_held = self.lock.acquire(timeout=FORK_WAIT_S)

    def after_fork(self) -> None:
        if self._is_held:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        self.lock = threading.Lock()


_imports = _Imports()


@cache
def _guard_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_imports.before_fork,
            after_in_parent=_imports.after_fork,
            after_in_child=_imports.after_fork_in_child,
        )


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """For what imports in a thread: no child is forked meanwhile, and nothing else imports like this."""
    _guard_forks()
    with _imports.lock:
        yield


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - the text is all that is needed
    except OSError:  # it is gone
        return ""


def _platform(command: list[str], directory: str) -> dict[str, Any]:
    with _imports.lock:
        from t9k.em.capture import hardware, platform  # noqa: PLC0415 - imports that take longer than a run may take to start

        machine = platform.collect(command, directory)
        library = hardware.nvml()
    packages = machine.pop("packages")
    return {**machine, **hardware.gpus(library), "packages": packages}


def _packages() -> dict[str, str]:
    with _imports.lock:
        from t9k.em.capture import platform  # noqa: PLC0415 - likewise

        return platform.versions()


def _write_packages(path: Below) -> None:
    with _imports.lock:
        from t9k.em.capture import installed  # noqa: PLC0415 - likewise

        listed = installed.requirements()
    write_text(path, listed)


def _git() -> dict[str, Any]:
    with _imports.lock:
        from t9k.em.capture import git  # noqa: PLC0415 - likewise

    return git.collect(timeout_s=GIT_TIMEOUT_S)


def _write_changes(git: dict[str, Any], path: Below) -> None:
    if not settings.captures_diff():
        return
    with _imports.lock:
        from t9k.em.capture import changes  # noqa: PLC0415 - likewise

    patch = changes.patch(git)
    if patch:
        write_text(path, patch)


def _writing(collect: Callable[[], dict[str, Any]], path: Below) -> Callable[[], dict[str, Any]]:
    def collect_and_write() -> dict[str, Any]:
        data = collect()
        if data:
            write_mapping(path, data)
        return data

    return collect_and_write
