"""The generations of one name: finding the newest head and publishing the next, the only subtle call there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import field, frozen

from t9k.em.backend import ListsInOrder, ObjectStore
from t9k.em.backend.abilities import can
from t9k.em.errors import (
    AlreadyExists,
    BackendUnavailable,
    CommitUnknown,
    CorruptData,
    CorruptManifest,
    InvalidInput,
    NotFound,
)
from t9k.em.records import Body, ObjectInfo
from t9k_em_backends.tree.heads import (
    MAX_GENERATION,
    MAX_HEAD_BYTES,
    Head,
    decode_head,
    head_key,
    seal_head,
    split_head_key,
)
from t9k_em_backends.tree.history import KnownNames
from t9k_em_backends.tree.values import NewerFormat

ATTEMPTS = 6
FIRST_PAUSE_S = 0.05


@frozen(kw_only=True)
class Generations:
    """All heads of one name in one folder.

    Attributes:
        store: Where they lie.
        prefix: Below which they lie, from `heads.heads_prefix`.
        sleep: Waits so many seconds.
        single_writer: Whether the store ignores conditions and is used all the same, by one writer at a time.
        check: Raises where the store is not the one that was seen; called before and after a record is published.
        known: What this process remembers of names.
    """

    store: ObjectStore
    prefix: str
    sleep: Callable[[float], object]
    single_writer: bool = False
    check: Callable[[], None] = lambda: None
    known: KnownNames = field(factory=KnownNames, repr=False, eq=False)

    def listed(self) -> dict[int, ObjectInfo]:
        """Return the generations that a listing shows, in ascending order."""
        return self._generations(self.store.list(self.prefix))

    def _generations(self, infos: Iterable[ObjectInfo]) -> dict[int, ObjectInfo]:
        found = {}
        for info in infos:
            parts = split_head_key(info.key)
            if parts is not None and parts[2] and info.key == head_key(self.prefix, parts[2]):
                found[parts[2]] = info
        return dict(sorted(found.items()))

    def read(self, generation: int) -> Head | None:
        """One head, or None when it is not there.

        Raises:
            CorruptManifest: The record is no head.
        """
        key = head_key(self.prefix, generation)
        try:
            data = b"".join(self.store.get(key, 0, MAX_HEAD_BYTES + 1))
        except NotFound:
            return None
        return decode_head(data, key)

    def readable(self, generation: int) -> Head | None:
        """One head of the past, or None when it is not there or damaged: then it is as if it had never been."""
        try:
            return self.read(generation)
        except NewerFormat:
            raise
        except CorruptManifest:
            return None

    def descending(self, before: int = 0) -> Iterable[int]:
        """Return the generations that are listed, the newest first; or those that there may be below one.

        Args:
            before: Only those below this one, which is known to have been there; 0 for all.
        """
        return range(before - 1, 0, -1) if before else reversed(self.listed())

    def newest(self, floor: int = 0) -> tuple[int, Head | None]:
        """Return the newest generation and its head; 0 and None for a name that was never used.

        Args:
            floor: A generation that is known to be there although a stale listing may not show it.

        Raises:
            CorruptData: A generation is listed but cannot be read.
        """
        generation = max(floor, self.newest_listed())
        return self.at_least(generation) if generation else (0, None)

    def newest_listed(self) -> int:
        """Return the newest generation that a listing shows, which begins where the last one ended; 0 for none."""
        known = self.known.of(self.prefix)
        seen = known.newest
        listed: dict[int, ObjectInfo] = {}
        store: Any = self.store
        if seen and can(store, ListsInOrder):
            listed = self._generations(store.list_after(self.prefix, head_key(self.prefix, seen - 1)))
        if seen not in listed:  # nothing is known, or the store was put in another's place
            listed = self.listed()
        known.newest = max(listed, default=0)
        return known.newest

    def published_by(self, op: str, newest: int, head: Head | None, seen: int) -> tuple[int, Head] | None:
        """Return the generation that an upload published, and its head; None if it published nothing.

        Args:
            op: The upload.
            newest: The newest generation.
            head: Its head.
            seen: A generation; all publications of the upload come after it.
        """
        known = self.known.of(self.prefix)
        write_id = "" if head is None else head.write_id
        if known.high > newest or (known.high == newest and known.write_id != write_id):
            known = self.known.forget(self.prefix)
        for number in known.to_read(op, newest, seen):
            record = head if number == newest else self.readable(number)
            known.note(number, None if record is None else record.op, is_read=record is not None)
            if record is not None and record.op == op:
                return number, record
        known.cover(newest, seen, write_id)
        return None

    def at_least(self, generation: int) -> tuple[int, Head]:
        """Return the head of a generation that is known to be there, or of a later one.

        Raises:
            CorruptData: The head cannot be read.
        """
        for attempt in range(ATTEMPTS):
            head = self.read(generation)
            if head is not None:
                return generation, head
            self.sleep(FIRST_PAUSE_S * 2**attempt)
            generation = max([generation, *self.listed()])
        raise CorruptData(f"{head_key(self.prefix, generation)} is listed but cannot be read; list again later")

    def publish(self, generation: int, head: Head) -> bool:
        """Create the next generation, unless another writer already did.

        A conditional write whose reply was lost, or that a driver repeated by itself, looks like another writer's
        success; only the `write_id` of what is there tells. A write that seems lost may still arrive later, so the
        same record is sent until its fate is known.

        Returns:
            Whether the record that is there now is this one.

        Raises:
            CommitUnknown: Neither success nor failure could be learned; nothing must be deleted.
            InvalidInput: No reader would find the record, or `read` would not take it; nothing was written.
            StoreGone: The store is not the one that was seen.
        """
        key = head_key(self.prefix, generation)
        if generation > MAX_GENERATION:
            raise InvalidInput(
                f"{head.name!r} has {MAX_GENERATION} generations, and there can be no more; use another name. Who did not "
                f"publish so many finds a record under {head_key(self.prefix, MAX_GENERATION)} that is not the library's"
            )
        body = Body.of(seal_head(head, key))
        self.check()
        is_ours = self._publish(key, generation, head.write_id, body)
        if is_ours:  # perhaps a file system was mounted, or was not any more, in between
            self.check()
        return is_ours

    def _publish(self, key: str, generation: int, write_id: str, body: Body) -> bool:
        last_error: Exception | None = None
        for attempt in range(ATTEMPTS):
            try:
                self._create(key, generation, body)
            except (AlreadyExists, BackendUnavailable) as error:
                last_error = error
            else:
                return True
            try:
                there = self.read(generation)
            except BackendUnavailable as error:
                last_error, there = error, None
            if there is not None:
                return there.write_id == write_id
            self.sleep(FIRST_PAUSE_S * 2**attempt)
        raise CommitUnknown(
            f"whether {key} was published is not known, because the store does not answer; "
            "run the same command again: it checks first, and publishes nothing twice"
        ) from last_error

    def _create(self, key: str, generation: int, body: Body) -> None:
        if self.single_writer and self.read(generation) is not None:
            raise AlreadyExists(f"{key} is there already")
        self.store.put(key, body, if_absent=not self.single_writer)
