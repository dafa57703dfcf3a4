"""Progress of long work, for a display."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from attrs import evolve

from t9k.em.records import CHUNK_BYTES, Body


class Progress(Protocol):
    """Follow one transfer; called from several threads at once."""

    def start(self, what: str, files: int, size: int) -> None:
        """Note that a transfer begins; called again when its plan changes.

        Args:
            what: For people, for example 'uploading mnist'.
            files: Number of files to move.
            size: Of these files, in bytes.
        """

    def advance(self, files: int, size: int) -> None:
        """So many more files and bytes have arrived."""


class Silent:
    """Show nothing."""

    def start(self, what: str, files: int, size: int) -> None:
        """See `Progress`."""

    def advance(self, files: int, size: int) -> None:
        """See `Progress`."""


class Watch:
    """Report how much of a body a store has read, so that a large file does not stand still.

    A body that is read again, or never because the store clones its file, counts once.

    Args:
        body: The bytes.
        progress: Receives the progress.

    Attributes:
        body: The same bytes, to be given to the store; of a small file the body itself, for its end is soon told.
    """

    def __init__(self, body: Body, progress: Progress) -> None:
        self.body = body if body.size <= CHUNK_BYTES else evolve(body, open=self._open)
        self._original = body
        self._progress = progress
        self._told = 0

    def done(self) -> None:
        """Note that the file has arrived."""
        self._progress.advance(1, self._original.size - self._told)

    def _open(self) -> BinaryIO:
        return cast("BinaryIO", _Watched(self._original.open(), self._tell))

    def _tell(self, position: int) -> None:
        size = position - self._told
        if size > 0:
            self._told = position
            self._progress.advance(0, size)


class _Watched:
    """A stream that is read from start to end."""

    def __init__(self, stream: BinaryIO, tell: Callable[[int], None]) -> None:
        self._stream = stream
        self._tell = tell
        self._position = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Watched:  # noqa: PYI034 - `Self` needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        self._tell(self._position)
        return data
