"""The collector: removes what no kept generation refers to, without ever harming a writer that is under way.

Before it deletes anything under a name it publishes a generation that repeats the newest head. A writer that planned
against the head below loses its race, looks again, and finds its own upload fenced or the files it counts on kept.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import uuid4

from attrs import evolve, frozen

from t9k.em.backend import SweepsTemporary
from t9k.em.errors import BackendPermissionError, CorruptManifest, NotFound
from t9k.em.names import fold, random_text
from t9k.em.records import Body, Garbage, ObjectInfo, utc_text
from t9k_em_backends.tree.foreign import is_of_upload, nameable, op_at
from t9k_em_backends.tree.growing import grown_prefix, publication, repeats
from t9k_em_backends.tree.heads import Head, file_key, folder_prefix, manifest_key

if TYPE_CHECKING:
    from t9k_em_backends.tree.backend import TreeBackend
    from t9k_em_backends.tree.generations import Generations

TRIES = 5

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class _Data:
    """One object of some upload."""

    info: ObjectInfo
    op: str


class Collector:
    """One collection over a part of the tree.

    Args:
        tree: The backend to collect in.
        grace_s: Only what is older than so many seconds by the store's clock.
        keep_versions: Generations of each node to keep beside those that were newest within the grace; at least 1.
        apply: Whether to delete.
    """

    def __init__(self, tree: TreeBackend, *, grace_s: float, keep_versions: int, apply: bool) -> None:
        self._tree = tree
        self._grace_s = grace_s
        self._keep_versions = max(1, keep_versions)
        self._apply = apply

    def collect(self, path: str) -> Garbage:
        """Looks below a folder or node; see `t9k.em.backend.Collects`."""
        before = self._store_time() - self._grace_s
        found: list[ObjectInfo] = []
        for (folder, _), data in sorted(self._data(path).items()):
            if any(item.info.modified <= before for item in data):
                name = data[0].info.key[len(folder_prefix(folder)) :].split("/")[0]
                try:
                    found += self._collect_name(folder, name, data, before)
                except CorruptManifest as error:
                    _log.warning("nothing is collected of %r in %s: %s", name, folder, error)
        store = self._tree.store
        if path == "/" and isinstance(store, SweepsTemporary):
            # In the rest of a bucket others upload in parts too.
            swept = [info for info in store.sweep(self._grace_s) if is_of_upload(info.key)]
            found += swept
            if self._apply:
                store.remove_swept(swept)
        return Garbage(objects=tuple(found), applied=self._apply)

    def _data(self, path: str) -> dict[tuple[str, str], list[_Data]]:
        """All objects of uploads below a path, by folder and folded name; anything else in the store is not ours."""
        found: dict[tuple[str, str], list[_Data]] = defaultdict(list)
        for info in nameable(self._tree.store.list(folder_prefix(path))):
            components = info.key.split("/")
            depth = op_at(components)
            if depth:
                folder = "/" + "/".join(components[: depth - 1])
                found[folder, fold(components[depth - 1])].append(_Data(info=info, op=components[depth]))
        return found

    def _collect_name(self, folder: str, name: str, data: list[_Data], before: float) -> list[ObjectInfo]:
        generations = self._tree.generations(folder, name)
        for _ in range(TRIES):
            listed = generations.listed()
            newest = max(listed, default=0)
            heads = {number: head for number in listed if (head := generations.read(number)) is not None}
            if len(heads) < len(listed):  # on half knowledge nothing is deleted
                continue
            collected = heads[newest].collected if heads else 0
            kept = [number for number in self._kept(listed, heads, before) if number == newest or number > collected]
            try:
                needed = {key for number in kept for key in self._needs(folder, heads[number])}
            except NotFound:  # another collector was faster; with a list of files missing for good nothing is collected
                continue
            grown = self._grown(folder, newest, heads)
            dead = [
                item
                for item in data
                if item.info.key not in needed and item.info.modified <= before and not item.info.key.startswith(grown)
            ]
            if not dead or not self._apply:
                return [item.info for item in dead]
            published = {head.op for head in heads.values()}
            fence = {item.op for item in dead if item.op not in published}
            if self._fence(generations, newest, heads.get(newest), name, fence, min(kept, default=1) - 1):
                self._tree.store.delete(item.info.key for item in dead)
                return [item.info for item in dead]
        return []

    def _kept(self, listed: dict[int, ObjectInfo], heads: dict[int, Head], before: float) -> list[int]:
        """The generations to keep: of the last versions, and of those that were still the newest within the grace."""
        kept: list[int] = []
        versions, superseded = 0, math.inf
        for number in sorted(heads, reverse=True):
            above = heads.get(number + 1)
            if above is None or not repeats(above, heads[number]):
                versions += 1
                superseded = listed[number + 1].modified if above is not None else math.inf
            if versions <= self._keep_versions or superseded > before:
                kept.append(number)
        return kept

    def _grown(self, folder: str, newest: int, heads: dict[int, Head]) -> tuple[str, ...]:
        """The prefixes of what was appended to the newest generation."""
        head = heads.get(newest)
        op = publication(newest, head, heads.get) if head is not None and head.ready else None
        return (grown_prefix(folder, head.name, op),) if head is not None and op is not None else ()

    def _needs(self, folder: str, head: Head) -> Iterable[str]:
        """The keys that a head refers to."""
        if head.manifest is not None:
            yield manifest_key(folder, head.name, head.manifest)
        for file in self._tree.entries(folder, head).values():
            yield file_key(folder, head.name, file)

    def _fence(
        self, generations: Generations, newest: int, head: Head | None, name: str, fence: set[str], collected: int
    ) -> bool:
        """Publishes a generation that repeats the newest head; False when a writer was faster."""
        if head is None:
            head = Head(
                write_id="",
                kind="",
                state="deleted",
                name=name,
                id="",
                writer=self._tree.writer(),
                time=utc_text(self._tree.clock()),
            )
        repeated = evolve(
            head,
            write_id=uuid4().hex,
            op=None,
            fenced=tuple(sorted({*head.fenced, *fence})),
            collected=max(head.collected, collected),
        )
        return generations.publish(newest + 1, repeated)

    def _store_time(self) -> float:
        """POSIX seconds by the store's own clock, taken from an object that is written for this."""
        key = f".em/clock/{random_text(16)}"
        try:
            now = self._tree.store.put(key, Body.of(b"")).modified
            self._tree.store.delete([key])
        except BackendPermissionError:
            if self._apply:
                raise
            return time.time()
        return now
