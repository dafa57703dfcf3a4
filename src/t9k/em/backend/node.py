"""The port `Backend`, a tree of named nodes, and what a backend may be able to do beyond the port."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from t9k.em.backend.closable import Closable

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.records import (
        Body,
        FileEntry,
        FileSpec,
        Flaw,
        Garbage,
        Listing,
        Node,
        Origin,
        Outcome,
        Part,
        Segment,
        SignedRequest,
        SignedUpload,
        UploadRequest,
    )
    from t9k.em.uris import URI


class Upload(ABC):
    """An upload in progress: put the files in `missing`, then call `commit`; while it returns None, repeat.

    `put` may be called from several threads at once, everything else by one.

    Attributes:
        outcome: None while it is open. Set before any byte moves when there is nothing to do.
        node: The node that was published or found, once `outcome` is set.
    """

    outcome: Outcome | None = None
    node: Node | None = None

    @property
    @abstractmethod
    def missing(self) -> Sequence[FileSpec]:
        """The files that have to be put before the next `commit`; may change after each `commit`."""

    @abstractmethod
    def put(self, items: Sequence[tuple[FileSpec, Body]]) -> None:
        """Send files; a batch may cost less than one by one. Sending one again is harmless.

        Raises:
            SourceChanged: The bytes are not those that were announced.
            BackendUnavailable: Try again.
        """

    @abstractmethod
    def commit(self) -> Node | None:
        """Publish the node as one whole.

        Returns:
            The node; None when it cannot be published yet, because files are missing. Another writer may have published
            first, which changes the plan: read `missing` again.

        Raises:
            Conflict: The name was taken meanwhile and the strategy is 'error'.
            CommitUnknown: The store did not report whether the node was published. Running the same upload again finds out.
            UploadFenced: The collector took files of this upload away; start again with a new op.
        """


@runtime_checkable
class TakesParts(Protocol):
    """An upload that takes a large file in parts, in any order and from several processes that share its op."""

    def put_part(self, file: FileSpec, start: int, body: Body) -> None:
        """Keep the bytes of a file from `start` on; the same part again is harmless.

        Args:
            file: One of the request.
            start: Where the bytes belong in it.
            body: The bytes; its checksum may be '', for the whole is compared in `join_parts`.

        Raises:
            InvalidInput: The part does not lie within the file.
            SourceChanged: The bytes are not those of the body's size and checksum; nothing was kept.
            BackendUnavailable: Try again.
        """

    def parts(self, file: FileSpec) -> Sequence[Part]:
        """Return the parts of a file that are there whole, by `start`."""

    def join_parts(self, file: FileSpec) -> None:
        """Make the file of its parts, so that it is no longer missing.

        Raises:
            NotFound: Some of its bytes are in no part.
            SourceChanged: The whole is not what was announced; its parts were dropped.
        """


@runtime_checkable
class SendsDirect(Protocol):
    """An upload whose files others may send straight to the store."""

    def sign(self, file: FileSpec, *, lifetime_s: float) -> SignedUpload | None:
        """Sign the requests that send a file, or its missing parts; None if this place signs nothing."""

    def complete_signed(self, file: FileSpec, token: str) -> None:
        """Record that the requests were sent, so that the file is no longer missing.

        Raises:
            NotFound: Some bytes were not sent.
            SourceChanged: The bytes are not those that were announced; they were thrown away.
        """


class Backend(Closable, ABC):
    """A tree of nodes, each with generations; the newest is what a path means, 'path@3' is an older one.

    Paths are absolute. A node is seen whole or not at all. `/`, the user's home `/<user>` and `/<user>/default`
    always exist.

    Attributes:
        uri: What `login` was given, with those options that say where it is; recorded in the history of what was uploaded
            where, and what opens the same place again.
        parallelism: Number of concurrent `Upload.put` or `read` that pay off; more do no harm.
        batch_files: Preferred number of files of one `Upload.put`.
        batches: Number of concurrent `Upload.put` that pay off; None for `parallelism`.
    """

    uri: str
    parallelism: int = 8
    batch_files: int = 64
    batches: int | None = None

    @classmethod
    @abstractmethod
    def from_uri(cls, uri: URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Self:
        """Make the backend that a URI names, without any I/O.

        Args:
            uri: The root and its options.
            api_key: For backends with accounts; others leave it.
            timeout_s: How long to wait for an answer, for backends on a network; None for the backend's default.

        Raises:
            InvalidURI: The URI lacks something, or an option is unknown.
        """

    @abstractmethod
    def whoami(self) -> str:
        """Return the name of the current user, the first component of their paths."""

    @abstractmethod
    def stat(self, path: str) -> Node:
        """Look up a node.

        Raises:
            NotFound: The node does not exist, was deleted, or lacks that generation.
        """

    @abstractmethod
    def list(self, path: str) -> Sequence[Node]:
        """Return the children of a folder, by name. Each is whole; deleted ones are left out.

        A damaged record does not hide the others: its node is left out, and `stat` reports the damage.

        Raises:
            NotFound: No such folder exists.
        """

    @abstractmethod
    def versions(self, path: str) -> Sequence[Node]:
        """All generations under a name, the newest first, deletions included.

        Raises:
            NotFound: The name was never used.
        """

    @abstractmethod
    def make_folder(self, path: str) -> Node:
        """Make a folder and its parents, each unless it exists.

        Raises:
            Conflict: A run or artifact has that name.
        """

    @abstractmethod
    def begin(self, request: UploadRequest) -> Upload:
        """Start or resume an upload; conflicts that are there already are decided before any byte moves.

        Raises:
            FolderNotFound: The folder is missing and is not to be made.
            Conflict: The name is taken and the strategy is 'error', or it cannot be replaced.
            NameCollision: The name is taken by a node whose name differs only by case or Unicode form (not with 'new').
            UploadFenced: See `Upload.commit`.
            UnsafeStore: The store cannot take part in a safe commit.
        """

    @abstractmethod
    def files(self, node: Node) -> Sequence[FileEntry]:
        """Return the files of a node that `stat`, `list` or `versions` gave.

        Raises:
            CorruptManifest: The list is damaged or hostile.
        """

    @abstractmethod
    def read(self, node: Node, file: FileEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes [start, end) of a file of a node; the caller compares size and checksum.

        Raises:
            NotFound: The bytes are gone, because the generation was collected.
        """

    @abstractmethod
    def delete(self, path: str, *, recursive: bool = False, generation: int | None = None) -> None:
        """Delete a node; its generations stay readable as versions until they are collected.

        Args:
            path: The node.
            recursive: Whether a folder may be deleted with all below it.
            generation: Of a run or artifact: delete it only while this is the newest one, so that nothing is deleted that
                the caller has not seen.

        Raises:
            NotFound: No node has this path.
            Conflict: The newest generation is another than the given one; or the folder is not empty, without `recursive`.
            InvalidInput: The path is a version ('path@3'), or `/` or a home, which always exist.
        """


