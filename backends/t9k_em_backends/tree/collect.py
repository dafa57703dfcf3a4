"""The collector: removes what no kept generation refers to, without ever harming a writer that is in progress.

What it takes lies below a name that has a head, or of which a record says that an upload was begun: others keep things in
the same store, and a copy of a node's directory looks like an upload.

Before it deletes anything under a name it publishes a generation that repeats the newest head. A writer that planned
against the head below loses its race, looks again, and finds its own upload fenced or the files it counts on kept.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

from attrs import define, evolve, field, frozen

from t9k.em.backend import SweepsTemporary
from t9k.em.errors import BackendError, BackendPermissionError, CorruptManifest, InvalidInput, NotFound
from t9k.em.names import encode_component, fold, parent_and_name
from t9k.em.records import Garbage, ObjectInfo, utc_text
from t9k_em_backends.shared.clock import store_time
from t9k_em_backends.tree.begun import BegunRecord, begun_prefix, read_name, split_begun
from t9k_em_backends.tree.damaged import damaged_prefix, split_damaged
from t9k_em_backends.tree.fences import DELETES_S, STANDS_S, Fences
from t9k_em_backends.tree.fences import stood as stood_at
from t9k_em_backends.tree.foreign import is_temporary, nameable, split_upload
from t9k_em_backends.tree.growing import grown_prefix
from t9k_em_backends.tree.heads import (
    Head,
    deletion,
    file_key,
    folder_prefix,
    heads_prefix,
    index_key,
    manifest_key,
    split_head_key,
)
from t9k_em_backends.tree.publications import publication, repeats
from t9k_em_backends.tree.stored import damage_key
from t9k_em_backends.tree.values import NewerFormat

if TYPE_CHECKING:
    from t9k_em_backends.tree.generations import Generations
    from t9k_em_backends.tree.tree import Tree

TRIES = 5
DELETED_AT_ONCE = 1000

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class _Data:
    """One object of some upload."""

    info: ObjectInfo
    name: str
    op: str


@define
class _Found:
    """What there is of one folded name in a folder.

    Attributes:
        data: Objects of its uploads, as their keys say.
        begun: What says that uploads were begun.
        has_head: Whether a head of it was listed.
        is_damaged: Whether a damaged head of it was set aside, so that nobody knows which files that spoke of.
    """

    data: list[_Data] = field(factory=list)
    begun: list[BegunRecord] = field(factory=list)
    has_head: bool = False
    is_damaged: bool = False

    def oldest(self) -> float:
        """Return the time at which the oldest object was written, by the store's clock."""
        return min((info.modified for info in self.infos()), default=math.inf)

    def infos(self) -> Iterator[ObjectInfo]:
        """Yield the objects."""
        yield from (item.info for item in self.data)
        yield from (record.info for record in self.begun)


