"""Join two states of one run or artifact that came from the same version, where nothing of either is lost.

Three states are compared: `base`, the newest version that this copy comes from; `theirs`, the newest one there is; and `mine`, what
the copy holds. Each field of the metadata and each file is taken from the one that has changed it. Of a file that grows, where one is the
beginning of the other, the longer one is taken. Whatever both have changed otherwise is a conflict.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from attrs import field, frozen

from t9k.em.errors import CorruptData, NotFound
from t9k.em.local.layout import DIFF, ERROR, GIT, HPARAMS, INDEX, LOG, METADATA, METRICS, OBJECTS, PACKAGES, PLATFORM
from t9k.em.names import join
from t9k.em.records import ARTIFACT, CHUNK_BYTES, RUN, Body, FileEntry, Node
from t9k.em.transfer.sources import fetch

if TYPE_CHECKING:
    from t9k.em.backend import Backend

MISSING: Final = object()
"""In place of a value that is not there."""

_WHOLE: Final = {RUN: (PLATFORM, GIT, PACKAGES, DIFF, ERROR), ARTIFACT: (INDEX,)}
_IN_MEMORY_BYTES = 8 << 20
_MOST_BYTES = 64 << 20


class CannotMerge(Exception):
    """Both have changed the same; the message names the fields and files."""


@frozen(kw_only=True)
class Versions:
    """Two versions in a backend.

    Attributes:
        theirs: The newest one.
        base: The newest one that the copy comes from; None when it comes from none of them.
    """

    theirs: Node
    base: Node | None


@frozen(kw_only=True)
class Merge:
    """What a copy has to take over, after which it comes from the newest version.

    Attributes:
        metadata: Field -> its value; of associations `('associations', side)`.
        hparams: Key -> its value, or `MISSING` for one to be removed.
        tails: Files that grow -> what follows in the newest version; to be closed.
        files: Files -> their bytes, None for one to be removed.
        origin: The newest version, as `origin` of the local state has it.
        is_changed: Whether the copy holds anything that its base does not.
    """

    metadata: Mapping[tuple[str, ...], Any] = field(factory=dict)
    hparams: Mapping[str, Any] = field(factory=dict)
    tails: Mapping[str, BinaryIO] = field(factory=dict)
    files: Mapping[str, bytes | None] = field(factory=dict)
    origin: Mapping[str, Any] = field(factory=dict)
    is_changed: bool = True


def find_versions(
    backend: Backend, folder: str, names: Iterable[str], identity: str, ancestors: Iterable[str]
) -> Versions | None:
    """Return the newest version of a node and the one that a copy comes from.

    Args:
        backend: Where it is.
        folder: Its folder.
        names: What it may be called there, the likeliest first.
        identity: Its id.
        ancestors: See `t9k.em.local.descent`.
    """
    known = set(ancestors)
    for name in names:
        try:
            versions = backend.versions(join(folder, name))
        except NotFound:
            continue
        if versions[0].id == identity and not versions[0].deleted:
            base = next((node for node in versions if node.op in known and node.id == identity), None)
            return Versions(theirs=backend.stat(versions[0].path), base=base)
    return None


def plan(
    backend: Backend,
    versions: Versions,
    metadata: Mapping[str, Any],
    hparams: Mapping[str, Any],
    bodies: Mapping[str, Body],
) -> Merge:
    """Find out what a copy has to take over.

    Args:
        backend: Where the versions are.
        versions: See there.
        metadata: Of the copy.
        hparams: Of the copy; empty for an artifact.
        bodies: Its files.

    Raises:
        CannotMerge: Both have changed the same.
        BackendError: A file cannot be read.
    """
    return _Planner(backend, versions, bodies).plan(metadata, hparams)


class _Planner:
    def __init__(self, backend: Backend, versions: Versions, bodies: Mapping[str, Body]) -> None:
        self._backend = backend
        self._versions = versions
        self._mine = bodies
        self._theirs = {file.key: file for file in backend.files(versions.theirs)}
        self._base = self._files_of_base()
        self._conflicts: list[str] = []

    def plan(self, metadata: Mapping[str, Any], hparams: Mapping[str, Any]) -> Merge:
        base, theirs = self._versions.base, self._versions.theirs
        mine, before = _flat(metadata), None if base is None else _flat(base.metadata)
        if mine == before and self._base is not None and not any(map(self._changed_here, {*self._mine, *self._base})):
            return Merge(is_changed=False)
        fields = self._choose(mine, _flat(theirs.metadata), before, "{}".format)
        values = self._merge_hparams(hparams) if theirs.kind == RUN else {}
        tails: dict[str, BinaryIO] = {}
        files: dict[str, bytes | None] = {}
        for key in sorted({*self._mine, *self._theirs}):
            self._merge_file(key, tails, files)
        if self._conflicts:
            for opened in tails.values():
                opened.close()
            raise CannotMerge(", ".join(self._conflicts))
        return Merge(
            metadata={tuple(name.split("\0")): value for name, value in fields.items()},
            hparams=values,
            tails=tails,
            files=files,
            origin={"uri": self._backend.uri, "path": theirs.path, "generation": theirs.generation},
        )

    def _merge_file(self, key: str, tails: dict[str, BinaryIO], files: dict[str, bytes | None]) -> None:
        """Add what is to be taken over of one file."""
        kind = self._versions.theirs.kind
        if key in (METADATA, HPARAMS) or key.startswith(f"{OBJECTS}/") or (key == INDEX and kind == RUN):
            return  # metadata and hyperparameters by field, objects by their index; that of a run says what else is there
        if not self._differs(key) or (self._base is not None and not self._changed_there(key)):
            return
        if key == LOG or (key.startswith(f"{METRICS}/") and key.count("/") == 1):
            tail = self._grow(key)
            if tail is not None:
                tails[key] = tail
        elif key not in _WHOLE[kind]:
            self._conflicts.append(key)
        elif self._is_theirs(key):
            files[key] = self._read(self._theirs[key]) if key in self._theirs else None

    def _files_of_base(self) -> dict[str, FileEntry] | None:
        """Return the files of the base by key; None when it is not known."""
        if self._versions.base is None:
            return None
        try:
            return {file.key: file for file in self._backend.files(self._versions.base)}
        except NotFound:  # collected
            return None

    def _choose(
        self, mine: Mapping[str, Any], theirs: Mapping[str, Any], base: Mapping[str, Any] | None, named: Any
    ) -> dict[str, Any]:
        """Return the values that are to be taken over, `MISSING` for those to be removed."""
        taken: dict[str, Any] = {}
        for key in sorted({*mine, *theirs}):
            own, other = mine.get(key, MISSING), theirs.get(key, MISSING)
            before = own if base is None else base.get(key, MISSING)
            if _same(own, other) or (base is not None and _same(other, before)):
                continue
            if base is not None and _same(own, before):
                taken[key] = other
            else:
                self._conflicts.append(named(key.replace("\0", ".")))
        return taken

    def _merge_hparams(self, hparams: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._differs(HPARAMS) or (self._base is not None and not self._changed_there(HPARAMS)):
            return {}
        base = None
        if self._base is not None:
            try:
                base = self._mapping(self._backend_file(HPARAMS, is_base=True))
            except (NotFound, CorruptData):  # collected
                base = None
        return self._choose(hparams, self._mapping(self._backend_file(HPARAMS)), base, "hyperparameter {}".format)

    def _grow(self, key: str) -> BinaryIO | None:
        """Return the bytes to append to a growing file; None for nothing."""
        mine, theirs = self._mine.get(key), self._theirs.get(key)
        if theirs is None:
            if self._base is not None:  # it was removed there
                self._conflicts.append(key)
            return None
        if mine is not None and self._begins(mine, theirs):
            return None
        tail = self._tail(theirs, mine)
        if tail is None or (mine is None and self._base is not None and key in self._base):
            self._conflicts.append(key)
        return tail

    @staticmethod
    def _begins(body: Body, file: FileEntry) -> bool:
        """Return whether what is here begins with a file there."""
        if body.size < file.size:
            return False
        digest, left = hashlib.sha256(), file.size
        with body.open() as stream:
            while left and (data := stream.read(min(left, CHUNK_BYTES))):
                digest.update(data)
                left -= len(data)
        return not left and digest.hexdigest() == file.sha256

    def _tail(self, file: FileEntry, mine: Body | None) -> BinaryIO | None:
        """Return the bytes of the other file behind the bytes here; None for a file that begins with something else."""
        size = 0 if mine is None else mine.size
        if file.size < size:
            return None
        tail: Any = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - given to the caller
        digest, at = hashlib.sha256(), 0
        try:
            for chunk in fetch(self._backend, self._versions.theirs, file):
                head = max(0, min(size - at, len(chunk)))
                digest.update(chunk[:head])
                tail.write(chunk[head:])
                at += len(chunk)
        except BaseException:
            tail.close()
            raise
        if mine is not None and digest.hexdigest() != mine.sha256:
            tail.close()
            return None
        tail.seek(0)
        stream: BinaryIO = tail
        return stream

    def _is_theirs(self, key: str) -> bool:
        """Return whether a file that differs is to be taken over as a whole; of a copy without base what only one has is kept."""
        if self._base is None and (key not in self._mine or key not in self._theirs):
            return key in self._theirs
        if self._base is None or self._changed_here(key):
            self._conflicts.append(key)
            return False
        return True

    def _differs(self, key: str) -> bool:
        return _content(self._mine.get(key)) != _content(self._theirs.get(key))

    def _changed_here(self, key: str) -> bool:
        return _content(self._mine.get(key)) != _content((self._base or {}).get(key))

    def _changed_there(self, key: str) -> bool:
        return _content(self._theirs.get(key)) != _content((self._base or {}).get(key))

    def _backend_file(self, key: str, *, is_base: bool = False) -> bytes:
        node = self._versions.base if is_base else self._versions.theirs
        files = self._base if is_base else self._theirs
        if node is None or files is None or key not in files:
            return b""
        return self._read(files[key], node)

    def _read(self, file: FileEntry, node: Node | None = None) -> bytes:
        if file.size > _MOST_BYTES:
            self._conflicts.append(file.key)
            return b""
        return b"".join(fetch(self._backend, node or self._versions.theirs, file))

    @staticmethod
    def _mapping(data: bytes) -> Mapping[str, Any]:
        from t9k.em.local import yamlfile  # noqa: PLC0415 - YAML is slow to import

        found = yamlfile.load(data, what="hyperparameters") if data else {}
        return found if isinstance(found, dict) else {}


def _flat(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with each side of the associations as a field of its own, its name after a NUL."""
    flat = {name: value for name, value in metadata.items() if name != "associations"}
    sides = metadata.get("associations")
    if isinstance(sides, Mapping):
        flat.update({f"associations\0{side}": value for side, value in sides.items()})
    return flat


def _content(file: Body | FileEntry | None) -> tuple[int, str] | None:
    return None if file is None else (file.size, file.sha256)


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """All of a stream that is not read yet."""
    while data := stream.read(CHUNK_BYTES):
        yield data
