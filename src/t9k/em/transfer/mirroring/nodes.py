"""Bring one run or artifact in the target up to date with the source; safe to repeat, at any time and anywhere."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from t9k.em.backend import NotesDamage
from t9k.em.errors import BackendError, Conflict, CorruptData, EMError, NotFound
from t9k.em.names import parent_and_name
from t9k.em.records import ARTIFACT, FileEntry, FileSpec, Node, Outcome
from t9k.em.transfer.copying import copy_version
from t9k.em.transfer.mirroring.deletions import MaxDelete
from t9k.em.transfer.mirroring.histories import Version, history, lacking, newest, version_of
from t9k.em.transfer.mirroring.ops import FixedOp
from t9k.em.transfer.mirroring.report import Action, Entry
from t9k.em.transfer.progress import Progress
from t9k.em.transfer.sources import fetch

if TYPE_CHECKING:
    from t9k.em.backend import Backend

_TRIES = 3


class _Overtaken(BackendError):
    """Somebody else wrote to the node in the target meanwhile."""


@frozen(kw_only=True)
class Item:
    """One node to be looked at.

    Attributes:
        path: Relative to the folder that is mirrored.
        source: Absolute path in the source.
        target: Absolute path in the target.
        kind: As the listing of the source had it; likewise the others.
        id: UUID.
        files: Number of files.
        size: Of these, in bytes.
    """

    path: str
    source: str
    target: str
    kind: str
    id: str
    files: int
    size: int


@frozen(kw_only=True)
class Options:
    """What is asked for.

    Attributes:
        history: Whether all versions are mirrored, and not only the newest.
        delete: Whether a node of another kind may be deleted to make room.
        max_delete: How much may be deleted.
        apply: Whether anything is changed.
        verify: Whether the bytes of the newest version in the target are read and compared.
    """

    history: bool = True
    delete: bool = False
    max_delete: MaxDelete = field(factory=MaxDelete)
    apply: bool = True
    verify: bool = False


@frozen(kw_only=True)
class Mirrored:
    """What became of one node.

    Attributes:
        entry: For the report.
        item: What it is about.
        source: Which generation of the source that is, see `fingerprint`; '' after a failure.
        target: Likewise in the target.
    """

    entry: Entry
    item: Item
    source: str = ""
    target: str = ""


@frozen(kw_only=True)
class _Pair:
    """Both sides of one node, as they are now.

    Attributes:
        wanted: The versions of the source, the oldest first.
        there: The versions of the target, the oldest first.
        lacking: What the target lacks.
    """

    wanted: Sequence[Version]
    there: Sequence[Version]
    lacking: Sequence[Version] = field()

    @property
    def action(self) -> Action:
        if not self.lacking:
            return Action.UNCHANGED
        if not self.there or not self.there[-1].is_node:
            return Action.ADD
        return Action.UPDATE if self.there[-1].node.id == self.wanted[-1].node.id else Action.REPLACE


class Count:
    """Counts what is written, and tells it on, but no more than was announced: older versions come on top of that.

    Args:
        item: What was announced.
        progress: Receives it as well.
    """

    def __init__(self, item: Item, progress: Progress) -> None:
        self.files = 0
        self.size = 0
        self._left = [item.files, item.size]
        self._lock = threading.Lock()
        self._progress = progress

    def start(self, what: str, files: int, size: int) -> None:
        """See `Progress`; what is in progress has started before."""

    def advance(self, files: int, size: int) -> None:
        """See `Progress`."""
        with self._lock:
            self.files += files
            self.size += size
            told = min(files, self._left[0]), min(size, self._left[1])
            self._left = [self._left[0] - told[0], self._left[1] - told[1]]
        self._progress.advance(*told)

    def finish(self) -> None:
        """Nothing more comes of this node."""
        self._progress.advance(*self._left)


def fingerprint(node: Node) -> str:
    """Identify one generation by its entry in a listing."""
    parts = (node.id, node.generation, node.modified, node.file_count, node.size)
    return " ".join(map(str, parts))


def mirror_node(source: Backend, target: Backend, item: Item, options: Options, progress: Progress) -> Mirrored:
    """Compare a node, publish in the target what that lacks, and compare again.

    Args:
        source: Where it is.
        target: Where it goes.
        item: Which node.
        options: What is asked for.
        progress: Receives the number of bytes written.

    Returns:
        What became of it; an error is part of that.
    """
    count = Count(item, progress)
    try:
        done = _mirror_newest(source, target, item, options, count)
    except (EMError, OSError) as error:
        done = Mirrored(entry=failed(item.path, item.kind, str(error), id=item.id), item=item)
    if options.apply:
        done = evolve(done, entry=evolve(done.entry, moved_files=count.files, moved=count.size))
    count.finish()
    return done


def failed(path: str, kind: str, problem: str, *, id: str = "") -> Entry:
    """Return the entry for what could not be done."""
    return Entry(path=path, kind=kind, id=id, action=Action.FAILED, problem=problem)


def _mirror_newest(source: Backend, target: Backend, item: Item, options: Options, count: Count) -> Mirrored:
    """Mirror a node; look again when somebody else wrote to either side meanwhile."""
    pair = _look(source, target, item, options)
    for _ in range(_TRIES - 1):
        try:
            return _mirror(source, target, item, pair, options, count)
        except _Overtaken:
            pair = _look(source, target, item, options)
        except (NotFound, CorruptData):  # a newer version came, perhaps, and what was read was collected
            again = _look(source, target, item, options)
            if again.wanted[-1].node.generation == pair.wanted[-1].node.generation:
                raise
            pair = again
    return _mirror(source, target, item, pair, options, count)


def _mirror(source: Backend, target: Backend, item: Item, pair: _Pair, options: Options, count: Count) -> Mirrored:
    last = pair.wanted[-1]
    entry = Entry(
        path=item.path,
        kind=last.node.kind,
        id=last.node.id,
        action=pair.action,
        files=last.node.file_count,
        size=last.node.size,
        artifacts=_artifacts(last.node),
    )
    if not pair.lacking:
        found, fixed = _repair(source, target, item, pair, options, count)
        if fixed:
            size = sum(file.size for file in fixed)
            entry = evolve(entry, action=Action.UPDATE, versions=1, moved_files=len(fixed), moved=size)
    elif not options.apply:
        _check_kind(item, pair, options)
        moved = _missing(source, target, pair)
        return Mirrored(
            entry=evolve(
                entry,
                versions=sum(version.is_node for version in pair.lacking),
                moved_files=len(moved),
                moved=sum(file.size for file in moved),
            ),
            item=item,
        )
    else:
        versions, problems = _send(source, target, item, pair, options, count)
        entry = evolve(entry, versions=versions, problem="; ".join(problems))
        now = version_of(target, target.stat(item.target))
        if now is None or now.content != last.content:
            raise _overtaken(target, item)
        found = now
    return Mirrored(
        entry=evolve(entry, digest=found.digest),
        item=item,
        source=fingerprint(last.node),
        target=fingerprint(found.node),
    )


def _look(source: Backend, target: Backend, item: Item, options: Options) -> _Pair:
    look = history if options.history else newest
    wanted = look(source, item.source)
    while wanted and not wanted[0].is_node:
        wanted.pop(0)
    if not wanted or not wanted[-1].is_node:
        raise NotFound(f"{item.source} in {source.uri} was deleted meanwhile; mirror again")
    there = look(target, item.target)
    return _Pair(wanted=wanted, there=there, lacking=lacking(wanted, there))


def _check_kind(item: Item, pair: _Pair, options: Options) -> None:
    """Refuse to put an artifact in the place of a run, or the reverse."""
    old = pair.there[-1] if pair.there else None
    new = pair.lacking[0]
    if old is not None and old.is_node and new.is_node and old.node.kind != new.node.kind and not options.delete:
        raise Conflict(
            f"{item.target} is of kind {old.node.kind} in the target, and of kind {new.node.kind} in the source; "
            "delete it, or mirror with delete=True"
        )


def _send(
    source: Backend, target: Backend, item: Item, pair: _Pair, options: Options, count: Count
) -> tuple[int, list[str]]:
    """Publish what the target lacks, version by version.

    Returns:
        How many were published, and what is wrong with older versions that could not be.
    """
    _check_kind(item, pair, options)
    folder = parent_and_name(item.target)[0]
    sent, problems = 0, []
    below = pair.there[-1].node.generation if pair.there else 0
    kind = pair.there[-1].node.kind if pair.there and pair.there[-1].is_node else None
    for version in pair.lacking:
        node = version.node
        is_last = version is pair.wanted[-1]
        if kind is not None and (not version.is_node or node.kind != kind):
            try:
                target.delete(item.target, generation=below)
            except (Conflict, NotFound) as error:
                raise _overtaken(target, item) from error
            below = newest(target, item.target)[-1].node.generation
            kind = None
        if not version.is_node:
            continue
        seed = f"{item.target}\0{version.content}\0{below}"
        try:
            if not is_last:
                try:
                    node = source.stat(f"{item.source}@{node.generation}")
                except NotFound:  # collected
                    continue
            _, published = copy_version(
                source,
                node,
                target,
                folder,
                strategy="replace",
                make_folder=True,
                journal=FixedOp(seed, node.modified),
                since=below,
                progress=count,
            )
        except (NotFound, CorruptData) as error:
            if is_last:
                raise
            problems.append(f"version {node.generation} could not be read: {error}")
            continue
        sent, below, kind = sent + 1, published.generation, published.kind
    return sent, problems


def _repair(
    source: Backend, target: Backend, item: Item, pair: _Pair, options: Options, count: Count
) -> tuple[Version, Sequence[FileEntry]]:
    """Publish the newest version again, where the target has it but not all of its files whole.

    Returns:
        The version that is there now, and the files that were damaged.
    """
    there = pair.there[-1]
    lacking = _lacking_files(target, there.node, options)
    if not lacking or not options.apply:
        return there, lacking
    below, last = there.node.generation, pair.wanted[-1]
    outcome, published = copy_version(
        source,
        last.node,
        target,
        parent_and_name(item.target)[0],
        strategy="replace",
        journal=FixedOp(f"{item.target}\0{last.content}\0{below}", last.node.modified),
        since=below,
        progress=count,
    )
    if outcome is Outcome.UNCHANGED:  # all is right when one looks closer
        return there, ()
    now = version_of(target, published)
    if now is None or now.content != there.content:
        raise _overtaken(target, item)
    return now, lacking


def _lacking_files(target: Backend, node: Node, options: Options) -> Sequence[FileEntry]:
    """Return the files of a node that the target does not have whole, by what it tells or, to verify, by reading them."""
    if not options.verify:
        return target.lacks(node) if isinstance(target, NotesDamage) else ()

    def is_damaged(file: FileEntry) -> bool:
        try:
            for _ in fetch(target, node, file, note=options.apply):
                pass
        except NotFound:
            return True
        except CorruptData:
            if options.apply and not isinstance(target, NotesDamage):
                raise
            return True
        return False

    return [file for file in target.files(node) if is_damaged(file)]


def _overtaken(target: Backend, item: Item) -> _Overtaken:
    return _Overtaken(f"{item.target} in {target.uri} was written by somebody else meanwhile; mirror again")


def _missing(source: Backend, target: Backend, pair: _Pair) -> list[FileSpec]:
    """Return the files that would have to be written."""
    base: Mapping[str, FileSpec] = {}
    if pair.there and pair.there[-1].is_node:
        base = {file.key: file.spec for file in target.files(pair.there[-1].node)}
    moved: list[FileSpec] = []
    for version in pair.lacking:
        files = {file.key: file.spec for file in source.files(version.node)} if version.is_node else {}
        moved += [spec for key, spec in files.items() if base.get(key) != spec]
        base = files
    return moved


def _artifacts(node: Node) -> tuple[str, ...]:
    """Return the ids of the artifacts that a run refers to; its metadata may come from anybody."""
    associations = node.metadata.get("associations")
    sides = associations.values() if isinstance(associations, Mapping) else ()
    records = [record for side in sides if isinstance(side, Sequence) for record in side if isinstance(record, Mapping)]
    return tuple(sorted({str(record["id"]) for record in records if record.get("type") == ARTIFACT and "id" in record}))