class Collector:
    """One collection over a part of the tree.

    Args:
        tree: The backend to collect in.
        grace_s: Only what is older than so many seconds by the store's clock.
        keep_versions: Generations of each node to keep beside those that were newest within the grace; at least 1.
        apply: Whether to delete.
    """

    def __init__(self, tree: Tree, *, grace_s: float, keep_versions: int, apply: bool) -> None:
        self._tree = tree
        self._grace_s = grace_s
        self._keep_versions = max(1, keep_versions)
        self._apply = apply
        self._others: list[str] = []

    def collect(self, path: str) -> Garbage:
        """Look below a folder or node; see `t9k.em.backend.Collects`."""
        before = self._store_time() - self._grace_s
        found: list[ObjectInfo] = []
        names = self._names(path)
        for (folder, c), of_name in sorted(names.items()):
            if of_name.is_damaged:
                _log.warning(
                    "nothing is collected of %r in %s: a damaged record of it lies in %s; delete that when it is of no use",
                    c,
                    folder,
                    damaged_prefix(folder, c),
                )
            elif of_name.oldest() <= before:
                try:
                    found += self._collect_name(folder, c, of_name, before)
                except (CorruptManifest, InvalidInput) as error:
                    _log.warning("nothing is collected of %r in %s: %s", c, folder, error)
        if path == "/":
            found += self._sweep(names)
        if self._others:
            _log.warning(
                "%d objects look like files of uploads, but no record says that anything was uploaded there, like %r; they "
                "are left alone: delete them yourself if they are neither copies nor another program's",
                len(self._others),
                self._others[0],
            )
        return Garbage(objects=tuple(found), applied=self._apply)

    def _names(self, path: str) -> dict[tuple[str, str], _Found]:
        """Return the names below a path, by folder and folded, encoded name; anything else in the store is not ours."""
        found: dict[tuple[str, str], _Found] = defaultdict(_Found)
        for info in nameable(self._tree.store.list(folder_prefix(path))):
            if data := split_upload(info.key):
                folder, name, op = data
                found[folder, encode_component(fold(name))].data.append(_Data(info=info, name=name, op=op))
            elif head := split_head_key(info.key):
                found["/" + head[0][:-1], head[1]].has_head = True
            elif record := split_begun(info):
                found[record.folder, record.c].begun.append(record)
            elif aside := split_damaged(info.key):
                found[aside].is_damaged = True
        folder, name = parent_and_name(path)
        if name:  # whose own records lie beside what was listed
            c = encode_component(fold(name))
            beside = map(split_begun, self._tree.store.list(begun_prefix(folder)))
            found[folder, c].begun += [record for record in beside if record is not None and record.c == c]
            found[folder, c].is_damaged = any(True for _ in self._tree.store.list(damaged_prefix(folder, c)))
        return found

    def _sweep(self, names: dict[tuple[str, str], _Found]) -> list[ObjectInfo]:
        """Return what interrupted writes of ours left and no listing shows; in the rest of a bucket others write in parts too."""
        store = self._tree.store
        if not isinstance(store, SweepsTemporary):
            return []
        known = {key for key, of_name in names.items() if of_name.has_head or of_name.begun}
        caches = {index_key(folder) for folder, _ in known}

        def is_ours(key: str) -> bool:
            data = split_upload(key)
            is_known = data is not None and (data[0], encode_component(fold(data[1]))) in known
            return is_known or key in caches or is_temporary(key)

        try:
            swept = [info for info in store.sweep(self._grace_s) if is_ours(info.key)]
        except BackendPermissionError:
            if self._apply:
                raise
            _log.info("what interrupted writes left is not told to who may not write")
            return []
        if self._apply:
            store.remove_swept(swept)
        return swept

    def _collect_name(self, folder: str, c: str, of_name: _Found, before: float) -> list[ObjectInfo]:
        generations = evolve(self._tree.generations(folder, ""), prefix=f"{heads_prefix(folder)}{c}/")
        for _ in range(TRIES):
            listed = generations.listed()
            newest = max(listed, default=0)
            heads, damaged = _read(generations, listed)
            if len(heads) + len(damaged) < len(listed):  # on half knowledge nothing is deleted
                continue
            if newest in damaged:
                raise damaged[newest]
            collected = heads[newest].collected if heads else 0
            kept = [number for number in self._kept(listed, heads, before) if number == newest or number > collected]
            if not damaged.keys().isdisjoint(kept):
                raise damaged[max(damaged.keys() & set(kept))]
            try:
                needed = {key for number in kept for key in self._needs(folder, heads[number])}
            except NotFound:  # another collector was faster; with a list of files missing for good nothing is collected
                continue
            grown = self._grown(folder, newest, heads)
            data = self._ours(of_name, heads)
            dead = [
                item
                for item in data
                if item.info.key not in needed and item.info.modified <= before and not item.info.key.startswith(grown)
            ]
            published = {head.op for head in heads.values()}
            fences, dead = self._fenced(heads, listed, of_name, dead, before)
            records = _needless(of_name, dead, published, before)
            garbage = [*(item.info for item in dead), *(record.info for record in records)]
            if garbage and self._apply:
                began = time.time(), time.monotonic()
                if dead and not self._fence(
                    generations, newest, heads.get(newest), dead[0].name, fences, min(kept, default=1) - 1
                ):
                    continue
                self._delete([item.info.key for item in dead], began)
                self._tree.store.delete(
                    record.info.key for record in records
                )  # last, for they say whose the others are
            ours = {item.info.key for item in data}
            self._others += [item.info.key for item in of_name.data if item.info.key not in ours]
            return garbage
        return []

    def _fenced(
        self,
        heads: Mapping[int, Head],
        listed: Mapping[int, ObjectInfo],
        of_name: _Found,
        dead: list[_Data],
        before: float,
    ) -> tuple[Fences, list[_Data]]:
        """Return the fences that are needed when files go, and the files that can go with as many as a head tells of."""
        published = {head.op for head in heads.values()}
        losing = sorted({item.op for item in dead} - published)
        there = {item.op for item in of_name.data} | {record.op for record in of_name.begun}
        there.difference_update(filter(None, published))
        stood = stood_at(
            heads,
            {number: info.modified for number, info in listed.items()},
            before + self._grace_s - STANDS_S,
        )
        fences = Fences.of(heads.get(max(heads, default=0))).dropped(stood, there)
        added = fences.added(losing, there.difference(losing), before)
        while losing and not added.is_short:
            del losing[len(losing) // 2 :]
            added = fences.added(losing, there.difference(losing), before)
        fits = {*losing, *published}
        taken = [item for item in dead if item.op in fits]
        if len(taken) < len(dead):
            _log.warning(
                "%d of %d objects of uploads to %s in %s that were given up are left for later: collect again in 3 days",
                len(dead) - len(taken),
                len(dead),
                dead[0].name,
                dead[0].info.key.rpartition(f"/{dead[0].op}/")[0],
            )
        return added, taken

    def _delete(self, keys: list[str], began: tuple[float, float]) -> None:
        """Delete objects while the fences of their uploads stand for certain.

        Raises:
            BackendError: The deletion took too long, as when the process was stopped meanwhile.
        """
        for at in range(0, len(keys), DELETED_AT_ONCE):
            if max(time.time() - began[0], time.monotonic() - began[1]) > DELETES_S:
                raise BackendError(
                    f"{len(keys) - at} objects are left, because deleting them took more than {DELETES_S / 3600:.0f} hours; "
                    "collect again"
                )
            self._tree.store.delete(keys[at : at + DELETED_AT_ONCE])

    def _ours(self, of_name: _Found, heads: dict[int, Head]) -> list[_Data]:
        """Return the objects below a name, in its very spelling, that has a head or under which an upload was begun."""
        names = {head.name for head in heads.values()}
        if not all(item.name in names for item in of_name.data):
            names |= {read_name(self._tree.store, record) for record in of_name.begun}
        return [item for item in of_name.data if item.name in names]

    def _kept(self, listed: dict[int, ObjectInfo], heads: dict[int, Head], before: float) -> list[int]:
        """Return the generations to keep: of the last versions, and of those that were still the newest within the grace."""
        kept: list[int] = []
        versions, superseded = 0, math.inf
        for number in sorted(listed, reverse=True):
            above, head = heads.get(number + 1), heads.get(number)
            if above is None or head is None or not repeats(above, head):  # one that is damaged repeats nothing
                versions += 1
                superseded = listed[number + 1].modified if number + 1 in listed else math.inf
            if versions <= self._keep_versions or superseded > before:
                kept.append(number)
        return kept

    def _grown(self, folder: str, newest: int, heads: dict[int, Head]) -> tuple[str, ...]:
        """Return the prefixes of what was appended to the newest generation."""
        head = heads.get(newest)
        op = publication(newest, head, heads.get) if head is not None and head.ready else None
        return (grown_prefix(folder, head.name, op),) if head is not None and op is not None else ()

    def _needs(self, folder: str, head: Head) -> Iterable[str]:
        """Yield the keys that a head refers to."""
        if head.manifest is not None:
            yield manifest_key(folder, head.name, head.manifest)
        for file in self._tree.entries(folder, head).values():
            yield file_key(folder, head.name, file)
            yield damage_key(folder, head.name, file)

    def _fence(
        self, generations: Generations, newest: int, head: Head | None, name: str, fences: Fences, collected: int
    ) -> bool:
        """Publish a generation that repeats the newest head; False when a writer was faster."""
        if head is None:
            head = deletion(name, self._tree.writer(), utc_text(self._tree.clock()))
        repeated = evolve(
            head,
            write_id=uuid4().hex,
            op=None,
            fenced=fences.ops,
            fenced_spans=fences.spans,
            collected=max(head.collected, collected),
        )
        return generations.publish(newest + 1, repeated)

    def _store_time(self) -> float:
        """POSIX seconds by the store's own clock; who only looks, and may not write, takes that of this machine."""
        try:
            return store_time(self._tree.store)
        except BackendPermissionError:
            if self._apply:
                raise
            return time.time()


def _read(generations: Generations, listed: Iterable[int]) -> tuple[dict[int, Head], dict[int, CorruptManifest]]:
    """Return the heads of generations that can be read, and what is wrong with the others."""
    heads: dict[int, Head] = {}
    damaged: dict[int, CorruptManifest] = {}
    for number in listed:
        try:
            head = generations.read(number)
        except NewerFormat:
            raise
        except CorruptManifest as error:
            damaged[number] = error
        else:
            if head is not None:
                heads[number] = head
    return heads, damaged


def _needless(of_name: _Found, dead: list[_Data], published: set[str | None], before: float) -> list[BegunRecord]:
    """Return the records of uploads that are published, or of which nothing is left beside what goes now."""
    gone = {item.info.key for item in dead}
    left = {item.op for item in of_name.data if item.info.key not in gone}
    return [
        record
        for record in of_name.begun
        if record.info.modified <= before and (record.op in published or record.op not in left)
    ]
