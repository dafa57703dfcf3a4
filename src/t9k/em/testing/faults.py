"""Faults on purpose: the N-th call of a port fails, or the process dies there, before or after it took effect."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeVar

from attrs import field, frozen, validators

from t9k.em.backend import Backend, ObjectStore
from t9k.em.errors import BackendUnavailable
from t9k.em.testing.wrappers import BackendWrapper, StoreWrapper

T = TypeVar("T")
When = Literal["before", "after", "crash-before", "crash-after"]
WHEN: tuple[When, ...] = ("before", "after", "crash-before", "crash-after")


class SimulatedCrash(BaseException):
    """The process ends here; no `except Exception` may see it."""


@frozen
class Fault:
    """What goes wrong at one call.

    Attributes:
        call: Its number, from 1.
        when: 'before': the request is lost. 'after': it is done and the reply is lost. 'crash-before' and
            'crash-after': likewise, and from then on every call ends in `SimulatedCrash`.
    """

    call: int
    when: When = field(validator=validators.in_(WHEN))


class Faults:
    """Counts and records calls, and lets some of them fail; several wrappers may share one.

    Args:
        *faults: What goes wrong.
        error: Makes the error of a lost request or reply.

    Attributes:
        calls: Every call so far, like 'put a/b'.
        crashed: Whether the process has died.
    """

    def __init__(self, *faults: Fault, error: Callable[[str], Exception] = BackendUnavailable) -> None:
        self.calls: list[str] = []
        self.crashed = False
        self._faults = {fault.call: fault.when for fault in faults}
        self._error = error
        self._lock = threading.Lock()

    def restart(self) -> None:
        """Start a new process after a crash; the count of calls goes on."""
        self.crashed = False

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Make one call, or not.

        Raises:
            SimulatedCrash: The process has died.
        """
        with self._lock:
            if self.crashed:
                raise SimulatedCrash(what)
            self.calls.append(what)
            number = len(self.calls)
        when = self._faults.get(number)
        if when in ("before", "crash-before"):
            self._fail(when, what)
        result = call()
        if when is not None:
            self._fail(when, what)
        return result

    def _fail(self, when: When | None, what: str) -> None:
        if when in ("before", "after"):
            raise self._error(f"{what}: lost on purpose")
        self.crashed = True
        raise SimulatedCrash(what)


class FaultyStore(StoreWrapper):
    """An object store with faults.

    Args:
        inner: The store to ask.
        faults: What goes wrong, and the record of calls.
    """

    def __init__(self, inner: ObjectStore, faults: Faults) -> None:
        super().__init__(inner)
        self.faults = faults

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Make one call, or not."""
        return self.faults.around(what, call)


class FaultyBackend(BackendWrapper):
    """A backend with faults.

    Args:
        inner: The backend to ask.
        faults: What goes wrong, and the record of calls.
    """

    def __init__(self, inner: Backend, faults: Faults) -> None:
        super().__init__(inner)
        self.faults = faults

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Make one call, or not."""
        return self.faults.around(what, call)
