"""Stand in for `sys.stdout` and `sys.stderr`, and pass on what is written to whoever wants to know.

There is one stand-in for a stream, shared by all taps, installed with the first tap and removed with the last. Where
somebody has put a stream of their own on top meanwhile, it stays below that and only passes on.
"""

from __future__ import annotations

import codecs
import io
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

_lock = threading.RLock()


def unlock() -> None:
    """Forget who holds the lock: in a child made by fork, a thread that does not exist there."""
    global _lock  # noqa: PLW0603 - there is one lock for the two streams of the process
    _lock = threading.RLock()


class Tap:
    """The wish of one taker to be told what is written; see `tap`."""

    def __init__(self, tee: Tee | None, take: Callable[[str, str], None]) -> None:
        self._tee = tee
        self.take = take

    def remove(self) -> None:
        """Take no more; again is fine. The last tap gives the stream back."""
        with _lock:
            tee, self._tee = self._tee, None
            if tee is not None:
                tee.em_taps = tuple(other for other in tee.em_taps if other is not self)
                _uninstall(tee.em_stream)


def tap(stream: str, take: Callable[[str, str], None]) -> Tap:
    """Have a function called with everything that is written to a stream from now on.

    Args:
        stream: 'stdout' or 'stderr'.
        take: Called with `stream` and the text, by the thread that writes and after the text was written. It must not
            raise, and it may be called while it runs.
    """
    with _lock:
        current = getattr(sys, stream)
        if isinstance(current, Tee) and current.em_stream != stream:
            return Tap(None, take)  # one stream was set to the other, which is tapped
        tee = current if isinstance(current, Tee) else Tee(stream, current)
        new = Tap(tee, take)
        tee.em_taps = (*tee.em_taps, new)
        setattr(sys, stream, tee)
        return new


def _uninstall(stream: str) -> None:
    while isinstance(current := getattr(sys, stream), Tee) and not current.em_taps:
        setattr(sys, stream, current.em_replaced)


class Tee:
    """A text stream that does, and has, whatever the one below it does and has.

    Attributes:
        em_stream: 'stdout' or 'stderr'.
        em_replaced: What stood there before, None included.
        em_taps: Who is told.
    """

    __slots__ = ("__weakref__", "_buffer", "_decoder", "_stream", "em_replaced", "em_stream", "em_taps")

    def __init__(self, name: str, stream: Any) -> None:
        self.em_stream = name
        self.em_replaced = stream
        self._stream: Any = _Nowhere() if stream is None else stream  # without a console there is None
        self.em_taps: tuple[Tap, ...] = ()
        self._buffer: BufferTee | None = None
        encoding = getattr(stream, "encoding", None) or "utf-8"
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in Tee.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._stream, name, value)

    def __enter__(self) -> Tee:  # noqa: PYI034 - `Self` needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __repr__(self) -> str:
        return f"<{self.em_stream} of a run, on {self._stream!r}>"

    @property
    def buffer(self) -> BufferTee:
        """The binary stream below, tapped as well."""
        below = self._stream.buffer
        if self._buffer is None or self._buffer.em_below is not below:
            self._buffer = BufferTee(below, self._tell_bytes)
        return self._buffer

    def write(self, text: str) -> Any:
        """Write text, and tell the taps."""
        written = self._stream.write(text)
        self._tell(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write pieces of text, and tell the taps."""
        for line in lines:
            self.write(line)

    def _tell(self, text: str) -> None:
        for each in self.em_taps:
            each.take(self.em_stream, text)

    def _tell_bytes(self, data: memoryview) -> None:
        if self.em_taps:
            self._tell(self._decoder.decode(data))


class BufferTee:
    """The binary stream below a `Tee`.

    Attributes:
        em_below: The stream itself.
    """

    __slots__ = ("__weakref__", "_tell", "em_below")

    def __init__(self, below: Any, tell: Callable[[memoryview], None]) -> None:
        self.em_below = below
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self.em_below, name)

    def write(self, data: bytes | bytearray | memoryview) -> Any:
        """Write bytes, and tell about those that were written."""
        written = self.em_below.write(data)
        view = memoryview(data).cast("B")
        self._tell(view if written is None else view[:written])
        return written

    def writelines(self, lines: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write pieces of bytes, and tell about them."""
        for line in lines:
            self.write(line)


class _Nowhere(io.TextIOBase):
    """Takes text and drops it."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)
