"""Memory for large pieces that is used again: to get new memory of the system costs more than to fill it."""

from __future__ import annotations

import ctypes
import mmap
import weakref

BUFFER_BYTES = 4 << 20
MOST_IDLE = 8
"""How many buffers that nobody uses are kept."""

PAGE_BYTES = mmap.PAGESIZE

_idle: list[mmap.mmap] = []


def anonymous(size: int) -> mmap.mmap:
    """Memory of this process alone, from the beginning of a page on; a fork has a copy.

    Args:
        size: In bytes.
    """
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, size)


def take() -> memoryview:
    """`BUFFER_BYTES` of memory from the beginning of a page on; what is in it is undefined.

    It serves the next who asks once nobody has this, a part of it, or anything that was made of its parts without copying. A finalizer must not read it: the garbage collector may have taken it.
    """
    try:
        memory = _idle.pop()
    except IndexError:
        memory = anonymous(BUFFER_BYTES)
    # Every view keeps the object alive that it is a view of, so that this one ends with the last of them.
    owner = (ctypes.c_char * BUFFER_BYTES).from_buffer(memory)
    weakref.finalize(owner, _give_back, memory).atexit = False
    return memoryview(owner).cast("B")


def starts_page(view: memoryview) -> bool:
    """Return whether memory begins where a page does; not known of memory that cannot be written to."""
    return bool(view) and not view.readonly and ctypes.addressof(ctypes.c_char.from_buffer(view)) % PAGE_BYTES == 0


def _give_back(memory: mmap.mmap) -> None:
    if len(_idle) < MOST_IDLE:
        _idle.append(memory)
