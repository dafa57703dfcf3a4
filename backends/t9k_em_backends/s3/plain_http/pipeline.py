"""Many small writes by one thread, with many requests in progress at a time.

A thread for each would spend most of its time on taking turns with the others.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import define

from t9k_em_backends.s3.plain_http.connection import (
    ANSWER_BYTES,
    PATIENCE,
    Answer,
    Connection,
    Declined,
    Refused,
    parse_head,
)
from t9k_em_backends.shared.allowance import SLOWEST_BYTES_S, TooSlow

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from t9k_em_backends.s3.plain_http.pool import Pool
    from t9k_em_backends.s3.plain_http.writes import Write

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@define(eq=False)
class _Lane:
    """A connection and the request that is in progress on it.

    Attributes:
        connection: It does not wait.
        number: Of the write.
        unsent: What is still to be sent of the request.
        received: What came of the answer.
        since: When the request was made, by `time.perf_counter`.
        size: Of the request, in bytes.
        watched: What the selector looks for.
    """

    connection: Connection
    number: int = -1
    unsent: memoryview | bytes = b""
    received: bytes = b""
    since: float = 0.0
    size: int = 0
    watched: int = _READ | _WRITE

    def push(self) -> None:
        """Send what can be sent now."""
        with contextlib.suppress(BlockingIOError):
            while self.unsent:
                self.unsent = self.unsent[self.connection.socket.send(self.unsent) :]

    def pull(self) -> tuple[Answer, bytes] | None:
        """Receives what is there; the answer and its content, once they are whole. They come after all was sent.

        Raises:
            Refused: The answer is another one than expected.
            OSError: The bytes do not arrive.
        """
        with contextlib.suppress(BlockingIOError):
            self.received += self.connection.receive(self.received)
        if self.received and self.unsent:
            raise Refused("an early answer")
        head, end, content = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        answer = parse_head(head)
        if len(content) > answer.length or len(head + end) + answer.length > ANSWER_BYTES:
            raise Refused("a long answer")
        return (answer, content) if len(content) == answer.length else None


class RequestPipeline:
    """Write objects as long as all goes well; use it in a `with`, which closes what is left.

    Args:
        pool: Where the connections come from, and go to.
        writes: What to write.
        on_latency: Called with the seconds that each request took.
    """

    def __init__(self, pool: Pool, writes: Sequence[Write], on_latency: Callable[[float], None]) -> None:
        self._pool = pool
        self._writes = writes
        self._on_latency = on_latency
        self._left = deque(range(len(writes)))
        self._lanes: set[_Lane] = set()
        self._etags: list[str | None] = [None] * len(writes)
        self._timeout_s = 0.0
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes:
            lane.connection.close()
        self._selector.close()

    def write(self, width: int, timeout_s: float) -> Sequence[str | None]:
        """Write them; see `Sockets.put_many`.

        Args:
            width: How many at a time.
            timeout_s: How long nothing may move.
        """
        self._timeout_s = timeout_s
        try:
            first = self._pool.kept() or self._pool.connect()
            self._add(first, is_there=True)
            while self._left and len(self._lanes) < width:
                kept = self._pool.kept()
                self._add(kept or first.another(timeout_s), is_there=kept is not None)
        except OSError:
            if not self._lanes:  # else there are fewer of them
                self._pool.pause()
        look_at = time.perf_counter() + timeout_s
        while self._lanes and (ready := self._selector.select(timeout_s)):
            for key, events in ready:
                self._go_on(key.data, events)
            if time.perf_counter() > look_at:
                look_at = time.perf_counter() + timeout_s
                self._end_slow()
        if self._lanes:  # nothing moved any more
            self._pool.pause()
        return self._etags

    def _add(self, connection: Connection, *, is_there: bool) -> None:
        """Begin to use a connection, which may be one that is only being made."""
        connection.socket.setblocking(False)
        lane = _Lane(connection)
        self._selector.register(connection.socket, lane.watched, lane)
        self._lanes.add(lane)
        self._next(lane, is_there=is_there)

    def _next(self, lane: _Lane, *, is_there: bool = True) -> None:
        """Begin with the next write."""
        lane.number = self._left.popleft()
        try:
            request = self._writes[lane.number].request(self._pool.request)
        except (Refused, OSError):  # whoever tries it again meets it too, and says what is wrong
            self._left.clear()
            self._remove(lane)
            lane.connection.close()
            return
        lane.unsent, lane.received, lane.since = memoryview(request), b"", time.perf_counter()
        lane.size = len(request)
        if is_there:
            with contextlib.suppress(OSError):  # which is met again when the answer is read
                lane.push()
        self._watch(lane)

    def _watch(self, lane: _Lane) -> None:
        events = _READ | _WRITE if lane.unsent else _READ
        if lane.watched != events:
            self._selector.modify(lane.connection.socket, events, lane)
            lane.watched = events

    def _go_on(self, lane: _Lane, events: int) -> None:
        """Do what a connection is ready for."""
        try:
            lane.push()
            whole = lane.pull() if events & _READ else None
            if whole is None:
                self._watch(lane)
                return
            answer, content = whole
            self._etags[lane.number] = self._writes[lane.number].etag(answer, content)
        except (Refused, OSError) as error:
            self._give_up(lane, error)
            return
        self._on_latency(time.perf_counter() - lane.since)
        lane.connection.is_used = True
        if self._left and answer.keeps:
            self._next(lane)
        else:
            self._remove(lane)
            self._pool.keep(lane.connection, answer)
            self._replace(lane)

    def _end_slow(self) -> None:
        """Give up what goes on, but too slowly: a byte now and then would keep the others waiting for ever."""
        now = time.perf_counter()
        for lane in [*self._lanes]:
            if now - lane.since > PATIENCE * self._timeout_s + lane.size / SLOWEST_BYTES_S:
                self._give_up(lane, TooSlow("it goes on, but too slowly"))

    def _give_up(self, lane: _Lane, error: Exception) -> None:
        """After a failure: tries no more, unless the service only closed a connection that nobody used."""
        self._remove(lane)
        lane.connection.close()
        if lane.connection.is_used and not lane.received:
            self._left.appendleft(lane.number)
            self._replace(lane)
        else:
            self._left.clear()
            if not isinstance(error, Declined):
                self._pool.pause()

    def _replace(self, lane: _Lane) -> None:
        """Open another connection for one that has ended, if there is more to do."""
        if self._left:
            with contextlib.suppress(OSError):
                self._add(lane.connection.another(self._timeout_s), is_there=False)

    def _remove(self, lane: _Lane) -> None:
        with contextlib.suppress(KeyError):  # the selector forgets what it could not watch
            self._selector.unregister(lane.connection.socket)
        self._lanes.remove(lane)
