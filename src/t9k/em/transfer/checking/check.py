"""Check a place: what its records say, what lies there, and whether the bytes are those that were uploaded."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from t9k.em.backend import ChecksRecords, Collects, TellsLeftOut
from t9k.em.errors import BackendError, CorruptData, EMError, InvalidInput, NotFound
from t9k.em.names import join, split_version
from t9k.em.parallel import in_parallel
from t9k.em.records import FOLDER, FileEntry, Flaw, Listing, Node, utc_text
from t9k.em.transfer.checking.report import UNREAD, Found, Report, Unreferenced
from t9k.em.transfer.checking.sample import Sample
from t9k.em.transfer.damage import noting_damage
from t9k.em.transfer.progress import Progress, Silent
from t9k.em.transfer.sources import remote_body, verified

if TYPE_CHECKING:
    from t9k.em.backend import Backend

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Options:
    """What is asked for.

    Attributes:
        sample: Of which files the bytes are read.
        older_than_s: Only those of versions that were published longer ago than so many seconds; 0 for all.
        repair: Whether to fix what can be fixed.
    """

    sample: Sample = field(factory=Sample)
    older_than_s: float = 0.0
    repair: bool = False


@frozen(kw_only=True)
class _Item:
    """One file of one version.

    Attributes:
        path: The node, or 'path@3' for an older version.
        node: The version.
        file: The file.
    """

    path: str
    node: Node
    file: FileEntry

    @property
    def name(self) -> str:
        """What stands for its bytes: versions share files."""
        return f"{self.node.path}\n{self.file.op}\n{self.file.key}\n{self.file.sha256}"


def run_check(backend: Backend, path: str, options: Options, *, place: str, progress: Progress | None = None) -> Report:
    """Check a folder with all below it, a node with its versions, or one version.

    Args:
        backend: Where it is.
        path: Absolute path there, or 'path@3'.
        options: What is asked for.
        place: What the report calls it.
        progress: Receives the progress.

    Raises:
        NotFound: The path holds neither nodes nor damaged records.
        InvalidInput: Clients cannot repair what is there.
    """
    if options.repair and not isinstance(backend, ChecksRecords):
        raise InvalidInput(
            f"{backend.uri} is a server, whose store only its operator can repair: run em check on the root that it serves"
        )
    return _Check(backend, options, progress or Silent()).run(path, place)


@define
class _Check:
    """One check."""

    backend: Backend
    options: Options
    progress: Progress
    flaws: dict[tuple[str, str], Flaw] = field(factory=dict)
    repaired: dict[tuple[str, str], str] = field(factory=dict)
    known: set[str] = field(factory=set)
    partial: list[str] = field(factory=list)
    read_files: int = 0
    read_size: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)

    def run(self, path: str, place: str) -> Report:
        bare, version = split_version(path)
        backend = self.backend
        self.progress.start(f"looking through {path}", 0, 0)
        if isinstance(backend, ChecksRecords):
            for flaw in backend.flaws(bare):
                if version is None or flaw.path in (path, bare):
                    self._add(flaw)
                    self.known.add(flaw.path)
            if self.options.repair:  # first, so that what comes to light again is read too
                self._repair(backend)
        nodes = [node for node in self._nodes(path) if node.kind != FOLDER]
        versions = [
            found
            for each in in_parallel(partial(self._versions, alone=version is not None), nodes, "check", self._workers)
            for found in each
        ]
        items = [item for each in in_parallel(self._files, versions, "check", self._workers) for item in each]
        items = list({item.name: item for item in reversed(items)}.values())[::-1]
        chosen = self.options.sample.choose([item for item in items if self._is_due(item.node)], lambda item: item.name)
        self.progress.start(f"reading {path}", len(chosen), sum(item.file.size for item in chosen))
        in_parallel(self._read, chosen, "check", self._workers)
        if self.options.repair and isinstance(backend, ChecksRecords):
            self._put_back(backend, items)
        found = [Found(flaw=flaw, repaired=self.repaired.get(key, "")) for key, flaw in sorted(self.flaws.items())]
        return Report(
            place=place,
            nodes=len(nodes),
            versions=len(versions),
            files=len(items),
            size=sum(item.file.size for item in items),
            read_files=self.read_files,
            read=self.read_size,
            found=tuple(found),
            unreferenced=self._unreferenced(bare),
            partial=tuple(self.partial),
        )

    def _workers(self) -> int:
        return self.backend.parallelism

    def _add(self, flaw: Flaw) -> None:
        with self._lock:
            self.flaws.setdefault((flaw.path, flaw.key), flaw)

    def _nodes(self, path: str) -> Iterator[Node]:
        """Yield the node at a path, and all below it."""
        try:
            pending = [self.backend.stat(path)]
        except NotFound:
            if not self.flaws:
                raise
            return
        except CorruptData as error:
            self._fail(path, "record", error)
            return
        while pending:
            node = pending.pop()
            yield node
            if node.kind == FOLDER:
                try:
                    pending += self._children(node.path)
                except NotFound:  # deleted a moment ago
                    continue
                except BackendError as error:
                    self._add(Flaw(kind=UNREAD, path=node.path, problem=str(error)))

    def _children(self, folder: str) -> Sequence[Node]:
        backend = self.backend
        listing = backend.list_all(folder) if isinstance(backend, TellsLeftOut) else Listing(nodes=backend.list(folder))
        if not listing.is_whole:
            self.partial.append(folder)
        if not isinstance(backend, ChecksRecords):
            for name, problem in listing.damaged.items():
                self._add(Flaw(kind="record", path=join(folder, name), problem=problem))
        return listing.nodes

    def _versions(self, listed: Node, *, alone: bool) -> Sequence[tuple[str, Node]]:
        """Return the versions of a node that can be read, the newest first, each with the path that means it."""
        path = listed.path
        try:
            newest = listed if alone else self.backend.stat(path)
        except NotFound:  # deleted a moment ago
            return []
        except EMError as error:
            self._fail(path, "record", error)
            return []
        if newest.generation == listed.generation and _told(newest) != _told(listed):
            problem = "the listing of its folder says something else than its record"
            self._add(Flaw(kind="listing", path=path, problem=problem))
        if alone:
            return [(f"{path}@{newest.generation}", newest)]
        found = [(path, newest)]
        for number in self._older(newest):
            try:
                found.append((f"{path}@{number}", self.backend.stat(f"{path}@{number}")))
            except NotFound:  # a deletion, or collected
                continue
            except EMError as error:
                self._fail(f"{path}@{number}", "record", error)
        return found

    def _older(self, newest: Node) -> Sequence[int]:
        if newest.generation == 1:
            return []
        try:
            known = self.backend.versions(newest.path)
        except EMError:  # a damaged one hides the others
            return range(newest.generation - 1, 0, -1)
        return [node.generation for node in known if node.generation < newest.generation and not node.deleted]

    def _files(self, version: tuple[str, Node]) -> Sequence[_Item]:
        path, node = version
        try:
            files = self.backend.files(node)
        except EMError as error:
            if not self._is_gone(path, node):
                self._fail(path, "list", error)
            return []
        if (len(files), sum(file.size for file in files)) != (node.file_count, node.size) and path not in self.known:
            self._add(Flaw(kind="list", path=path, problem="its list of files is not the one that its record means"))
        return [_Item(path=path, node=node, file=file) for file in files]

    def _is_due(self, node: Node) -> bool:
        limit = self.options.older_than_s
        return not limit or node.modified <= utc_text(datetime.now(timezone.utc) - timedelta(seconds=limit))

    def _read(self, item: _Item) -> None:
        """Read all bytes of a file, unless it is known to be wrong."""
        if (item.path, item.file.key) not in self.flaws:
            file, told = item.file, 0
            what = f"{item.path}: {file.key}"
            try:
                with noting_damage(self.backend, item.node, file):
                    for chunk in verified(self.backend.read(item.node, file), file.size, file.sha256, what):
                        told += len(chunk)
                        self.progress.advance(0, len(chunk))
            except CorruptData:
                problem = "its bytes are not those that were uploaded: size or SHA-256 differs"
                self._add(Flaw(kind="rot", path=item.path, key=file.key, problem=problem))
            except NotFound as error:
                if not self._is_gone(item.path, item.node):
                    self._add(Flaw(kind="missing", path=item.path, key=file.key, problem=str(error)))
            except BackendError as error:
                self._add(Flaw(kind=UNREAD, path=item.path, key=file.key, problem=str(error)))
            with self._lock:
                self.read_files += 1
                self.read_size += told
        self.progress.advance(1, 0)

    def _is_gone(self, path: str, node: Node) -> bool:
        """Return whether a version was replaced and collected, or deleted, while it was looked at."""
        try:
            return self.backend.stat(path).generation != node.generation
        except NotFound:
            return True
        except EMError:
            return False

    def _fail(self, path: str, kind: str, error: EMError) -> None:
        """Take note of an error, unless the backend itself has told what is wrong there."""
        if path in self.known:
            return
        is_damage = isinstance(error, (CorruptData, NotFound))
        self._add(Flaw(kind=kind if is_damage else UNREAD, path=path, problem=str(error)))

    # Repairing.

    def _repair(self, backend: ChecksRecords) -> None:
        """Fix records, as far as the backend can."""
        for key, flaw in list(self.flaws.items()):
            try:
                done = backend.repair(flaw)
            except EMError as error:
                self.flaws[key] = evolve(flaw, problem=f"{flaw.problem}; not repaired: {error}")
                continue
            if done:
                self.repaired[key] = done
                self.known.discard(flaw.path)

    def _put_back(self, backend: ChecksRecords, items: Sequence[_Item]) -> None:
        """Write files anew of which others have the same bytes."""
        others = defaultdict(list)
        for item in items:
            others[item.file.sha256, item.file.size].append(item)
        for item in items:
            flaw = self.flaws.get((item.path, item.file.key))
            if flaw is not None and flaw.kind != UNREAD:
                good = (other for other in others[item.file.sha256, item.file.size] if other.name != item.name)
                done = next((other for other in good if self._copy(backend, item, other)), None)
                if done is not None:
                    self.repaired[item.path, item.file.key] = f"copied from {done.path}: {done.file.key}"

    def _copy(self, backend: ChecksRecords, item: _Item, other: _Item) -> bool:
        """Write the bytes of another file; False when these are damaged too, or it cannot be done now."""
        if (other.path, other.file.key) in self.flaws:
            return False
        try:
            backend.put_back(item.node, item.file, remote_body(self.backend, other.node, other.file))
        except EMError as error:
            _log.warning("%s: %s was not copied from %s: %s", item.path, item.file.key, other.path, error)
            return False
        return True

    def _unreferenced(self, path: str) -> Unreferenced | None:
        if not isinstance(self.backend, Collects):
            return None
        try:
            garbage = self.backend.collect(path)
        except BackendError as error:
            _log.info("what nothing refers to was not looked for: %s", error)
            return None
        return Unreferenced(count=len(garbage.objects), size=garbage.size)


def _told(node: Node) -> tuple[object, ...]:
    """Return the fields that both a listing and a record hold of a node."""
    return node.kind, node.id, node.modified, node.writer, node.file_count, node.size
