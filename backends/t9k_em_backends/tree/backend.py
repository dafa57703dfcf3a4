"""`TreeBackend`: the Backend port over any ObjectStore."""

from __future__ import annotations

import getpass
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlencode
from uuid import uuid4

from attrs import evolve

from t9k.em.backend import Backend, MakesRoot, ObjectStore, Upload
from t9k.em.errors import Conflict, CorruptManifest, FolderNotFound, InvalidInput, NameCollision, NotFound
from t9k.em.names import check_depth, check_name, check_path, fold, join, parent_and_name, split_version
from t9k.em.records import (
    FOLDER,
    Body,
    Draft,
    FileEntry,
    Flaw,
    Garbage,
    Listing,
    Node,
    ObjectInfo,
    Origin,
    Segment,
    SignedRequest,
    UploadRequest,
    utc_text,
)
from t9k_em_backends.tree import deleting, presigning, values
from t9k_em_backends.tree.checking import Checker
from t9k_em_backends.tree.collect import Collector
from t9k_em_backends.tree.generations import Generations
from t9k_em_backends.tree.growing import Growing, publication
from t9k_em_backends.tree.heads import (
    MAX_GENERATION,
    Head,
    file_key,
    heads_prefix,
    manifest_key,
    to_node,
)
from t9k_em_backends.tree.history import KnownNames
from t9k_em_backends.tree.known import KnownRows
from t9k_em_backends.tree.listing import MOST_HIDDEN, Children
from t9k_em_backends.tree.manifests import MAX_MANIFEST_BYTES, decode_manifest
from t9k_em_backends.tree.mark import GOOD_FOR_S, KnownMark
from t9k_em_backends.tree.mending import Mender
from t9k_em_backends.tree.probe import Probe, try_write
from t9k_em_backends.tree.stored import Listed, damage_key, is_as_told, note_damage, sha256_of
from t9k_em_backends.tree.upload import TreeUpload
from t9k_em_backends.tree.values import NewerFormat

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.uris import URI

UNSAFE = "unsafe_single_writer"
TRANSIENT = (UNSAFE, "driver", "timeout")
"""Options that say how a store is used and not where it is."""

DEFAULT = "default"

_log = logging.getLogger(__name__)


