"""Progress bars for long work: on stderr, and only where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from t9k.em.cli.output import console, may_be_terminal
from t9k.em.cli.text import clean
from t9k.em.transfer.progress import Progress, Silent

if TYPE_CHECKING:
    import rich.progress


class Bars:
    """One bar for each thing that is transferred; see `t9k.em.transfer.progress.Progress`.

    They appear with the first transfer. Nothing should be printed between that and their end.

    Args:
        bars: Where they are drawn; somebody else stops it.
        verb: What is said instead of the first word of `what`.
    """

    def __init__(self, bars: rich.progress.Progress, verb: str | None = None) -> None:
        self._bars = bars
        self._verb = verb
        self._lock = threading.Lock()
        self._what = ""
        self._task: rich.progress.TaskID | None = None
        self._files = self._of = 0

    def start(self, what: str, files: int, size: int) -> None:
        """See `Progress`."""
        if self._verb is not None:
            what = f"{self._verb} {what.partition(' ')[2]}"
        with self._lock:
            self._bars.start()
            if self._task is not None and what != self._what:
                self._bars.remove_task(self._task)
                self._task = None
            self._what, self._files, self._of = what, 0, files
            if self._task is None:
                if files:
                    self._task = self._bars.add_task(clean(what), total=size, files=self._count())
            else:
                self._bars.reset(self._task, total=size, files=self._count())

    def advance(self, files: int, size: int) -> None:
        """See `Progress`."""
        with self._lock:
            self._files += files
            if self._task is not None:
                self._bars.update(self._task, advance=size, files=self._count())

    def _count(self) -> str:
        return f"{self._files}/{self._of} files"


def columns() -> tuple[rich.progress.ProgressColumn, ...]:
    """Return the columns of a bar: what is moved, how many files and bytes of how many, how fast, and the remaining time."""
    import rich.progress as rich

    return (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(bar_width=None),
        rich.TextColumn("{task.fields[files]}", markup=False),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )


@contextlib.contextmanager
def progress(verb: str | None = None) -> Iterator[Progress]:
    """Show how far the transfers in the block are; the bars go when it ends.

    Args:
        verb: Name of the work, where it differs from the name that the transfer gives it.
    """
    if not may_be_terminal(sys.stderr) or not (to := console(stderr=True)).is_terminal:
        yield Silent()
        return
    from rich.progress import Progress as Shown

    # Results are for stdout, which may be a file although stderr is a terminal.
    bars = Shown(*columns(), console=to, transient=True, redirect_stdout=False)
    try:
        yield Bars(bars, verb)
    finally:
        bars.stop()


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that work goes on whose end nobody knows."""
    if not may_be_terminal(sys.stderr) or not (to := console(stderr=True)).is_terminal:
        yield
        return
    from rich.text import Text

    with to.status(Text(clean(what))):
        yield
