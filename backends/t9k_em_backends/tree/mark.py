"""The mark of a store, `.em/store.json`: which store it is, and what its writers have to know.

A directory whose mount failed, or a bucket that was emptied, looks like a store that is still empty. So a store gets a
mark when it is first written to, and whoever has seen that refuses to take anything else for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from attrs import define, field, frozen

from t9k.em.backend import ObjectStore
from t9k.em.errors import AlreadyExists, BackendPermissionError, CorruptData, NewerStore, NotFound, StoreGone
from t9k.em.json_values import items
from t9k.em.records import Body, utc_text
from t9k_em_backends.tree.values import dump_json, parse_json

KEY = ".em/store.json"
FORMAT = 1
MAX_BYTES = 64 << 10
FEATURES: frozenset[str] = frozenset()
"""What this version knows of what writers may have to know."""

GOOD_FOR_S = 60.0
"""For how long a mark that was read is not read again, where a request costs something."""

_MOST_ID = 100


@frozen(kw_only=True)
class Mark:
    """What a mark says.

    Attributes:
        id: Random, of this store alone.
        created: When, UTC by the clock of who made it.
        writer_features: What a writer must know to do no harm.
    """

    id: str
    created: str
    writer_features: tuple[str, ...] = ()


def encode_mark(mark: Mark) -> bytes:
    """Write a mark as JSON."""
    return dump_json(
        {"v": FORMAT, "id": mark.id, "created": mark.created, "writer_features": list(mark.writer_features)}
    )


def decode_mark(data: bytes, uri: str) -> Mark:
    """Read a mark and believe nothing: a bucket may be hostile.

    Args:
        data: The bytes.
        uri: Of the store.

    Raises:
        NewerStore: The mark has a later format.
        CorruptData: The bytes are no mark.
    """
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        record = parse_json(data)
        if type(record["v"]) is not int or record["v"] < 1:
            raise ValueError("its format is no number")
        if record["v"] > FORMAT:
            raise NewerStore(
                f"the store at {uri} has the format {record['v']}, and this version of t9k-em knows {FORMAT}; upgrade t9k-em"
            )
        return Mark(
            id=_short_text(record["id"]),
            created=_short_text(record["created"]),
            writer_features=tuple(_short_text(name) for name in items(record["writer_features"])),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptData(
            f"the mark {KEY} of the store at {uri} is damaged ({error}), so nothing is written there; put back the one "
            "from a backup, or delete it: the next upload makes a new one"
        ) from error


@define(slots=False)
class KnownMark:
    """What is known of the mark of one store; shared by all who use it in a process, for whatever user.

    Attributes:
        uri: Of the store.
        good_for_s: For how long what was read is believed, in seconds.
        clock: The time in seconds.
    """

    uri: str
    good_for_s: float = GOOD_FOR_S
    clock: Callable[[], float] = time.monotonic
    _id: str = field(default="", init=False)
    _is_accepted: bool = field(default=False, init=False)
    _instead: str = field(default="", init=False)
    _features: tuple[str, ...] = field(default=(), init=False)
    _looked: float = field(default=float("-inf"), init=False)
    _last: tuple[bytes, Mark | None] = field(default=(b"", None), init=False)
    _making: threading.Lock = field(factory=threading.Lock, init=False)

    def expect(self, store: ObjectStore, store_id: str, *, instead: str, is_accepted: bool) -> None:
        """Refuse every other store from now on; see `t9k.em.backend.MarksStore`."""
        if self._id in ("", store_id):
            self._id, self._is_accepted, self._instead = store_id, self._is_accepted or is_accepted, instead
        elif is_accepted:
            self._id, self._is_accepted, self._instead = store_id, True, instead
            self._features, self._looked = (), float("-inf")
        elif not self._is_accepted:
            self._look(store, self.clock())
            raise self._other(store_id, self._id, instead)

    def find(self, store: ObjectStore) -> str:
        """Return the id of the store that is there, which is remembered; '' for one without a mark.

        Raises:
            StoreGone: Another one was seen.
        """
        if self._id:
            self._look(store)
        elif (mark := self._read(store)) is not None:
            self._id = mark.id
        return self._id

    def check(self, store: ObjectStore, *, since: float | None = None) -> None:
        """Make sure, before something is written, that the store is the one that was seen, if one was.

        Args:
            store: Where the mark lies.
            since: What was read then or later is believed; by default what was read a short while ago.

        Raises:
            StoreGone: The mark is missing, or that of another store.
            NewerStore: Its writers have to know what this version does not.
            CorruptData: The mark is damaged.
        """
        self._look(store, since)
        self._check_features()

    def check_reading(self, store: ObjectStore) -> None:
        """Make sure, where nothing was found, that the store is the one that was seen; a damaged mark is no hindrance.

        Raises:
            StoreGone: See `check`.
        """
        with contextlib.suppress(CorruptData, NewerStore, BackendPermissionError):
            self._look(store)

    def notice(self, store: ObjectStore) -> None:
        """Remember the mark that is there, if there is one, so that a reader sees its loss."""
        with contextlib.suppress(CorruptData, NewerStore, BackendPermissionError):
            self.find(store)

    def require(self, store: ObjectStore, prepare: Callable[[], None], *, single_writer: bool) -> None:
        """Make sure, before something is written, that the store is the right one, and has a mark.

        Args:
            store: Where the mark lies.
            prepare: Called before the first thing is written.
            single_writer: Whether the store cannot create an object under a condition.

        Raises:
            StoreGone, NewerStore: See `check`.
            CorruptData: The mark is damaged.
        """
        if self._is_known():
            self.check(store)
            prepare()
            return
        with self._making:
            mark = self._read(store)
            if self._is_known():  # since another thread was faster
                self._compare(mark)
            self._check_features()
            prepare()
            self._id = (mark or self._make(store, single_writer=single_writer)).id

    def _look(self, store: ObjectStore, since: float | None = None) -> None:
        if self._id and self._looked < (self.clock() - self.good_for_s if since is None else since):
            self._compare(self._read(store))

    def _is_known(self) -> bool:
        return bool(self._id)

    def _make(self, store: ObjectStore, *, single_writer: bool) -> Mark:
        mark = Mark(id=uuid4().hex, created=utc_text())
        try:
            store.put(KEY, Body.of(encode_mark(mark)), if_absent=not single_writer)
        except AlreadyExists:  # by somebody else, or by this very request
            there = self._read(store)
            if there is None:
                raise
            self._check_features()
            return there
        self._looked = self.clock()
        return mark

    def _read(self, store: ObjectStore) -> Mark | None:
        before = self.clock()
        try:
            data = b"".join(store.get(KEY, 0, MAX_BYTES + 1))
        except NotFound:
            return None
        mark = self._decoded(data)
        if self._id in ("", mark.id):
            self._looked = before
            self._features = mark.writer_features
        return mark

    def _decoded(self, data: bytes) -> Mark:
        known, mark = self._last
        if mark is None or data != known:
            mark = decode_mark(data, self.uri)
            self._last = data, mark
        return mark

    def _compare(self, mark: Mark | None) -> None:
        if mark is None:
            raise StoreGone(
                f"the store that was at {self.uri} is not there: its mark {KEY} is missing. Perhaps a file system is not "
                f"mounted, or the data was moved: mount it or put it back, then run the same command again, it goes on "
                f"where it stopped. {self._advice(self._instead)}"
            )
        if self._id not in ("", mark.id):
            raise self._other(self._id, mark.id, self._instead)

    def _check_features(self) -> None:
        missing = [name for name in self._features if name not in FEATURES]
        if missing:
            raise NewerStore(
                f"who writes to the store at {self.uri} has to know {', '.join(map(repr, missing))}, which this version of "
                "t9k-em does not; upgrade t9k-em"
            )

    def _other(self, known: str, there: str, instead: str) -> StoreGone:
        return StoreGone(
            f"another store is at {self.uri} than the one that was there: its mark {KEY} says {there}, and not {known}. "
            "Perhaps another file system is mounted, or a copy was put there: mount the right one, then run the same "
            f"command again, it goes on where it stopped. {self._advice(instead)}"
        )

    def _advice(self, instead: str) -> str:
        return f"If what is there now is to be used instead, say so: {instead or f'em login {self.uri}'}"


def _short_text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_ID or not value.isprintable():
        raise ValueError("a field is no short text")
    return value
