"""`Tree`: what all operations on one tree share, and the reads that they have in common."""

from __future__ import annotations

import copy
import getpass
import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve

from t9k.em.errors import CorruptManifest, FolderNotFound, InvalidInput, NotFound
from t9k.em.names import check_name, check_path, join, parent_and_name, split_version
from t9k.em.records import FOLDER, FileEntry, Node
from t9k_em_backends.tree.generations import Generations
from t9k_em_backends.tree.heads import Head, heads_prefix, manifest_key, to_node
from t9k_em_backends.tree.history import KnownNames
from t9k_em_backends.tree.known import KnownRows
from t9k_em_backends.tree.listing import Children
from t9k_em_backends.tree.manifests import MAX_MANIFEST_BYTES, decode_manifest
from t9k_em_backends.tree.mark import KnownMark
from t9k_em_backends.tree.probe import Probe
from t9k_em_backends.tree.publications import publication
from t9k_em_backends.tree.values import NewerFormat

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.backend import ObjectStore

DEFAULT = "default"


class Tree:
    """One tree in a store, as one user sees it.

    Args:
        store: The store of its records and files.
        uri: The URI of the store in messages and records.
        single_writer: Whether records are created without protection from other writers.
        clock: The clock of this process, with a time zone; its time is recorded for people and never compared.
        sleep: Waits so many seconds between two tries.
        mark_good_for_s: Seconds for which the mark of the store is believed after it was read; 0 where reading is free.

    Attributes:
        probe: Whether the store was found safe for many writers.
        mark: The mark of the store, as far as this process knows it.
        rows: Rows of listings that this process has read.
        names: Generations of names that this process has read.
    """

    def __init__(
        self,
        store: ObjectStore,
        uri: str,
        *,
        single_writer: bool,
        clock: Callable[[], datetime],
        sleep: Callable[[float], object],
        mark_good_for_s: float,
    ) -> None:
        self.store = store
        self.uri = uri
        self.single_writer = single_writer
        self.clock = clock
        self.sleep = sleep
        self.probe = Probe(done=single_writer)
        self.mark = KnownMark(uri, mark_good_for_s)
        self.rows = KnownRows()
        self.names = KnownNames()
        self._user: str | None = None

    def of(self, user: str) -> Self:
        """Return the same tree, with the same memory, as another user sees it.

        Args:
            user: Name of the user.
        """
        seen = copy.copy(self)
        seen._user = check_name(user, what="user")  # noqa: SLF001 - of this class
        return seen

    def whoami(self) -> str:
        """Return the current user: the environment variable `EM_USER`, else the name in the operating system.

        Raises:
            InvalidInput: The user has no name here.
        """
        if self._user is not None:
            return self._user
        try:
            user = os.environ.get("EM_USER") or getpass.getuser()
        except (KeyError, OSError, ImportError) as error:  # a container may run as a user without an account
            raise InvalidInput(
                "the current user has no name here; set the environment variable EM_USER, or write a path that begins with "
                "the name of a user, like /alice/default"
            ) from error
        return check_name(user, what="user (environment variable EM_USER)")

    def writer(self) -> str:
        """Return the writer that records name: the current user, or the number of a user without a name."""
        try:
            return self.whoami()
        except InvalidInput:
            if os.environ.get("EM_USER"):
                raise
            return f"uid-{os.getuid()}"

    # The store as a whole.

    def check_store(self, *, now: bool = False) -> None:
        """Refuse a store that is gone or another one than before; see `t9k.em.backend.MarksStore`."""
        self.mark.check(self.store, since=self.mark.clock() if now else None)

    def require_mark(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Mark the store before the first write of this process.

        Args:
            prepare: Called before a mark is made.
        """
        self.mark.require(self.store, prepare, single_writer=self.single_writer)

    def require_safe_store(self) -> None:
        """Find out that the store keeps writers apart, and mark it, before the first write of this process."""
        self.require_mark(lambda: self.probe.require(self.store, self.uri))

    # Reading.

    def generations(self, folder: str, name: str) -> Generations:
        """Return the generations of one name."""
        return Generations(
            store=self.store,
            prefix=heads_prefix(folder, name),
            sleep=self.sleep,
            single_writer=self.single_writer,
            check=self.check_store,
            known=self.names,
        )

    def children(self, path: str, damaged: dict[str, str]) -> Children:
        """Return the content of a folder.

        Args:
            path: Path of a folder that exists.
            damaged: See `Children`.
        """
        return Children(store=self.store, folder=path, sleep=self.sleep, known=self.rows, damaged=damaged)

    def forget_listing(self, path: str) -> None:
        """Forget the rows of a listing that turned out to be wrong."""
        self.rows.forget(path)

    def entries(self, folder: str, head: Head) -> dict[str, FileEntry]:
        """Return the files of a head by key, from the head or from the list that the head names."""
        files = head.files
        if head.manifest is not None:
            key = manifest_key(folder, head.name, head.manifest)
            files = decode_manifest(b"".join(self.store.get(key, 0, MAX_MANIFEST_BYTES)), head, key)
        return {file.key: file for file in files}

    def stat(self, path: str) -> Node:
        """Return one node; see `t9k.em.backend.Backend.stat`."""
        path, wanted = split_version(check_path(path, version=True))
        if path == "/":
            return implicit(path)
        folder, name = parent_and_name(path)
        generations = self.generations(folder, name)
        generation, head = _newest_or_older(generations, wanted)
        if wanted is not None and generation:
            if head is not None:
                _check_collected(path, wanted, generation, head)
            generation, head = wanted, generations.read(wanted)
        if head is not None and head.ready and head.name == name:
            node = to_node(folder, generation, head)
            return (
                node
                if head.kind == FOLDER
                else evolve(node, op=publication(generation, head, generations.readable) or "")
            )
        if wanted is None and (head is None or not head.ready) and self.always_exists(path):
            return implicit(path)
        if head is None:
            self.mark.check_reading(self.store)
        raise NotFound(f"there is no {_version(path, wanted)} in {self.uri}{_hint(name, wanted, head)}")

    def head(self, node: Node) -> Head:
        """Return the head of a node that was found before.

        Raises:
            NotFound: That version does not exist any more.
        """
        if isinstance(node.handle, Head):
            return node.handle
        head = self.generations(*parent_and_name(node.path)).read(node.generation)
        if head is None:
            raise NotFound(f"there is no {_version(node.path, node.generation)} in {self.uri}")
        return head

    def always_exists(self, path: str) -> bool:
        """Return whether a folder exists without a record: the root, the user's home and its default folder."""
        home = f"/{self.writer()}"
        return path in ("/", home, join(home, DEFAULT))

    def require_folder(self, path: str) -> Node:
        """Return a folder.

        Raises:
            FolderNotFound: No folder has this path.
        """
        try:
            node = self.stat(path)
        except NotFound as error:
            self.mark.check(self.store, since=self.mark.clock())
            raise FolderNotFound(f"{error}; make it with make_folder=True or choose another folder") from error
        if node.kind != FOLDER:
            raise FolderNotFound(f"{path} is a {node.kind} and no folder; choose another folder")
        return node


def implicit(path: str) -> Node:
    """Return the node of a folder that exists without a record."""
    return Node(path=path, kind=FOLDER, id="", generation=0)


def _newest_or_older(generations: Generations, wanted: int | None) -> tuple[int, Head | None]:
    """Return the newest generation; its head is None where that is damaged and an older one is wanted."""
    try:
        return generations.newest()
    except NewerFormat:
        raise
    except CorruptManifest:
        if wanted is None:
            raise
        return wanted, None


def _check_collected(path: str, wanted: int, newest: int, head: Head) -> None:
    if wanted <= head.collected and wanted != newest:
        raise NotFound(f"{_version(path, wanted)} was collected; the versions after {head.collected} can be read")


def _version(path: str, generation: int | None) -> str:
    return path if generation is None else f"{path}@{generation}"


def _hint(name: str, wanted: int | None, head: Head | None) -> str:
    """Return the advice for a reader that did not find a node."""
    if head is None:
        return "" if wanted is None else "; `versions` lists those there are"
    if not head.ready:
        return (
            "; it was deleted, and `versions` lists what it was" if wanted is None else "; that version is a deletion"
        )
    return f"; there is {head.name!r}, whose name differs from {name!r} by case or Unicode form"
