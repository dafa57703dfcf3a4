"""Do the same with many things, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

WORKERS = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_parallel(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    what: str,
    workers: Callable[[], int] = lambda: WORKERS,
) -> list[_Result]:
    """Call a function with each item, in several threads; in this thread if there is only one.

    Args:
        work: The function, safe to call from several threads.
        items: The items.
        what: What the threads are called.
        workers: How many threads pay off; asked again after every item, and when it says more than before, more are
            started.

    Returns:
        The results, in the order of the items.

    Raises:
        Exception: The error of the first call that failed. After that, or Ctrl-C, what is running ends and nothing else
            starts.
    """
    if len(items) < 2:  # noqa: PLR2004 - nothing to do in parallel
        return [work(item) for item in items]
    crew = _Crew(work, items, f"em-{what}", workers)
    crew.run()
    return crew.results


class _Crew(Generic[_Item, _Result]):
    """The threads of one `in_parallel`; each takes the next item until all are taken."""

    def __init__(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item], name: str, workers: Callable[[], int]
    ) -> None:
        self._work = work
        self._items = items
        self._name = name
        self._workers = workers
        self._next = 0
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self.results: list[_Result] = [None] * len(items)  # type: ignore[list-item]  # each is put in its place

    def run(self) -> None:
        try:
            self._recruit()
            if not self._threads:
                self._toil()
            for thread in self._threads:  # which grows meanwhile
                thread.join()
        except BaseException:
            self._stop()
            for thread in self._threads:
                thread.join()
            raise
        if self._error is not None:
            raise self._error

    def _recruit(self) -> None:
        """Start as many threads as pay off by now; also called from the threads."""
        wanted = self._workers()
        with self._lock:
            missing = min(wanted - len(self._threads), len(self._items) - self._next)
            for _ in range(missing):
                thread = threading.Thread(target=self._toil, name=f"{self._name}-{len(self._threads)}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system allows no more, or the interpreter shuts down
                    return
                self._threads.append(thread)

    def _toil(self) -> None:
        while (number := self._take()) is not None:
            try:
                self.results[number] = self._work(self._items[number])
                if self._workers() > len(self._threads):
                    self._recruit()
            except BaseException as error:  # noqa: BLE001 - raised where everybody is waited for
                with self._lock:
                    self._error = self._error or error
                self._stop()
                return

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= len(self._items):
                return None
            self._next += 1
            return self._next - 1

    def _stop(self) -> None:
        with self._lock:
            self._next = len(self._items)