@runtime_checkable
class ServesUsers(Protocol):
    """A backend that one process uses for several users, as a server does."""

    def for_user(self, user: str) -> Backend:
        """Return the same place as another user sees it; costs nothing, and shares connections, which `close` of either closes.

        Raises:
            InvalidName: The text is no name of a user.
        """


@runtime_checkable
class SignsReads(Protocol):
    """A backend whose files can be read straight from the store behind it, by readers without credentials for the store.

    Attributes:
        signs_reads: Whether the store can do that, as it was opened.
    """

    @property
    def signs_reads(self) -> bool: ...  # noqa: D102 - an attribute, see above

    def sign_read(self, node: Node, file: FileEntry, *, lifetime_s: float) -> SignedRequest | None:
        """Sign the reading of a file, ranges of it too; None when this place signs nothing."""


@runtime_checkable
class Grows(Protocol):
    """A backend in which files of a published run go on growing, before the next upload publishes them whole.

    What was appended belongs to the generation that was the newest then: a later generation begins without.
    """

    def append(self, node: Node, key: str, start: int, data: bytes) -> int:
        """Keep the bytes of a growing file from `start` on; durable on return. The same bytes again are harmless.

        Args:
            node: The newest generation of a run.
            key: The file, which may be one that the node has, or a new one.
            start: Where the bytes belong. What lies before need not be there yet.
            data: The bytes, at most some megabytes.

        Returns:
            How many bytes are there from the beginning on without a gap.

        Raises:
            NotFound: The generation is not the newest any more.
        """

    def grown(self, node: Node) -> Sequence[Segment]:
        """Return the segments that were appended to a generation, by key and `start`; where segments overlap, they agree."""

    def read_grown(self, node: Node, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes [start, end) of a growing file, up to the first gap.

        Raises:
            NotFound: The file has no appended bytes.
        """


@runtime_checkable
class ListsPages(Protocol):
    """A backend that lists a folder, or the generations of a name, piece by piece; each costs what it shows.

    What is published or deleted meanwhile may be in a later piece or not; all else is in one of them, once.
    """

    def list_page(
        self, path: str, limit: int, after: str = "", *, damaged: dict[str, str] | None = None
    ) -> tuple[Sequence[Node], str]:
        """Return some of the children of a folder, as by `Backend.list` but in an order of the backend's own.

        Args:
            path: The folder.
            limit: Maximum number. There may be fewer, and even none, although more follow.
            after: What the piece before gave; '' for the first one.
            damaged: Where to put those of this piece whose record is damaged, see `Listing`.

        Returns:
            The nodes, and `after` for the next piece; '' after the last one.

        Raises:
            NotFound: No such folder exists.
            InvalidInput: No piece gave this `after`.
        """

    def versions_page(self, path: str, limit: int, before: int = 0) -> tuple[Sequence[Node], int]:
        """Return some of the generations under a name, as by `Backend.versions`.

        Args:
            path: The name.
            limit: Maximum number. There may be fewer, and even none, although more follow.
            before: What the piece before gave; 0 for the first one.

        Returns:
            The nodes, and `before` for the next piece; 0 after the last one.

        Raises:
            NotFound: The name was never used.
        """


@runtime_checkable
class TellsLeftOut(Protocol):
    """A backend whose listings may be incomplete, and that reports that.

    A backend without this ability lists every child that is not damaged to everybody who may list the folder.
    """

    def list_all(self, path: str) -> Listing:
        """Return what `Backend.list` does, with what it leaves out.

        Raises:
            NotFound: No such folder exists.
        """


@runtime_checkable
class TellsState(Protocol):
    """A backend that reports, before anything is sent, whether its store exists and its user may write there."""

    def is_there(self) -> bool:
        """Return whether anything was ever kept there; an empty place, or one that does not exist, is no store yet.

        Raises:
            BackendError: The place cannot be examined.
        """

    def try_write(self) -> None:
        """Write something and take it away again; a place that does not exist may be made.

        Raises:
            BackendPermissionError: The user may not write there.
            UnsafeStore: The store cannot keep a record without overwriting another.
            BackendError: The store cannot be written to for another reason, such as a lack of space.
        """


@runtime_checkable
class MarksStore(Protocol):
    """A backend whose store has a mark, by which a process that has seen the store recognizes it.

    A store gets one when it is first written to. From then on the backend that has seen the mark refuses, with
    `StoreGone`, to write where it is missing or another's, and to say that there is nothing.
    """

    def store_id(self) -> str:
        """Return the id of the store, of at most 100 printable characters; '' for one that has no mark yet.

        Raises:
            StoreGone: The store is not the one that was seen.
        """

    def init_store(self) -> str:
        """Make the place and its mark, each unless it exists; return the id of the store.

        Raises:
            StoreGone: The store is not the one that was seen.
            BackendError: The place cannot be written to.
        """

    def check_store(self, *, now: bool = False) -> None:
        """Make sure, before something is written, that the store is the one that was seen, if one was.

        Args:
            now: Whether to look even when that was done a short while ago.

        Raises:
            StoreGone: The store is gone, or another one.
            NewerStore: Its writers have to know what this version does not.
        """

    def expect_store(self, store_id: str, *, instead: str = "", is_accepted: bool = False) -> None:
        """Refuse every other store from now on.

        Args:
            store_id: Of the store that was seen there.
            instead: The command by which somebody says that another store is to be used; by default `em login`.
            is_accepted: Whether somebody said so of this one: then it counts more than what others have seen.

        Raises:
            StoreGone: Another one is known already, and nobody said that it is the right one.
        """


@runtime_checkable
class KnowsOrigins(Protocol):
    """A backend whose files are objects of a store, which a store of the same service may copy by itself."""

    def origin(self, node: Node, file: FileEntry) -> Origin:
        """Return the object that holds the bytes of a file of a node."""


@runtime_checkable
class NotesDamage(Protocol):
    """A backend that remembers which of its files are damaged, so that the next upload of the node sends them again."""

    def lacks(self, node: Node) -> Sequence[FileEntry]:
        """Return the files of a node that are missing, of another size or ETag, or were noted; no file is read."""

    def note_damage(self, node: Node, file: FileEntry) -> None:
        """Record that a file of a node was read, and that its bytes are not those that were uploaded.

        Only the size and the checksum in the record were compared. One that is right after all is sent again for nothing.

        Raises:
            BackendPermissionError: The user may not write there.
        """


@runtime_checkable
class Collects(Protocol):
    """A backend whose unreferenced files the client collects."""

    def collect(
        self, path: str = "/", *, grace_s: float = 72 * 3600.0, keep_versions: int = 1, apply: bool = False
    ) -> Garbage:
        """Find, and with `apply` delete, what no kept generation refers to.

        Args:
            path: Folder or node to look below.
            grace_s: Only what is older than so many seconds, by the store's own clock.
            keep_versions: How many generations of each node to keep beside those younger than the grace.
            apply: Whether to delete.
        """


@runtime_checkable
class ChecksRecords(Protocol):
    """A backend that searches its own records for damage, and repairs some of it."""

    def flaws(self, path: str = "/") -> Iterator[Flaw]:
        """Yield what is wrong with the records below a folder, or of one node, the newest version of each node first.

        Every record is read, and every file that a readable version needs is looked for; no byte of a file is read.
        """

    def repair(self, flaw: Flaw) -> str:
        """Fix a flaw that `flaws` yielded, as far as that can be done; whatever is replaced is kept beside.

        Returns:
            What was done; '' where nothing can be.

        Raises:
            BackendError: The flaw could not be fixed now.
        """

    def put_back(self, node: Node, file: FileEntry, body: Body) -> None:
        """Write the bytes of a file of a node once more, where they belong.

        Args:
            node: A generation that needs it.
            file: As its list has it.
            body: Its bytes, with the size and checksum of the file.

        Raises:
            InvalidInput: The bytes are those of another file.
        """


UPLOAD_ABILITIES = (TakesParts, SendsDirect)
"""All that an upload may be able to do beyond the port."""

BACKEND_ABILITIES = (
    ServesUsers,
    SignsReads,
    Grows,
    ListsPages,
    TellsLeftOut,
    TellsState,
    MarksStore,
    KnowsOrigins,
    NotesDamage,
    Collects,
    ChecksRecords,
)
"""All that a backend may be able to do beyond the port."""
