"""Look through the records of a store for damage: heads, lists of files, listing caches, and whether the files are there.

Somebody may write, delete or collect meanwhile: what is found wrong under a name counts only if no generation came on top.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import define, evolve, field, frozen

from t9k.em.errors import BackendError, CorruptData, CorruptManifest, NotFound
from t9k.em.names import encode_component, fold, is_within, join, parent_and_name
from t9k.em.records import FOLDER, Flaw, ObjectInfo
from t9k_em_backends.tree import values
from t9k_em_backends.tree.foreign import nameable, split_upload
from t9k_em_backends.tree.heads import (
    Head,
    file_key,
    folder_prefix,
    head_key,
    heads_prefix,
    index_key,
    split_head_key,
)
from t9k_em_backends.tree.index import MAX_INDEX_BYTES, index_rows, row_key, to_row
from t9k_em_backends.tree.json_members import decoded, members
from t9k_em_backends.tree.order import is_name_in_key, newest_heads

if TYPE_CHECKING:
    from t9k_em_backends.tree.generations import Generations
    from t9k_em_backends.tree.tree import Tree

TRIES = 3


@frozen(kw_only=True)
class Place:
    """The record that a flaw is about.

    Attributes:
        folder: Path of the folder.
        c: The folded, encoded name in it; '' for the folder itself.
        generation: Of the record; 0 where it is about none.
        name: How the name is spelled, where it is that of a folder with something in it; '' otherwise.
    """

    folder: str
    c: str = ""
    generation: int = 0
    name: str = ""


@define
class _Name:
    """What a check knows of one name.

    Attributes:
        newest: The newest generation and its head, None where that is damaged.
        flaws: What is wrong.
    """

    newest: tuple[int, Head | None] = (0, None)
    flaws: list[Flaw] = field(factory=list)


class Checker:
    """One look through a part of the tree.

    Args:
        tree: The tree.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def flaws(self, path: str) -> Iterator[Flaw]:
        """See `t9k.em.backend.ChecksRecords`."""
        names, folders = self._names(path)
        newest: dict[str, dict[str, tuple[int, Head | None]]] = defaultdict(dict)
        for folder, c in sorted(names):
            found = self._name(folder, c, folders.get((folder, c), ""))
            yield from found.flaws
            newest[folder][c] = found.newest
        for folder, heads in newest.items():
            if is_within(folder, path):
                yield from self._folder(folder, heads, newest)
            yield from self._cache(folder, heads)

    def _names(self, path: str) -> tuple[set[tuple[str, str]], dict[tuple[str, str], str]]:
        """Return the names that have heads, by folder and folded name; and of those that are folders with something in them, the spelling."""
        names: set[tuple[str, str]] = set()
        folder, name = parent_and_name(path)
        own = self._tree.store.list(heads_prefix(folder, name)) if name else ()
        for infos in (own, self._tree.store.list(folder_prefix(path))):
            for info in nameable(infos):
                parts = split_head_key(info.key)
                if parts and parts[2] and is_name_in_key(parts[1]) and split_upload(info.key) is None:
                    names.add(("/" + parts[0][:-1], parts[1]))
        spelled = {}
        for inside, _ in names:
            above, name = parent_and_name(inside)
            spelled[above, encode_component(fold(name))] = name
        return names, spelled

    def _generations(self, folder: str, c: str) -> Generations:
        return evolve(self._tree.generations(folder, ""), prefix=f"{heads_prefix(folder)}{c}/")

    def _name(self, folder: str, c: str, spelled: str) -> _Name:
        """Look at one name; again, when somebody published meanwhile."""
        generations = self._generations(folder, c)
        found = _Name()
        for _ in range(TRIES):
            listed = generations.listed()
            found = self._look(folder, c, generations, listed, spelled)
            if not found.flaws or max(generations.listed(), default=0) == max(listed, default=0):
                break
        return found

    def _look(
        self, folder: str, c: str, generations: Generations, listed: Mapping[int, ObjectInfo], spelled: str
    ) -> _Name:
        found = _Name(newest=(max(listed, default=0), None))
        heads: dict[int, Head] = {}
        for number in range(found.newest[0], 0, -1):
            place = Place(folder=folder, c=c, generation=number, name=spelled)
            flaw = functools.partial(
                Flaw,
                path=_version(join(folder, spelled or unquote(c)), number, found.newest[0]),
                key=head_key(generations.prefix, number),
                handle=place,
            )
            try:
                head = generations.read(number)
            except values.NewerFormat as error:
                found.flaws.append(flaw(kind="unread", problem=str(error)))
            except CorruptManifest as error:
                found.flaws.append(flaw(kind="record", problem=str(error)))
            except BackendError as error:
                found.flaws.append(flaw(kind="unread", problem=str(error)))
            else:
                if head is None:
                    problem = f"the record of version {number} is not there, although later ones are"
                    found.flaws.append(flaw(kind="chain", problem=problem))
                else:
                    heads[number] = head
        head = heads.get(found.newest[0])
        found.newest = (found.newest[0], head)
        if head is not None:
            found.flaws += self._files(folder, heads, found.newest[0], head.collected)
        return found

    def _files(self, folder: str, heads: Mapping[int, Head], newest: int, collected: int) -> Iterator[Flaw]:
        """Yield the flaws in the lists of the versions that can be read, and the files of these that are missing."""
        listed: dict[str, dict[str, int]] = {}
        seen: set[str] = set()
        for number, head in heads.items():
            if not head.ready or head.kind == FOLDER or (number != newest and number <= collected):
                continue
            path = _version(join(folder, head.name), number, newest)
            try:
                entries = self._tree.entries(folder, head)
            except (CorruptData, NotFound) as error:
                yield Flaw(kind="list", path=path, problem=str(error))
                continue
            except BackendError as error:
                yield Flaw(kind="unread", path=path, problem=str(error))
                continue
            prefix = f"{folder_prefix(folder)}{head.name}/"
            if entries and prefix not in listed:
                listed[prefix] = {info.key: info.size for info in self._tree.store.list(prefix)}
            for file in entries.values():
                key = file_key(folder, head.name, file)
                size = listed[prefix].get(key)
                if size != file.size and key not in seen:
                    yield _misfit(path, file.key, file.size, size)
                seen.add(key)

    def _folder(
        self,
        folder: str,
        heads: Mapping[str, tuple[int, Head | None]],
        newest: Mapping[str, Mapping[str, tuple[int, Head | None]]],
    ) -> Iterator[Flaw]:
        """Yield the flaw of a folder that has content and does not exist itself."""
        there = sorted(head.name for _, head in heads.values() if head is not None and head.ready)
        above, name = parent_and_name(folder)
        if not name or not there:
            return
        c = encode_component(fold(name))
        generation, head = newest.get(above, {}).get(c, (0, None))
        is_damaged = generation and head is None
        if not is_damaged and (head is None or not head.ready or (head.kind, head.name) != (FOLDER, name)):
            yield Flaw(
                kind="chain",
                path=folder,
                problem=f"the folder is not there, although {len(there)} nodes are in it, {there[0]!r} for one",
                handle=Place(folder=folder),
            )

    def _cache(self, folder: str, heads: Mapping[str, tuple[int, Head | None]]) -> Iterator[Flaw]:
        """Yield the flaw of a listing cache that differs from the heads."""
        key = index_key(folder)
        flaw = functools.partial(Flaw, kind="listing", path=folder, key=key, handle=Place(folder=folder))
        try:
            for _ in members(
                decoded(self._tree.store.get(key, 0, MAX_INDEX_BYTES + 1), MAX_INDEX_BYTES), "rows", 1, key
            ):
                pass
        except (NotFound, values.NewerFormat):
            return
        except values.FLAWS as error:
            yield flaw(problem=f"the listing cache is damaged: {error}")
            return
        expected = {}
        for found in newest_heads(self._tree.store, folder):
            generation, head = heads.get(found.c, (0, None))
            if head is not None and generation == found.generation:
                expected[row_key(found.c, generation, found.info)] = to_row(generation, head)
        rows = index_rows(self._tree.store, folder)
        wrong = sorted(row["name"] for of_row, row in rows if row != expected.get(of_row, row))
        if wrong:
            yield flaw(problem=f"the listing cache says something else than the records of {len(wrong)}: {wrong[0]!r}")


def _misfit(path: str, key: str, size: int, there: int | None) -> Flaw:
    if there is None:
        return Flaw(kind="missing", path=path, key=key, problem=f"its {size} bytes are not there")
    return Flaw(kind="rot", path=path, key=key, problem=f"it has {there} bytes and not {size}")


def _version(path: str, number: int, newest: int) -> str:
    return path if number == newest else f"{path}@{number}"