class TreeBackend(Backend):
    """A tree of nodes over an object store; see `docs/formats/store.md` for what it writes.

    A place to keep bytes becomes a backend by a subclass that names its store::

        class LocalBackend(TreeBackend):
            store_class = LocalStore

    The current user is the environment variable `EM_USER`, else the operating system's name for the user.

    Args:
        store: Where everything lies.
        uri: What `login` was given.
        unsafe_single_writer: Whether to use a store that cannot create a record without overwriting another. With two
            writers at once, one of them loses what it uploaded.
        clock: The writer's clock, with a time zone; what it says is shown and never relied on.
        sleep: Waits so many seconds between two tries.
    """

    store_class: ClassVar[type[ObjectStore]]
    upload_class: ClassVar[type[TreeUpload]] = TreeUpload
    collector_class: ClassVar[type[Collector]] = Collector
    mark_good_for_s: ClassVar[float] = GOOD_FOR_S
    """For how long the mark of the store is believed to be there after it was read; 0 where reading costs nothing."""

    _user: str | None = None

    def __init__(
        self,
        store: ObjectStore,
        uri: str,
        *,
        unsafe_single_writer: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.store = store
        self.uri = uri
        self.clock = clock
        self.sleep = sleep
        self._single_writer = unsafe_single_writer
        self._probe = Probe(done=unsafe_single_writer)
        self._known = KnownRows()
        self._mark = KnownMark(uri, self.mark_good_for_s)
        self._names = KnownNames()

    @classmethod
    def from_uri(cls, uri: URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Self:
        """Opens the store that the URI names; the option `unsafe_single_writer=true` is the tree's own."""
        del api_key
        options = dict(uri.options)
        unsafe = options.pop(UNSAFE, "false").lower() == "true"
        store = cls.make_store(evolve(uri, options=options), timeout_s)
        return cls(store, _address(uri), unsafe_single_writer=unsafe)

    @classmethod
    def make_store(cls, uri: URI, timeout_s: float | None) -> ObjectStore:
        """Makes the store that a URI names, without the options of the tree; for subclasses that choose among several.

        Args:
            uri: The root and its options.
            timeout_s: See `t9k.em.backend.Backend.from_uri`; a store on this machine has no use for it.
        """
        del timeout_s
        return cls.store_class.from_uri(uri)

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
        if os.environ.get("EM_USER"):  # one that is no name is refused before anything is done
            self.whoami()
        self.store.open()

    def close(self) -> None:
        """See the port."""
        self.store.close()

    def for_user(self, user: str) -> Self:
        """See `t9k.em.backend.ServesUsers`."""
        store = self.store  # which a subclass may renew in this very process: once, and not for each user
        seen = object.__new__(type(self))
        seen.__dict__.update(self.__dict__)
        seen.store, seen._user = store, check_name(user, what="user")
        return seen

    def whoami(self) -> str:
        """See the port."""
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
        """Who records are written by: the current user, or the number of one without a name."""
        try:
            return self.whoami()
        except InvalidInput:
            if os.environ.get("EM_USER"):
                raise
            return f"uid-{os.getuid()}"

    def is_there(self) -> bool:
        """See `t9k.em.backend.TellsState`."""
        found = next(iter(self.store.list(heads_prefix("/"))), None) is not None
        if not found:
            self._mark.check_reading(self.store)
        return found

    def try_write(self) -> None:
        """See `t9k.em.backend.TellsState`."""
        self._mark.check(self.store)
        if self._single_writer:
            try_write(self.store)
        else:
            self._probe.require(self.store, self.uri)

    def store_id(self) -> str:
        """See `t9k.em.backend.MarksStore`."""
        return self._mark.find(self.store)

    def init_store(self) -> str:
        """See `t9k.em.backend.MarksStore`."""
        found = self._mark.find(self.store)
        if not found:
            self.make_root()
            self._require_safe_store()
        self.check_store()
        return found or self._mark.find(self.store)

    def make_root(self) -> None:
        """See `t9k.em.backend.MakesRoot`; where the store has no root that could be missing, nothing happens."""
        if isinstance(self.store, MakesRoot):
            self.store.make_root()

    def expect_store(self, store_id: str, *, instead: str = "", is_accepted: bool = False) -> None:
        """See `t9k.em.backend.MarksStore`."""
        self._mark.expect(self.store, store_id, instead=instead, is_accepted=is_accepted)

    def check_store(self, *, now: bool = False) -> None:
        """See `t9k.em.backend.MarksStore`."""
        self._mark.check(self.store, since=self._mark.clock() if now else None)

    # Reading.

    def stat(self, path: str) -> Node:
        """See the port."""
        path, wanted = split_version(check_path(path, version=True))
        if path == "/":
            return _implicit(path)
        folder, name = parent_and_name(path)
        generations = self.generations(folder, name)
        generation, head = self._newest_or_older(generations, wanted)
        if wanted is not None and generation:
            if head is not None:
                self._check_collected(path, wanted, generation, head)
            generation, head = wanted, generations.read(wanted)
        if head is not None and head.ready and head.name == name:
            node = to_node(folder, generation, head)
            return (
                node
                if head.kind == FOLDER
                else evolve(node, op=publication(generation, head, generations.readable) or "")
            )
        if wanted is None and (head is None or not head.ready) and self._always_exists(path):
            return _implicit(path)
        if head is None:
            self._mark.check_reading(self.store)
        raise NotFound(f"there is no {_version(path, wanted)} in {self.uri}{_hint(name, wanted, head)}")

    def list(self, path: str) -> Sequence[Node]:
        """See the port."""
        return self.list_all(path).nodes

    def list_all(self, path: str) -> Listing:
        """See `t9k.em.backend.TellsLeftOut`."""
        self._require_folder(check_path(path))
        damaged: dict[str, str] = {}
        return Listing(nodes=self._seen(self.children(path, damaged).whole()), damaged=damaged)

    def list_page(
        self, path: str, limit: int, after: str = "", *, damaged: dict[str, str] | None = None
    ) -> tuple[Sequence[Node], str]:
        """See `t9k.em.backend.ListsPages`."""
        self._require_folder(check_path(path))
        found, following = self.children(path, {} if damaged is None else damaged).page(after, limit)
        return self._seen(found), following

    def versions(self, path: str) -> Sequence[Node]:
        """See the port."""
        return self._versions(path, None, 0)[0]

    def versions_page(self, path: str, limit: int, before: int = 0) -> tuple[Sequence[Node], int]:
        """See `t9k.em.backend.ListsPages`."""
        return self._versions(path, limit, before)

    def files(self, node: Node) -> Sequence[FileEntry]:
        """See the port."""
        return sorted(self.entries(parent_and_name(node.path)[0], self._head(node)).values(), key=lambda file: file.key)

    def read(self, node: Node, file: FileEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        folder, name = parent_and_name(node.path)
        # A store is told how much there is to come; one byte more, so that an object that is too long is seen.
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
        self._require_mark()
        note_damage(self, *parent_and_name(node.path), file)

    def origin(self, node: Node, file: FileEntry) -> Origin:
        """See `t9k.em.backend.KnowsOrigins`."""
        folder, name = parent_and_name(node.path)
        return Origin(store=self.store, key=file_key(folder, name, file), etag=file.etag)

    def sign_read(self, node: Node, file: FileEntry, *, lifetime_s: float) -> SignedRequest | None:
        """See `t9k.em.backend.SignsReads`."""
        folder, name = parent_and_name(node.path)
        return presigning.sign_get(self.store, file_key(folder, name, file), lifetime_s)

    def entries(self, folder: str, head: Head) -> dict[str, FileEntry]:
        """The files of a head by key, from the head or from the list that it names."""
        files = head.files
        if head.manifest is not None:
            key = manifest_key(folder, head.name, head.manifest)
            files = decode_manifest(b"".join(self.store.get(key, 0, MAX_MANIFEST_BYTES)), head, key)
        return {file.key: file for file in files}

    def sha256(self, key: str, info: ObjectInfo) -> str:
        """The checksum of an object: what the store says, else of the bytes themselves."""
        if info.sha256:
            return info.sha256
        return sha256_of(self.store, key)

    def generations(self, folder: str, name: str) -> Generations:
        """The heads of one name."""
        return Generations(
            store=self.store,
            prefix=heads_prefix(folder, name),
            sleep=self.sleep,
            single_writer=self._single_writer,
            check=self.check_store,
            known=self._names,
        )

    # Writing.

    def make_folder(self, path: str) -> Node:
        """See the port."""
        if check_depth(check_path(path)) == "/":
            return _implicit(path)
        since = self._mark.clock()
        self._require_safe_store()
        return self._make_folder(path, since)

    def _make_folder(self, path: str, since: float) -> Node:
        """Makes a folder and its parents as needed; a store that was looked at since then is not looked at again."""
        if path == "/":
            return _implicit(path)
        folder, name = parent_and_name(path)
        parent = self._make_folder(folder, since)
        generations = self.generations(folder, name)
        generation, head = generations.newest()
        if head is None:  # as where all is gone
            self._mark.check(self.store, since=since)
        while head is None or head.state == "deleted" or (head.state == "closing" and head.name == name):
            draft = self._folder_head(name, head)
            if generations.publish(generation + 1, draft):
                self.keep_folder(folder, parent.generation)
                return to_node(folder, generation + 1, draft)
            generation, head = generations.newest(generation + 1)
        if head.name != name:
            raise NameCollision(
                f"{join(folder, head.name)} is there, whose name differs only by case or Unicode form; use it"
            )
        if head.kind != FOLDER:
            raise Conflict(f"{path} is there and is a {head.kind}; use another name for the folder")
        return to_node(folder, generation, head)

    def begin(self, request: UploadRequest) -> Upload:
        """See the port."""
        _check_draft(request.draft)
        check_depth(join(request.folder, request.draft.name))
        since = self._mark.clock()
        self._require_safe_store()
        if request.folder.count("/") == 1 and fold(request.draft.name) == DEFAULT:
            self._make_folder(join(request.folder, DEFAULT), since)  # which always exists, so that the name is taken
        if not (request.make_folder or self._always_exists(request.folder)):
            self._require_folder(request.folder)
        upload = self.upload_class(self, request, self._make_folder(request.folder, since).generation)
        upload.start()
        return upload

    def keep_folder(self, folder: str, generation: int) -> None:
        """Keeps a folder, in which a node was just published, from being deleted, or makes it again.

        Whoever deletes a folder first publishes that it is closing, then looks for children, then publishes the
        deletion. Whoever publishes a child looks at the folder afterwards: when nothing was published since it was
        last made or found open, the deleter will find the child; otherwise `make_folder` opens it again, and the
        deleter loses the race for the generation in which the deletion would be.

        Args:
            folder: Its path.
            generation: Its generation before the node was published, from `make_folder`.
        """
        if folder != "/" and self.generations(*parent_and_name(folder)).newest_listed() != generation:
            self.make_folder(folder)

    def delete(self, path: str, *, recursive: bool = False, generation: int | None = None) -> None:
        """See the port."""
        if check_path(path).count("/") < 2:  # noqa: PLR2004 - '/' and '/<user>'
            raise InvalidInput(f"{path} always exists and cannot be deleted; delete what is in it")
        if self.store_id():
            self.check_store()
        deleting.delete(self, path, recursive=recursive, generation=generation)

    def append(self, node: Node, key: str, start: int, data: bytes) -> int:
        """See `t9k.em.backend.Grows`; a request that lists the generations, one that puts, and one that lists segments."""
        self._require_mark()
        return Growing(self, node, self._head(node)).append(key, start, data)

    def grown(self, node: Node) -> Sequence[Segment]:
        """See `t9k.em.backend.Grows`."""
        return Growing(self, node, self._head(node)).segments()

    def read_grown(self, node: Node, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `t9k.em.backend.Grows`."""
        return Growing(self, node, self._head(node)).read(key, start, end)

    def collect(
        self, path: str = "/", *, grace_s: float = 72 * 3600.0, keep_versions: int = 1, apply: bool = False
    ) -> Garbage:
        """See `t9k.em.backend.Collects`."""
        if apply:
            self._require_safe_store()
        else:
            self.check_store()
        return self.collector_class(self, grace_s=grace_s, keep_versions=keep_versions, apply=apply).collect(path)

    def flaws(self, path: str = "/") -> Iterator[Flaw]:
        """See `t9k.em.backend.ChecksRecords`."""
        self.check_store()
        return Checker(self).flaws(check_path(path))

    def forget_listing(self, path: str) -> None:
        """Forget what this process remembers of a listing that was wrong."""
        self._known.forget(path)

    def mend(self, flaw: Flaw) -> str:
        """See `t9k.em.backend.ChecksRecords`."""
        self._require_safe_store()
        return Mender(self).mend(flaw)

    def put_back(self, node: Node, file: FileEntry, body: Body) -> None:
        """See `t9k.em.backend.ChecksRecords`."""
        if (body.size, body.sha256) != (file.size, file.sha256):
            raise InvalidInput(f"these are not the bytes of {file.key!r} of {node.path}")
        folder, name = parent_and_name(node.path)
        self.store.put(file_key(folder, name, file), body)
        self.store.delete([damage_key(folder, name, file)])

    # Inside.

    def _require_safe_store(self) -> None:
        self._require_mark(lambda: self._probe.require(self.store, self.uri))

    def _require_mark(self, prepare: Callable[[], None] = lambda: None) -> None:
        self._mark.require(self.store, prepare, single_writer=self._single_writer)

    def _newest_or_older(self, generations: Generations, wanted: int | None) -> tuple[int, Head | None]:
        """The newest generation; its head is None where that is damaged and an older one is wanted."""
        try:
            return generations.newest()
        except NewerFormat:
            raise
        except CorruptManifest:
            if wanted is None:
                raise
            return wanted, None

    def _always_exists(self, path: str) -> bool:
        home = f"/{self.writer()}"
        return path in ("/", home, join(home, DEFAULT))

    def _require_folder(self, path: str) -> Node:
        try:
            node = self.stat(path)
        except NotFound as error:
            self._mark.check(self.store, since=self._mark.clock())
            raise FolderNotFound(f"{error}; make it with make_folder=True or choose another folder") from error
        if node.kind != FOLDER:
            raise FolderNotFound(f"{path} is a {node.kind} and no folder; choose another folder")
        return node

    def _versions(self, path: str, limit: int | None, before: int) -> tuple[Sequence[Node], int]:
        """The generations below one, or all, without damaged ones; and the last that was looked at, if there may be more."""
        folder, name = parent_and_name(check_path(path))
        generations = self.generations(folder, name)
        most = MAX_GENERATION if limit is None else limit
        damaged: CorruptManifest | None = None
        found: list[Node] = []
        number = 0
        for looked, number in enumerate(generations.descending(before) if name else (), 1):
            try:
                head = generations.read(number)
            except CorruptManifest as error:
                _log.warning("left out of the versions of %s: %s", path, error)
                damaged, head = damaged or error, None
            if head is not None and head.name == name:
                found.append(to_node(folder, number, head))
            if len(found) == most or looked == most + MOST_HIDDEN:
                break
        else:
            number = 0
        following = number if number > 1 else 0
        if not (before or following) and damaged is not None and not found:
            raise damaged
        if not (before or following or any(node.kind for node in found)):
            self._mark.check_reading(self.store)
            raise NotFound(f"there was never a {path} in {self.uri}")
        return found, following

    def _seen(self, nodes: Sequence[Node]) -> Sequence[Node]:
        """What was listed, once it is clear that an empty listing is not that of a store that is gone."""
        if not nodes:
            self._mark.check_reading(self.store)
        elif not self.mark_good_for_s:
            self._mark.notice(self.store)
        return nodes

    def children(self, path: str, damaged: dict[str, str]) -> Children:
        """What is in a folder.

        Args:
            path: Of the folder, which is there.
            damaged: See `Children`.
        """
        return Children(store=self.store, folder=path, sleep=self.sleep, known=self._known, damaged=damaged)

    def _head(self, node: Node) -> Head:
        if isinstance(node.handle, Head):
            return node.handle
        head = self.generations(*parent_and_name(node.path)).read(node.generation)
        if head is None:
            raise NotFound(f"there is no {_version(node.path, node.generation)} in {self.uri}")
        return head

    def _check_collected(self, path: str, wanted: int, newest: int, head: Head) -> None:
        if wanted <= head.collected and wanted != newest:
            raise NotFound(f"{_version(path, wanted)} was collected; the versions after {head.collected} can be read")

    def _folder_head(self, name: str, below: Head | None) -> Head:
        if below is not None and below.ready:  # it is closing
            return evolve(below, write_id=uuid4().hex, state="ready")
        head = Head(
            write_id=uuid4().hex,
            kind=FOLDER,
            state="ready",
            name=name,
            id=str(uuid4()),
            writer=self.writer(),
            time=utc_text(self.clock()),
        )
        if below is None:
            return head
        return evolve(head, fenced=below.fenced, fenced_spans=below.fenced_spans, collected=below.collected)


def _address(uri: URI) -> str:
    """The URI with the options that say where the store is, so that whoever finds it recorded finds the same store."""
    located = {name: value for name, value in sorted(uri.options.items()) if name not in TRANSIENT}
    return f"{uri.text}?{urlencode(located, safe=':/')}" if located else uri.text


def _check_draft(draft: Draft) -> None:
    """Refuses what no record can say, before anything is sent.

    Raises:
        InvalidInput: It cannot be published.
    """
    try:
        values.metadata(draft.metadata)
        values.text(draft.id), values.text(draft.kind)
    except values.FLAWS as error:
        raise InvalidInput(f"{draft.name!r} cannot be uploaded, for what its record would say: {error}") from error


def _implicit(path: str) -> Node:
    return Node(path=path, kind=FOLDER, id="", generation=0)


def _version(path: str, generation: int | None) -> str:
    return path if generation is None else f"{path}@{generation}"


def _hint(name: str, wanted: int | None, head: Head | None) -> str:
    """What a reader should try instead."""
    if head is None:
        return "" if wanted is None else "; `versions` lists those there are"
    if not head.ready:
        return (
            "; it was deleted, and `versions` lists what it was" if wanted is None else "; that version is a deletion"
        )
    return f"; there is {head.name!r}, whose name differs from {name!r} by case or Unicode form"
