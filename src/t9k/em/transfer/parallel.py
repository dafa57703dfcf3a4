"""Does the same with many things, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

WORKERS = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_parallel(
    work: Callable[[_Item], _Result], items: Sequence[_Item], what: str, workers: int = WORKERS
) -> list[_Result]:
    """Calls a function with each item, in several threads; in this thread if there is only one.

    Args:
        work: The function, safe to call from several threads.
        items: The items.
        what: What the threads are called.
        workers: How many threads at most.

    Returns:
        The results, in the order of the items.

    Raises:
        Exception: What the first call that failed raised. After that, or Ctrl-C, what is running ends and nothing else
            starts.
    """
    if len(items) < 2:  # noqa: PLR2004 - nothing to do in parallel
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - slow to import, and a run that only logs needs none

    pool = ThreadPoolExecutor(workers, thread_name_prefix=f"em-{what}")
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)
