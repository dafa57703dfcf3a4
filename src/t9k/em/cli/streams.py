"""The standard streams of the command where they are closed, full, or read by nobody."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator

_STANDARD = 3
"""Descriptors that programs expect to be open: stdin, stdout, stderr."""


class _Nowhere(io.StringIO):
    """Stands in for a stream that was closed when the program began; keeps only that something was written."""

    lost = False

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        self.lost = self.lost or bool(text)
        return len(text)


@contextlib.contextmanager
def standing_in() -> Iterator[Callable[[], str]]:
    """Give closed standard streams stand-ins for the block, so that the work is done, and no file gets their numbers.

    Yields:
        A function that says why something that was printed is lost; '' when nothing is.
    """
    nowhere = _Nowhere()
    before = sys.stdin, sys.stdout, sys.stderr
    if None in before:
        while (fd := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
            pass
        os.close(fd)
    sys.stdin = sys.stdin or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    sys.stdout = sys.stdout or nowhere
    try:
        yield lambda: "stdout is closed" if nowhere.lost else ""
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def finish_output() -> str:
    """Write out what was printed; where that fails, the interpreter does not try once more.

    Returns:
        Why it failed; '' when it did not.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        return error.strerror or str(error)
    except ValueError:  # somebody closed it, in this process
        return ""
    return ""


def discard_output() -> None:
    """Keep the interpreter from flushing into what cannot be written, and from complaining about it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
