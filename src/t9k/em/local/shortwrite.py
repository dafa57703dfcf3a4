"""Write a few bytes without giving up the interpreter's lock.

`os.write` gives it up, and any other Python thread that waits for it then runs for up to 5 ms before the writer goes on,
a thousand times as long as the write takes. A training loop would wait so after every line that it logs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

LONGEST_BYTES = 1 << 14
"""More than this takes long enough that other threads should run meanwhile."""


@functools.cache
def short_write() -> Callable[[int, bytes, int], int]:
    """Return a function that takes a descriptor, at most `LONGEST_BYTES` and how many they are, and returns how many it wrote.

    It returns a negative number where it could not write; `os.write` then says why. Where the C library is not to be
    had, it is `os.write` itself, which raises.
    """
    try:
        import ctypes  # noqa: PLC0415 - takes 2 ms to load, and only who logs needs it

        write = ctypes.PyDLL(None).write  # without the types of its arguments, which would double its time
        with open(os.devnull, "wb", buffering=0) as nowhere:
            is_usable = write(nowhere.fileno(), b"x", 1) == 1
    except (ImportError, OSError, TypeError, AttributeError):  # Windows, or an interpreter without ctypes
        return _system_write
    return write if is_usable else _system_write


def _system_write(fd: int, data: bytes, size: int) -> int:
    del size
    return os.write(fd, data)
