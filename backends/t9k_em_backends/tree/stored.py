"""The files of a node as the store has them: listed, compared with what a head says of them, and noted when damaged.

A file `key` of an upload that was found damaged has an object beside it, which says so to every later upload::

    F/<name>/<op>/.em/corrupt/<first 32 digits of the SHA-256 of key>
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from t9k.em.backend import ObjectStore, RecognizesContent
from t9k.em.backend.abilities import can
from t9k.em.chunks import sha256_of
from t9k.em.errors import NotFound
from t9k.em.records import Body, FileEntry, ObjectInfo, utc_text
from t9k_em_backends.tree.foreign import nameable
from t9k_em_backends.tree.heads import file_key, folder_prefix, upload_prefix
from t9k_em_backends.tree.values import dump_json

if TYPE_CHECKING:
    from t9k_em_backends.tree.tree import Tree

FEW_OPS = 4
FEW_GENERATIONS = 32

_CORRUPT = ".em/corrupt/"


def damage_key(folder: str, name: str, file: FileEntry) -> str:
    """Return the key of the object which says that a file is damaged."""
    return f"{upload_prefix(folder, name, file.op)}{_damaged(file.key)}"


def note_damage(tree: Tree, folder: str, name: str, file: FileEntry) -> None:
    """Write down that the bytes of a file are not those that were uploaded.

    Raises:
        BackendPermissionError: The user may not write there.
    """
    said = {"key": file.key, "time": utc_text(tree.clock()), "writer": tree.writer()}
    tree.store.put(damage_key(folder, name, file), Body.of(dump_json(said)))


@frozen(kw_only=True)
class Listed:
    """What lies under a name, as the store lists it.

    Attributes:
        objects: By upload and key within it.
    """

    objects: Mapping[tuple[str, str], ObjectInfo]

    @classmethod
    def of(cls, store: ObjectStore, folder: str, name: str, ops: Collection[str], generation: int) -> Listed:
        """List the files of some uploads; with one listing, unless there are few of many.

        Args:
            store: Where they lie.
            folder: Absolute path.
            name: Of the node.
            ops: The uploads that are of interest.
            generation: How many generations there are.
        """
        below = f"{folder_prefix(folder)}{name}/"
        one_by_one = len(ops) <= (FEW_OPS if generation > FEW_GENERATIONS else 1)
        prefixes = [upload_prefix(folder, name, op) for op in sorted(ops)] if one_by_one else [below]
        objects = {}
        for prefix in prefixes:
            for info in nameable(store.list(prefix)):
                op, _, key = info.key[len(below) :].partition("/")
                if op in ops:
                    objects[op, key] = info
        return cls(objects=objects)

    def under(self, op: str) -> dict[str, ObjectInfo]:
        """Return the files of one upload, by key."""
        return {key: info for (of, key), info in self.objects.items() if of == op}

    def is_noted(self, file: FileEntry) -> bool:
        """Return whether somebody found a file damaged."""
        return (file.op, _damaged(file.key)) in self.objects

    def get(self, file: FileEntry) -> ObjectInfo | None:
        """Return the object that a file is, unless it is missing, of another size or known to be damaged."""
        info = self.objects.get((file.op, file.key))
        if info is None or info.size != file.size or info.sha256 not in ("", file.sha256) or self.is_noted(file):
            return None
        return info


def is_as_told(store: ObjectStore, file: FileEntry, info: ObjectInfo) -> bool | None:
    """Return whether the ETag of an object is the one in the record; None where ETags tell nothing."""
    if can(store, RecognizesContent) and file.etag and info.etag:
        return file.etag == info.etag
    return None


@frozen(kw_only=True)
class Comparison:
    """Compare files that a head refers to with the store.

    Attributes:
        tree: The tree.
        folder: Absolute path.
        name: Of the node.
        level: See `t9k.em.records.UploadRequest.compare`.
        bodies: The bytes of files by key, as far as they are at hand.
    """

    tree: Tree
    folder: str
    name: str
    level: str
    bodies: Mapping[str, Body]

    def kept(self, files: Iterable[FileEntry], listed: Listed) -> dict[str, FileEntry]:
        """Those of the files that the store has, by key, each with the ETag that it has now.

        What turns out to be damaged only when it is read is noted.
        """
        kept: dict[str, FileEntry] = {}
        doubtful: list[tuple[FileEntry, ObjectInfo]] = []
        for file in files:
            info = listed.get(file)
            if info is not None and self._is_certain(file, info):
                kept[file.key] = file
            elif info is not None:
                doubtful.append((file, info))
        return kept | self._read(doubtful)

    def _is_certain(self, file: FileEntry, info: ObjectInfo) -> bool:
        """Return whether an object of the right size needs no further look."""
        is_told = is_as_told(self.tree.store, file, info)
        return self.level == "listing" or bool(info.sha256) if is_told is None else is_told

    def _read(self, doubtful: Sequence[tuple[FileEntry, ObjectInfo]]) -> dict[str, FileEntry]:
        if not doubtful:
            return {}
        if min(self.tree.store.parallelism, len(doubtful)) <= 1:
            right = [self._holds(*item) for item in doubtful]
        else:
            with ThreadPoolExecutor(max_workers=min(self.tree.store.parallelism, len(doubtful))) as pool:
                right = list(pool.map(lambda item: self._holds(*item), doubtful))
        kept = {}
        for (file, info), is_right in zip(doubtful, right, strict=True):
            if is_right:
                kept[file.key] = evolve(file, etag=info.etag) if file.etag else file
            else:
                note_damage(self.tree, self.folder, self.name, file)
        return kept

    def _holds(self, file: FileEntry, info: ObjectInfo) -> bool:
        """Return whether an object has the bytes of a file: by its ETag and the body at hand, or by reading the object."""
        store, body = self.tree.store, self.bodies.get(file.key)
        if body is not None and isinstance(store, RecognizesContent) and store.recognizes(info, body):
            return True
        try:
            return sha256_of(store.get(file_key(self.folder, self.name, file))) == file.sha256
        except NotFound:  # collected a moment ago
            return False


def _damaged(key: str) -> str:
    return f"{_CORRUPT}{hashlib.sha256(key.encode()).hexdigest()[:32]}"
