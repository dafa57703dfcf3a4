"""What a signal handler or a finalizer asks for while its own thread is in the middle of something of ours: it is done after that.

A handler runs between two steps of any code of its thread, and a finalizer wherever the garbage collector does. There it must not wait for a
lock, which its own thread may hold, nor change what is half changed. So work that takes locks is done `alone`: within other work of
the same thread it is put off, and the other work does it when it ends. Other threads are waited for as ever.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from threading import get_ident

from t9k.em.local import openfiles

Work = Callable[[], object]

waiting: dict[int, deque[Work]] = {}
"""What was put off, by thread; empty nearly always, so that whoever looks often finds that out at once."""

_inside: set[int] = set()


def is_inside() -> bool:
    """Return whether this thread is in the middle of work, so that this is a handler or finalizer."""
    return get_ident() in _inside or openfiles.is_one_in_use_here()


def later(work: Work) -> None:
    """Put off work until this thread is in the middle of nothing.

    Args:
        work: What it raises is logged, for nobody waits for it any more.
    """
    waiting.setdefault(get_ident(), deque()).append(work)


def alone(work: Work) -> bool:
    """Do work now, or put it off where this thread is in the middle of other work.

    Args:
        work: What it raises now reaches the caller.

    Returns:
        Whether it was done.
    """
    if is_inside():
        later(partial(alone, work))
        return False
    me = get_ident()
    _inside.add(me)
    try:
        work()
    finally:
        _inside.discard(me)
        if waiting:
            do_waiting()
    return True


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """For a block that a handler must not come into: what is asked for there by `alone` is done after it.

    Unlike `alone` it may be a part of other work, so what a handler may call asks `alone` first.
    """
    me = get_ident()
    if me in _inside:
        yield
        return
    _inside.add(me)
    try:
        yield
    finally:
        _inside.discard(me)
        if waiting:
            do_waiting()


def do_waiting() -> None:
    """Do what was put off, unless this thread is still in the middle of something."""
    me = get_ident()
    while not is_inside() and (queue := waiting.get(me)):
        try:
            work = queue.popleft()
        except IndexError:  # a handler that came just now has done it
            continue
        try:
            work()
        except Exception:  # there is nobody left to raise it to
            import logging  # noqa: PLC0415 - slow to import, and seldom needed

            logging.getLogger(__name__).exception(
                "something that a signal handler or finalizer asked for could not be done"
            )
    if not waiting.get(me, True):
        waiting.pop(me, None)


def _forget_parent() -> None:
    _inside.clear()
    waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
