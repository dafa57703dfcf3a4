"""Fix what `checking` finds, by the commit protocol: a damaged newest record gets a generation on top that repeats the last good one.

The damaged record itself is kept, byte for byte, under::

    F/.em/damaged/<c>/<generation>-<random>.json

and a deletion stands in its place, so that the other versions can be listed. As long as something lies there, the
collector takes nothing of that name, for nobody knows which files the record spoke of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from attrs import evolve

from t9k.em.errors import CorruptData, CorruptManifest, NotFound
from t9k.em.names import join, random_text
from t9k.em.records import FOLDER, Body, Flaw, utc_text
from t9k_em_backends.tree.checking import Place
from t9k_em_backends.tree.damaged import damaged_prefix
from t9k_em_backends.tree.folders import make_folder
from t9k_em_backends.tree.heads import (
    MAX_HEAD_BYTES,
    Head,
    decode_head,
    deletion,
    file_key,
    folder_prefix,
    head_key,
    heads_prefix,
    index_key,
    seal_head,
)
from t9k_em_backends.tree.publications import publication

if TYPE_CHECKING:
    from t9k_em_backends.tree.generations import Generations
    from t9k_em_backends.tree.tree import Tree


class Repairer:
    """Fix flaws of one tree.

    Args:
        tree: The tree.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def repair(self, flaw: Flaw) -> str:
        """See `t9k.em.backend.ChecksRecords`."""
        ways: dict[str, Callable[[Place], str]] = {
            "record": self._repair_record,
            "chain": self._repair_chain,
            "listing": self._repair_listing,
        }
        way = ways.get(flaw.kind)
        return way(flaw.handle) if way is not None and isinstance(flaw.handle, Place) else ""

    def _repair_record(self, place: Place) -> str:
        """Go back to the last good generation, if this is the newest; then set the record aside."""
        generations = self._generations(place)
        if place.generation == max(generations.listed(), default=0):
            _check_damaged(self._read(generations, place), head_key(generations.prefix, place.generation))
            number, head = self._last_good(place, generations)
            if head is None and place.name:
                head = self._folder(place.name)
            if head is None:
                raise CorruptData(
                    f"no earlier version of it has all its files; put {head_key(generations.prefix, place.generation)} back from a "
                    "copy of the store, or delete the node and upload it again"
                )
            repeated = evolve(head, write_id=uuid4().hex, op=self._op(number, head, generations))
            if not generations.publish(place.generation + 1, repeated):
                raise CorruptData("somebody has published meanwhile; check again")
            self._set_aside(place, generations, head.name)
            done = f"version {number} is the newest again" if number else "the folder was made again"
            return f"{done}, as version {place.generation + 1}; what is left of the record is kept in {_kept_in(place)}"
        newest = self._newest(generations)
        if newest is None:
            return ""
        self._set_aside(place, generations, newest.name)
        return f"set aside, into {_kept_in(place)}; a deletion stands for that version"

    def _repair_chain(self, place: Place) -> str:
        if not place.generation:
            make_folder(self._tree, place.folder)
            return "the folder was made again"
        generations = self._generations(place)
        newest = self._newest(generations)
        if newest is None:
            return ""
        self._set_aside(place, generations, newest.name)
        return "a deletion stands for that version"

    def _repair_listing(self, place: Place) -> str:
        self._tree.store.delete([index_key(place.folder)])
        self._tree.forget_listing(place.folder)
        return "deleted; listings read the records, and make it anew"

    def _last_good(self, place: Place, generations: Generations) -> tuple[int, Head | None]:
        """Return the newest generation below that can be read, and whose files are all there; else 0 and None."""
        for number in range(place.generation - 1, 0, -1):
            try:
                head = generations.read(number)
                if head is not None and self._is_whole(place.folder, head):
                    return number, head
            except (CorruptData, NotFound):
                continue
        return 0, None

    def _newest(self, generations: Generations) -> Head | None:
        """Return the newest generation, if it can be read, so that what lies below only fills the history."""
        try:
            return generations.newest()[1]
        except CorruptData:
            return None

    def _is_whole(self, folder: str, head: Head) -> bool:
        """Return whether all files of a generation are there, by their sizes."""
        if not head.ready or head.kind == FOLDER:
            return True
        files = self._tree.entries(folder, head)
        listed = self._tree.store.list(f"{folder_prefix(folder)}{head.name}/") if files else ()
        there = {info.key: info.size for info in listed}
        return all(there.get(file_key(folder, head.name, file)) == file.size for file in files.values())

    def _op(self, number: int, head: Head, generations: Generations) -> str | None:
        """Return the upload that published a generation, so that copies which come from that go on from here."""
        try:
            return publication(number, head, generations.read) if head.ready and head.kind != FOLDER else None
        except CorruptData:
            return None

    def _set_aside(self, place: Place, generations: Generations, name: str) -> None:
        """Keep a damaged record elsewhere, and put a deletion in its place.

        Raises:
            CorruptData: The record can be read by now, or is too large for a record of ours.
        """
        key = head_key(generations.prefix, place.generation)
        store = self._tree.store
        damaged = self._read(generations, place)
        _check_damaged(damaged, key)
        stand_in = deletion(name, self._tree.writer(), utc_text(self._tree.clock()))
        if damaged:
            kept = f"{damaged_prefix(place.folder, place.c)}{place.generation:08d}-{random_text(10)}.json"
            store.put(kept, Body.of(damaged))
        store.put(key, Body.of(seal_head(stand_in, key)))

    def _read(self, generations: Generations, place: Place) -> bytes:
        """Return the bytes of a record; none where it is gone."""
        try:
            return b"".join(self._tree.store.get(head_key(generations.prefix, place.generation), 0, MAX_HEAD_BYTES + 1))
        except NotFound:
            return b""

    def _folder(self, name: str) -> Head:
        return Head(
            write_id=uuid4().hex,
            kind=FOLDER,
            state="ready",
            name=name,
            id=str(uuid4()),
            writer=self._tree.writer(),
            time=utc_text(self._tree.clock()),
        )

    def _generations(self, place: Place) -> Generations:
        return evolve(self._tree.generations(place.folder, ""), prefix=f"{heads_prefix(place.folder)}{place.c}/")


def _kept_in(place: Place) -> str:
    return join(place.folder, f".em/damaged/{place.c}")


def _check_damaged(data: bytes, key: str) -> None:
    """Make sure that a record is still what nobody can read, before it is written over.

    Raises:
        CorruptData: The record can be read by now, or is too large for a record of ours.
    """
    if len(data) > MAX_HEAD_BYTES:
        raise CorruptData(
            f"{key} is larger than {MAX_HEAD_BYTES} bytes, so this library did not write it; move it away and check again"
        )
    try:
        decode_head(data, key)
    except CorruptManifest:
        return
    raise CorruptData(f"{key} can be read by now; check again")
