"""Large objects in pieces, some of which are fetched ahead of the reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from t9k.em.memory.budget import Budget
from t9k_em_backends.shared.part_size import MIB

_Piece = TypeVar("_Piece")

PIECE_BYTES = 8 * MIB
"""What one request reads of a large object."""

PIECES_AHEAD = 4


def pieces_ahead(fetch: Callable[[int, int], Future[_Piece]], start: int, end: int, budget: Budget) -> Iterator[_Piece]:
    """Yield the bytes [start, end) in pieces.

    Args:
        fetch: Starts to fetch the bytes from a start to an end.
        start: The first byte.
        end: Behind the last byte.
        budget: Memory for the pieces that are fetched ahead. One piece is fetched even when there is none.
    """
    running: deque[tuple[int, Future[_Piece]]] = deque()  # each with the memory that was taken for it
    try:
        while start < end or running:
            while start < end and len(running) < PIECES_AHEAD:
                size = min(PIECE_BYTES, end - start)
                taken = size if budget.try_take(size) else 0
                if running and not taken:
                    break
                try:
                    running.append((taken, fetch(start, start + size)))
                except BaseException:
                    budget.give(taken)
                    raise
                start += size
            piece = running[0][1].result()
            budget.give(running.popleft()[0])
            yield piece
            del piece  # it would be kept until the next one has come
    finally:
        for _, fetching in running:
            fetching.cancel()
        for taken, fetching in running:
            if not fetching.cancelled():
                fetching.exception()
            budget.give(taken)
