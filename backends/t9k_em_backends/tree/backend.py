"""`TreeBackend`: the Backend port over any ObjectStore."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlencode

from attrs import evolve

from t9k.em.backend import Backend, MakesRoot, ObjectStore, SignsRequests, Upload
from t9k.em.errors import InvalidInput
from t9k.em.names import check_depth, check_path, fold, join, parent_and_name
from t9k.em.records import (
    Body,
    Draft,
    FileEntry,
    Flaw,
    Garbage,
    Listing,
    Node,
    Origin,
    Segment,
    SignedRequest,
    UploadRequest,
)
from t9k_em_backends.tree import deleting, folders, presigning, values
from t9k_em_backends.tree.checking import Checker
from t9k_em_backends.tree.collect import Collector
from t9k_em_backends.tree.growing import Growing
from t9k_em_backends.tree.heads import file_key, heads_prefix
from t9k_em_backends.tree.mark import GOOD_FOR_S
from t9k_em_backends.tree.probe import try_write
from t9k_em_backends.tree.repairing import Repairer
from t9k_em_backends.tree.stored import Listed, damage_key, is_as_told, note_damage
from t9k_em_backends.tree.tree import DEFAULT, Tree
from t9k_em_backends.tree.upload import TreeUpload
from t9k_em_backends.tree.versions import versions

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.uris import URI

UNSAFE = "unsafe_single_writer"
TRANSIENT = (UNSAFE, "driver", "plain_http", "timeout")
"""Options of a URI for the use of a store, which are no part of its address."""


class TreeBackend(Backend):
    """A tree of nodes over an object store; see `docs/formats/store.md` for its records.

    A place to keep bytes becomes a backend by a subclass that names its store::

        class LocalBackend(TreeBackend):
            store_class = LocalStore

    The current user is the environment variable `EM_USER`, else the operating system's name for the user.

    Args:
        store: The store of all records and files.
        uri: The URI that `login` was given.
        unsafe_single_writer: Whether to use a store that cannot create a record without overwriting another. With two
            writers at once, one of them loses what it uploaded.
        clock: The clock of this process, with a time zone; its time is recorded for people and never compared.
        sleep: Waits so many seconds between two tries.
    """

    store_class: ClassVar[type[ObjectStore]]
    tree_class: ClassVar[type[Tree]] = Tree
    upload_class: ClassVar[type[TreeUpload]] = TreeUpload
    collector_class: ClassVar[type[Collector]] = Collector
    mark_good_for_s: ClassVar[float] = GOOD_FOR_S
    """Seconds for which the mark of the store is believed after it was read; 0 where reading costs nothing."""

    def __init__(
        self,
        store: ObjectStore,
        uri: str,
        *,
        unsafe_single_writer: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._tree = self.tree_class(
            store,
            uri,
            single_writer=unsafe_single_writer,
            clock=clock,
            sleep=sleep,
            mark_good_for_s=self.mark_good_for_s,
        )

    @classmethod
    def from_uri(cls, uri: URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Self:
        """Open the store that the URI names; the option `unsafe_single_writer=true` is the tree's own."""
        del api_key
        options = dict(uri.options)
        unsafe = options.pop(UNSAFE, "false").lower() == "true"
        store = cls.make_store(evolve(uri, options=options), timeout_s)
        return cls(store, _address(uri), unsafe_single_writer=unsafe)

    @classmethod
    def make_store(cls, uri: URI, timeout_s: float | None) -> ObjectStore:
        """Make the store that a URI names, without the options of the tree; for subclasses that choose among several.

        Args:
            uri: The root and its options.
            timeout_s: See `t9k.em.backend.Backend.from_uri`; a store on this machine has no use for it.
        """
        del timeout_s
        return cls.store_class.from_uri(uri)

    @property
    def tree(self) -> Tree:
        """The context of all operations; a subclass may renew its store."""
        return self._tree

    @property
    def store(self) -> ObjectStore:
        """The store of all records and files."""
        return self.tree.store

    @store.setter
    def store(self, store: ObjectStore) -> None:
        self._tree.store = store

    @property
    def uri(self) -> str:  # type: ignore[override]  # of the tree
        """See the port."""
        return self._tree.uri

    @property
    def parallelism(self) -> int:  # type: ignore[override]  # the store may adapt it
        """See the port."""
        return self.store.parallelism

    @property
    def batch_files(self) -> int:  # type: ignore[override]  # likewise
        """See the port."""
        return self.store.batch_files

    @property
    def batches(self) -> int | None:  # type: ignore[override]  # likewise
        """See the port."""
        return self.store.batches

    def open(self) -> None:
        """See the port."""
        if os.environ.get("EM_USER"):  # an invalid name is refused before anything is done
            self.whoami()
        self.store.open()

    def close(self) -> None:
        """See the port."""
        self.store.close()

    def for_user(self, user: str) -> Self:
        """See `t9k.em.backend.ServesUsers`."""
        tree = self.tree  # whose store a subclass may renew in this very process: once, and not for each user
        seen = object.__new__(type(self))
        seen.__dict__.update(self.__dict__)
        seen._tree = tree.of(user)
        return seen

    def whoami(self) -> str:
        """See the port."""
        return self.tree.whoami()

    # The store as a whole.

    def is_there(self) -> bool:
        """See `t9k.em.backend.TellsState`."""
        found = next(iter(self.store.list(heads_prefix("/"))), None) is not None
        if not found:
            self.tree.mark.check_reading(self.store)
        return found

    def try_write(self) -> None:
        """See `t9k.em.backend.TellsState`."""
        tree = self.tree
        tree.mark.check(tree.store)
        if tree.single_writer:
            try_write(tree.store)
        else:
            tree.probe.require(tree.store, tree.uri)

    def store_id(self) -> str:
        """See `t9k.em.backend.MarksStore`."""
        return self.tree.mark.find(self.store)

    def init_store(self) -> str:
        """See `t9k.em.backend.MarksStore`."""
        tree = self.tree
        found = tree.mark.find(tree.store)
        if not found:
            self.make_root()
            tree.require_safe_store()
        tree.check_store()
        return found or tree.mark.find(tree.store)

    def make_root(self) -> None:
        """See `t9k.em.backend.MakesRoot`; a store without a root that could be missing does nothing."""
        if isinstance(self.store, MakesRoot):
            self.store.make_root()

    def expect_store(self, store_id: str, *, instead: str = "", is_accepted: bool = False) -> None:
        """See `t9k.em.backend.MarksStore`."""
        self.tree.mark.expect(self.store, store_id, instead=instead, is_accepted=is_accepted)

    def check_store(self, *, now: bool = False) -> None:
        """See `t9k.em.backend.MarksStore`."""
        self.tree.check_store(now=now)

    # Reading.

    def stat(self, path: str) -> Node:
        """See the port."""
        return self.tree.stat(path)

    def list(self, path: str) -> Sequence[Node]:
        """See the port."""
        return self.list_all(path).nodes

    def list_all(self, path: str) -> Listing:
        """See `t9k.em.backend.TellsLeftOut`."""
        self.tree.require_folder(check_path(path))
        damaged: dict[str, str] = {}
        return Listing(nodes=self._listed(self.tree.children(path, damaged).whole()), damaged=damaged)

    def list_page(
        self, path: str, limit: int, after: str = "", *, damaged: dict[str, str] | None = None
    ) -> tuple[Sequence[Node], str]:
        """See `t9k.em.backend.ListsPages`."""
        self.tree.require_folder(check_path(path))
        found, following = self.tree.children(path, {} if damaged is None else damaged).page(after, limit)
        return self._listed(found), following

    def forget_listing(self, path: str) -> None:
        """Forget the rows of a listing that this process has read."""
        self.tree.forget_listing(path)

    def versions(self, path: str) -> Sequence[Node]:
        """See the port."""
        return versions(self.tree, path, None, 0)[0]

    def versions_page(self, path: str, limit: int, before: int = 0) -> tuple[Sequence[Node], int]:
        """See `t9k.em.backend.ListsPages`."""
        return versions(self.tree, path, limit, before)

    def files(self, node: Node) -> Sequence[FileEntry]:
        """See the port."""
        entries = self.tree.entries(parent_and_name(node.path)[0], self.tree.head(node))
        return sorted(entries.values(), key=lambda file: file.key)

    def read(self, node: Node, file: FileEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        folder, name = parent_and_name(node.path)
        # A store learns how much there is to come; one byte more, so that an object that is too long is seen.
        return self.store.get(file_key(folder, name, file), start, file.size + 1 if end is None else end)

    def lacks(self, node: Node) -> Sequence[FileEntry]:
        """See `t9k.em.backend.NotesDamage`."""
        folder, name = parent_and_name(node.path)
        files = self.files(node)
        listed = Listed.of(self.store, folder, name, {file.op for file in files}, node.generation)
        found = ((file, listed.get(file)) for file in files)
        return [file for file, info in found if info is None or is_as_told(self.store, file, info) is False]

    def note_damage(self, node: Node, file: FileEntry) -> None:
        """See `t9k.em.backend.NotesDamage`."""
        self.tree.require_mark()
        note_damage(self.tree, *parent_and_name(node.path), file)

    def origin(self, node: Node, file: FileEntry) -> Origin:
        """See `t9k.em.backend.KnowsOrigins`."""
        folder, name = parent_and_name(node.path)
        return Origin(store=self.store, key=file_key(folder, name, file), etag=file.etag)

    @property
    def signs_reads(self) -> bool:
        """See `t9k.em.backend.SignsReads`."""
        return isinstance(self.store, SignsRequests)

    def sign_read(self, node: Node, file: FileEntry, *, lifetime_s: float) -> SignedRequest | None:
        """See `t9k.em.backend.SignsReads`."""
        folder, name = parent_and_name(node.path)
        return presigning.sign_get(self.store, file_key(folder, name, file), lifetime_s)

    def _listed(self, nodes: Sequence[Node]) -> Sequence[Node]:
        """Return listed nodes, after a check that an empty listing is not that of a store that is gone."""
        if not nodes:
            self.tree.mark.check_reading(self.store)
        elif not self.mark_good_for_s:
            self.tree.mark.notice(self.store)
        return nodes

    # Writing.

    def make_folder(self, path: str) -> Node:
        """See the port."""
        return folders.make_folder(self.tree, path)

    def begin(self, request: UploadRequest) -> Upload:
        """See the port."""
        _check_draft(request.draft)
        check_depth(join(request.folder, request.draft.name))
        tree = self.tree
        since = tree.mark.clock()
        tree.require_safe_store()
        if request.folder.count("/") == 1 and fold(request.draft.name) == DEFAULT:
            # The default folder always exists, so its name is taken.
            folders.make_folder_since(tree, join(request.folder, DEFAULT), since)
        if not (request.make_folder or tree.always_exists(request.folder)):
            tree.require_folder(request.folder)
        folder = folders.make_folder_since(tree, request.folder, since)
        upload = self.upload_class(tree, request, folder.generation)
        upload.start()
        return upload

    def delete(self, path: str, *, recursive: bool = False, generation: int | None = None) -> None:
        """See the port."""
        if check_path(path).count("/") < 2:  # noqa: PLR2004 - '/' and '/<user>'
            raise InvalidInput(f"{path} always exists and cannot be deleted; delete what is in it")
        if self.store_id():
            self.check_store()
        deleting.delete(self.tree, path, recursive=recursive, generation=generation)

    def append(self, node: Node, key: str, start: int, data: bytes) -> int:
        """See `t9k.em.backend.Grows`; a request that lists the generations, one that puts, and one that lists segments."""
        self.tree.require_mark()
        return self._growing(node).append(key, start, data)

    def grown(self, node: Node) -> Sequence[Segment]:
        """See `t9k.em.backend.Grows`."""
        return self._growing(node).segments()

    def read_grown(self, node: Node, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `t9k.em.backend.Grows`."""
        return self._growing(node).read(key, start, end)

    def _growing(self, node: Node) -> Growing:
        return Growing(self.tree, node, self.tree.head(node))

    # Upkeep.

    def collect(
        self, path: str = "/", *, grace_s: float = 72 * 3600.0, keep_versions: int = 1, apply: bool = False
    ) -> Garbage:
        """See `t9k.em.backend.Collects`."""
        if apply:
            self.tree.require_safe_store()
        else:
            self.check_store()
        return self.collector_class(self.tree, grace_s=grace_s, keep_versions=keep_versions, apply=apply).collect(path)

    def flaws(self, path: str = "/") -> Iterator[Flaw]:
        """See `t9k.em.backend.ChecksRecords`."""
        self.check_store()
        return Checker(self.tree).flaws(check_path(path))

    def repair(self, flaw: Flaw) -> str:
        """See `t9k.em.backend.ChecksRecords`."""
        self.tree.require_safe_store()
        return Repairer(self.tree).repair(flaw)

    def put_back(self, node: Node, file: FileEntry, body: Body) -> None:
        """See `t9k.em.backend.ChecksRecords`."""
        if (body.size, body.sha256) != (file.size, file.sha256):
            raise InvalidInput(f"these are not the bytes of {file.key!r} of {node.path}")
        folder, name = parent_and_name(node.path)
        self.store.put(file_key(folder, name, file), body)
        self.store.delete([damage_key(folder, name, file)])


def _address(uri: URI) -> str:
    """Return the URI with the options that are part of the store's address, by which every reader finds the same store."""
    located = {name: value for name, value in sorted(uri.options.items()) if name not in TRANSIENT}
    return f"{uri.text}?{urlencode(located, safe=':/')}" if located else uri.text


def _check_draft(draft: Draft) -> None:
    """Refuse metadata that no record can hold, before anything is sent.

    Raises:
        InvalidInput: The draft cannot be published.
    """
    try:
        values.metadata(draft.metadata)
        values.text(draft.id), values.text(draft.kind)
    except values.FLAWS as error:
        raise InvalidInput(f"{draft.name!r} cannot be uploaded, for what its record would say: {error}") from error
