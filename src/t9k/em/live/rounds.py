"""One round after the other: publish the run when something about it changed, else send what was appended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from t9k.em.backend import Grows
from t9k.em.errors import NotFound
from t9k.em.live.follower import Follower, GrowingFile
from t9k.em.live.pace import EACH_HOUR, WriteQuota

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import Node

HURRY_BYTES = 1 << 20
"""So much that was logged is sent before its time."""

HEARTBEAT_S = 60.0
_OTHER_FILES = 4
"""What a new version of a run writes beside what grows: index, metadata, hyperparameters, and its record."""


class Source(Protocol):
    """A run that is uploaded while it goes on."""

    def publish(self) -> tuple[Backend, Node] | None:
        """Upload all of it as it is now, its artifacts first; None when the strategy leaves it out."""

    def state(self) -> Any:
        """All but what grows, to be compared with what it was."""

    def growing(self) -> Sequence[GrowingFile]:
        """Return the files that grow, as they are now."""

    def sent(self, size: int) -> None:
        """Receive the number of bytes of growing files that were sent."""

    def sync(self) -> None:
        """Carry what was logged to the disk, so that no backend has what a power cut takes here."""


class Rounds:
    """What is done to keep a backend up to date, without a thread of its own.

    Args:
        source: The run.
        clock: Seconds from any beginning.
    """

    def __init__(self, source: Source, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._quota = WriteQuota(clock())
        self._state: Any = None
        self._follower: Follower | None = None
        self._is_published = False
        self._is_left_out = False
        self._alive = clock()
        self._ends: dict[str, int] = {}

    @property
    def writes(self) -> int:
        """How many objects of the run itself were written, as far as is known here."""
        return self._quota.writes

    def wait_s(self) -> float:
        """Return the seconds without anything to do; 0 when a round is due, or when much was logged."""
        now = self._clock()
        if now >= self._quota.next or not self._is_published:
            return 0.0
        if (
            self._follower is not None
            and self._quota.may_hurry(now)
            and self._follower.pending(self._source.growing()) >= HURRY_BYTES
        ):
            return 0.0
        return self._quota.next - now

    def round(self, *, is_urgent: bool = False) -> None:
        """Do what is to be done now.

        Args:
            is_urgent: Whether to do all of it, however much was written already.

        Raises:
            EMError, OSError: The round failed; the next one makes up for it.
        """
        state = self._source.state()
        if not self._is_published or (state != self._state and self._has_room(is_urgent)):
            self._publish(state)
        elif self._follower is None:
            self._repeat(is_urgent)
        else:
            self._follow(self._follower, is_urgent)

    def publish(self) -> None:
        """Upload all of the run as it is now.

        Raises:
            EMError, OSError: The run could not be uploaded.
        """
        self._publish(self._source.state())

    def _publish(self, state: Any) -> None:
        growing = self._source.growing()
        self._source.sync()
        published = self._source.publish()
        self._follower, self._is_left_out = None, published is None
        if published is not None:
            backend, node = published
            if isinstance(backend, Grows):
                sizes = {file.key: file.size for file in backend.files(node)}
                self._follower = Follower(backend, node, sizes, self._source.sent)
        self._state, self._is_published = state, True
        self._ends = _ends(growing)
        self._wrote(0 if self._is_left_out else len(growing) + _OTHER_FILES)

    def _repeat(self, is_urgent: bool) -> None:
        """Send all of the run once more, where the backend knows no growing files."""
        if self._is_left_out or _ends(self._source.growing()) == self._ends or not self._has_room(is_urgent):
            self._wrote(0)
        else:
            self._publish(self._state)

    def _follow(self, follower: Follower, is_urgent: bool) -> None:
        growing = self._source.growing()
        self._source.sync()
        most = None if is_urgent else self._quota.room(self._clock())
        try:
            if follower.is_replaced(growing):
                raise NotFound("what was published is another file")
            writes = follower.send(growing, most)
            if not writes and most != 0 and self._clock() - self._alive >= HEARTBEAT_S:
                writes = follower.show_life()
        except NotFound:  # somebody published the run anew, or deleted it
            self._is_published = False
            self._publish(self._source.state())
        else:
            self._wrote(writes)

    def _has_room(self, is_urgent: bool) -> bool:
        """Return whether a new version of the run may be written now."""
        needed = len(self._source.growing()) + _OTHER_FILES
        return is_urgent or self._quota.room(self._clock()) >= min(needed, EACH_HOUR)

    def _wrote(self, writes: int) -> None:
        now = self._clock()
        if writes:
            self._alive = now
        self._quota.wrote(now, writes)


def _ends(files: Sequence[GrowingFile]) -> dict[str, int]:
    return {file.key: file.end for file in files}
