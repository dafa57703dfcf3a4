"""The thread that uploads a run while it goes on; what happens to it never reaches the training."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from t9k.em.ending import shutdown
from t9k.em.errors import BackendUnavailable, CommitUnknown, Conflict, EMError, SourceChanged
from t9k.em.live.rounds import Rounds, Source

POLL_S = 1.0
"""How often the thread looks whether much was logged."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After a round that failed; twice as long after each further one."""

STALLED_S = 60.0
"""How long `finish` waits without anything being sent, unless it is told how long to wait."""

_PASSING = (BackendUnavailable, CommitUnknown, SourceChanged)
"""Errors that may be gone at the next try."""

_log = logging.getLogger(__name__)


class Steps:
    """Remember when something was sent last; a `t9k.em.transfer.progress.Progress`."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def start(self, what: str, files: int, size: int) -> None:
        """See `Progress`; what is only planned is not sent."""

    def advance(self, files: int, size: int) -> None:
        """See `Progress`."""
        del files, size
        self.last = time.monotonic()


class LiveUpload:
    """Upload one run from its own thread until it is finished.

    Args:
        source: The run.
        steps: Receives from the source what it sends.
        tell: Takes a warning for the user; called once for each kind of fault until it has ended.
    """

    def __init__(self, source: Source, steps: Steps, tell: Callable[[str], None]) -> None:
        self._rounds = Rounds(source, time.monotonic)
        self._steps = steps
        self._tell = tell
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._asked = 0
        self._done = 0
        self._refused = 0
        self._is_ending = False
        self._has_ended = False
        self._is_abandoned = False
        self._fault: Exception | None = None
        self._told: set[type[Exception]] = set()
        self._thread = threading.Thread(target=self._run, name="em-live", daemon=True)

    def start(self) -> None:
        """Begin; what is there already is uploaded at once."""
        _remember(self)
        try:
            self._thread.start()
        except RuntimeError:  # no new threads while the interpreter shuts down
            self._tell("is not uploaded while it goes on: the system allows no new thread")

    @property
    def has_stopped(self) -> bool:
        """Whether nothing is uploaded any more by this, in the process that began it."""
        return os.getpid() == self._pid and (self._has_ended or not self._thread.is_alive())

    def flush(self, timeout_s: float) -> bool:
        """Send what was logged until now, without ending; say whether all of it was sent in time.

        Args:
            timeout_s: How long to wait, in seconds.
        """
        return self._ask(time.monotonic() + timeout_s)

    def finish(self, timeout_s: float | None = None) -> Exception | None:
        """Upload the run as it is now, whole, and end.

        Args:
            timeout_s: How long to wait, in seconds; None to wait as long as something is sent, and `STALLED_S` more.

        Returns:
            None when all was uploaded; otherwise what prevents it. The thread goes on trying as long as the process lives.
        """
        if os.getpid() != self._pid or not self._thread.is_alive():
            return self._fault
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._ask(deadline, is_end=True):
            return None
        return self._fault or TimeoutError("it takes longer than there is time")

    def abandon(self, timeout_s: float) -> None:
        """End without sending anything more; `em upload` sends the rest.

        Args:
            timeout_s: How long to wait for a request that is in progress, in seconds.
        """
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()
        if os.getpid() == self._pid and self._thread.is_alive():
            self._thread.join(timeout_s)

    def _ask(self, deadline: float | None, *, is_end: bool = False) -> bool:
        """Let the thread do a round now and wait for it."""
        if os.getpid() != self._pid or not self._thread.is_alive() or threading.current_thread() is self._thread:
            return False
        self._steps.last = time.monotonic()
        with self._changed:
            self._is_ending = (
                self._is_ending or is_end
            )  # together with the request, or a round before it would be the last
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            while self._done < mine and self._refused < mine and self._thread.is_alive():
                end = self._steps.last + STALLED_S if deadline is None else deadline
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, POLL_S))
            return self._done >= mine

    # In the thread.

    def _run(self) -> None:
        failures = 0
        while True:
            asked = self._wait(failures)
            if self._has_ended or self._is_abandoned:
                return
            try:
                self._round(is_asked=asked > self._done)
            except (EMError, OSError) as error:
                failures += 1
                self._failed(error, asked)
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the uploads of a run
                failures += 1
                _log.exception("a round of uploading a run failed")
                self._failed(error, asked)
                continue
            failures = 0
            self._succeeded(asked)

    def _round(self, *, is_asked: bool) -> None:
        if self._is_ending:
            self._rounds.publish()
        else:
            self._rounds.round(is_urgent=is_asked)

    def _wait(self, failures: int) -> int:
        """Wait until there is something to do; return the number of the last request to do it at once."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1)) if failures else 0.0
        until = time.monotonic() + pause
        with self._changed:
            before = self._asked
            while not (self._has_ended or self._is_abandoned):
                # A request that came in a pause ends it, but one that has failed waits for the next try.
                if self._asked > before or (self._asked > self._done and not failures):
                    return self._asked
                left = until - time.monotonic() if failures else self._left()
                if left <= 0:
                    return self._asked
                self._changed.wait(min(left, POLL_S))
            return self._asked

    def _left(self) -> float:
        try:
            return self._rounds.wait_s()
        except (EMError, OSError):  # the run's directory is gone; the round tells
            return 0.0

    def _failed(self, error: Exception, asked: int) -> None:
        is_first = self._fault is None
        self._fault = error
        if isinstance(error, EMError) and not isinstance(error, _PASSING):
            with self._changed:  # whoever waits is told now: another try would say the same
                self._refused = asked
                self._changed.notify_all()
        if is_first and isinstance(error, SourceChanged):
            pass  # an artifact was added to meanwhile
        elif type(error) not in self._told:
            self._told.add(type(error))
            try:
                if isinstance(error, Conflict):
                    self._tell(f"is not uploaded any more: {error}. It goes on here, and nothing of it is lost")
                else:
                    self._tell(f"is not uploaded at present: {error}. It goes on, and is uploaded when that has ended")
            except Exception:  # noqa: BLE001 - where warnings go to may be closed, or be code of the user
                _log.exception("a warning could not be shown")
        _log.info("a round of uploading a run failed: %s", error)

    def _succeeded(self, asked: int) -> None:
        if self._fault is not None:
            _log.info("the run is uploaded again")
        self._fault = None
        self._told.clear()
        with self._changed:
            self._done = max(self._done, asked)
            # An end that was asked for during the round is for the next one.
            self._has_ended = self._is_ending and self._asked == asked
            self._changed.notify_all()


_all: weakref.WeakSet[LiveUpload] = weakref.WeakSet()


def _remember(upload: LiveUpload) -> None:
    _all.add(upload)
    shutdown.flush_by(flush_all)


def flush_all(timeout_s: float) -> None:
    """Send what all runs of the process have logged, in at most so many seconds together."""
    end = time.monotonic() + timeout_s
    uploads = list(_all)
    for upload in uploads:
        upload.flush(0.0)  # so that none has to wait for the time that another needs
    for upload in uploads:
        upload.flush(max(0.0, end - time.monotonic()))


def abandon_all(timeout_s: float) -> None:
    """End the uploads of all runs of the process without sending anything more.

    Args:
        timeout_s: How long to wait for the requests of each that are in progress, in seconds.
    """
    for upload in list(_all):
        upload.abandon(timeout_s)
