"""What follows a published run to its backend: the whole lines that are appended to its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from t9k.em.local.below import AnyPath, stream

if TYPE_CHECKING:
    from t9k.em.backend import Grows
    from t9k.em.records import Node

SEGMENT_BYTES = 4 << 20
"""The most that one segment holds."""

FOLD_AFTER = 16
"""So many segments are followed by one that holds what they hold, so that readers have few to read."""

HEARTBEAT = "heartbeat"
"""A file that never grows: its one byte is appended again and again to say that the run is alive."""


@frozen(kw_only=True)
class GrowingFile:
    """A file of a run that is appended to.

    Attributes:
        key: Its key within the node.
        path: The local file.
        end: Up to where it may be sent: what lies before never changes any more.
    """

    key: str
    path: AnyPath
    end: int


@define
class _Sent:
    """How far a file was sent.

    Attributes:
        end: Up to where.
        folded: Where the segment begins that the next fold makes.
        segments: How many lie between `folded` and `end`.
        turn: When it was sent last, counted in segments of all files.
    """

    end: int
    folded: int
    segments: int = 0
    turn: int = 0


class Follower:
    """Append to one published generation.

    Args:
        backend: Where the run is.
        node: The generation.
        published: How many bytes of each growing file the generation has itself.
        on_sent: Called with the number of bytes sent.
    """

    def __init__(
        self, backend: Grows, node: Node, published: Mapping[str, int], on_sent: Callable[[int], None]
    ) -> None:
        self._on_sent = on_sent
        self._backend = backend
        self._node = node
        self._sent = {key: _Sent(size, size) for key, size in published.items()}
        self._writes = 0

    def pending(self, files: Sequence[GrowingFile]) -> int:
        """Return the number of bytes to send."""
        return sum(max(0, file.end - self._of(file).end) for file in files)

    def is_replaced(self, files: Sequence[GrowingFile]) -> bool:
        """Return whether a file is shorter than what was sent of it, so that it is another one."""
        return any(file.end < self._of(file).end for file in files)

    def send(self, files: Sequence[GrowingFile], most: int | None = None) -> int:
        """Append what is new, whole lines only.

        Args:
            files: As they are now.
            most: How many objects may be written, None for all that is needed; those that waited longest come first.

        Returns:
            How many objects were written.

        Raises:
            NotFound: The generation is not the newest any more.
            BackendError: Some bytes could not be sent; the next call sends them.
        """
        before = self._writes
        for file in sorted(files, key=lambda file: self._of(file).turn):
            self._send(file, None if most is None else before + most)
        return self._writes - before

    def show_life(self) -> int:
        """Let readers see that the run is alive although nothing is new; return how many objects that wrote."""
        self._backend.append(self._node, HEARTBEAT, 0, b"\n")
        return 1

    def _send(self, file: GrowingFile, last: int | None) -> None:
        sent = self._of(file)
        while sent.end < file.end and (last is None or self._writes < last):
            is_fold = sent.segments >= FOLD_AFTER and file.end - sent.folded <= SEGMENT_BYTES
            start = sent.folded if is_fold else sent.end
            data = _lines(file.path, start, min(file.end, start + SEGMENT_BYTES))
            if start + len(data) <= sent.end:
                break
            self._backend.append(self._node, file.key, start, data)
            self._on_sent(len(data))
            self._writes += 1
            sent.turn = self._writes
            sent.end = start + len(data)
            sent.segments = 1 if is_fold else sent.segments + 1
            if sent.end - sent.folded > SEGMENT_BYTES // 2:
                sent.folded, sent.segments = sent.end, 0

    def _of(self, file: GrowingFile) -> _Sent:
        return self._sent.setdefault(file.key, _Sent(0, 0))


def _lines(path: AnyPath, start: int, end: int) -> bytes:
    """Return the bytes of a file from `start` up to the end of the last line that ends before `end`; of a longer line a part."""
    with stream(path) as file:
        file.seek(start)
        data = b""
        while len(data) < end - start and (more := file.read(end - start - len(data))):
            data += more
    cut = data.rfind(b"\n") + 1
    return data[: cut or (len(data) if len(data) == SEGMENT_BYTES else 0)]
