"""The port `ObjectStore`, a flat place for bytes, and what a store may be able to do beyond the port."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from t9k.em.backend.closable import Closable

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.records import Body, ObjectInfo, Part, SignedRequest, SignedUpload
    from t9k.em.uris import URI


class ObjectStore(Closable, ABC):
    """A flat set of keys with bytes, strongly consistent: what was put is listed and read by everybody at once.

    Keys are valid in the sense of `names.check_key`, but for `.em` components, which stores treat as any other.
    A prefix is '' or ends with '/'.

    Attributes:
        parallelism: How many calls at a time pay off; more do no harm, for a store bounds by itself what it has under
            way, requests and bytes in memory alike.
        batch_files: Preferred number of files of one `put_many`.
        batches: Number of concurrent `put_many` that pay off; None for `parallelism`.
    """

    parallelism: int = 8
    batch_files: int = 64
    batches: int | None = None

    @classmethod
    @abstractmethod
    def from_uri(cls, uri: URI) -> Self:
        """Make the store that a URI names, without any I/O.

        Raises:
            InvalidURI: The URI lacks something, or an option is unknown.
        """

    @abstractmethod
    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes [start, end) of an object in chunks of at most some megabytes.

        An end past the object's is its end. The first chunk is fetched before this returns, so that a missing object
        raises here and not in the caller's loop.

        Raises:
            NotFound: No such object exists.
            BackendUnavailable: The store did not answer.
        """

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below a prefix, each once, in any order.

        An object that is put or deleted meanwhile may be there or not. A prefix without objects is not an error.
        """

    @abstractmethod
    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """Write a whole object; readers see the old one or the new one and nothing between. Durable on return.

        Args:
            key: Its key.
            body: Its bytes; the store reads them through `Body.chunks`, or clones `Body.path` and verifies.
            if_absent: Whether an object that is there must not be touched. Of many writers exactly one succeeds.

        Raises:
            AlreadyExists: With `if_absent`: an object is there. It may be this caller's own, when a driver repeats
                requests by itself.
            SourceChanged: The bytes are not those of the body's size and checksum; nothing was written.
            BackendUnavailable: The outcome is unknown; the write may even happen later.
            BackendFull: No space is left.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error. Not atomic over several keys."""

    def put_many(self, items: Sequence[tuple[str, Body]]) -> Sequence[ObjectInfo]:
        """Write many objects, each as by `put`; after an error some may be there.

        The default puts one after the other. Override it where a batch costs less.
        """
        return [self.put(key, body) for key, body in items]


@runtime_checkable
class ListsInOrder(Protocol):
    """A store that lists from any key on, so that a listing that is broken off costs only what was taken of it."""

    def list_after(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix that come behind a key, in an order of the store's own.

        The objects below a longer prefix that ends with '/' follow one another, and the order is always the same.

        Args:
            prefix: See the class.
            after: The key, which need not be one of an object; '' for all.
        """


@runtime_checkable
class CopiesObjects(Protocol):
    """A store that copies an object without the bytes passing through the client."""

    def copy(self, source: str, target: str) -> ObjectInfo:
        """Copy an object; an existing target is replaced. Durable on return.

        Raises:
            NotFound: The source does not exist.
        """


@runtime_checkable
class RecognizesContent(Protocol):
    """A store that identifies the content of an object from a listing, although it keeps no SHA-256."""

    def recognizes(self, info: ObjectInfo, body: Body) -> bool:
        """Return whether a listed object certainly has the bytes of a body; the body is read, the store is not asked.

        Args:
            info: From `list` or `put`.
            body: The bytes.

        Raises:
            SourceChanged: The body is not what was announced.
        """


@runtime_checkable
class FillsBuffers(Protocol):
    """A store that reads an object into memory of the caller, without a copy in its own.

    Attributes:
        fills_buffers: Whether that is faster over the present connection.
    """

    @property
    def fills_buffers(self) -> bool: ...  # noqa: D102 - an attribute, see above

    def read_into(self, key: str, start: int, buffer: memoryview) -> int:
        """Fill a buffer with the bytes of an object from `start` on, as far as the object goes.

        Args:
            key: Its key.
            start: The first byte, which is one of the object.
            buffer: Where they go; what lies behind the end of the object may be overwritten.

        Returns:
            The size of the whole object.

        Raises:
            NotFound: No such object exists.
            BackendUnavailable: The store did not answer; what is in the buffer is undefined.
        """


@runtime_checkable
class AssemblesParts(Protocol):
    """A store that takes an object in parts, in any order and from several processes, and shows it only when it is whole.

    The key alone identifies an upload in progress, since a key of the tree stands for one content.
    """

    def put_part(self, key: str, start: int, body: Body) -> None:
        """Keep the bytes from `start` on. The same part again is harmless.

        A process that is killed after the return loses nothing. A machine that crashes may forget a part, so that it has
        to be sent again; it never claims one that is not there.

        Args:
            key: Of the object.
            start: Where the bytes belong in it.
            body: The bytes; its checksum may be '', for the whole is compared in `assemble`.

        Raises:
            SourceChanged: The bytes are not those of the body's size and checksum; nothing was kept.
            BackendUnavailable: Try again; so it is too when somebody drops the parts meanwhile.
            BackendFull: No space is left.
        """

    def parts(self, key: str) -> Sequence[Part]:
        """Return the parts that are there whole, by `start`; none when nothing was put, or it is assembled already."""

    def assemble(self, key: str, size: int, sha256: str) -> ObjectInfo:
        """Make the object of its parts; durable on return, and harmless again.

        Raises:
            NotFound: Some bytes of [0, size) are in no part; those that are there stay.
            SourceChanged: The whole is not what was announced; no part of it is there any more.
        """

    def drop_parts(self, key: str) -> None:
        """Forget the parts of an object that will never be assembled."""


@runtime_checkable
class SignsRequests(Protocol):
    """A store whose service accepts requests that are signed here, sent by others, and valid for a limited time.

    The methods that sign raise `NotAuthenticated` if the store was opened without credentials.
    """

    def sign_get(self, key: str, *, lifetime_s: float) -> SignedRequest:
        """Sign the reading of an object, ranges of it too."""

    def sign_put(self, key: str, size: int, sha256: str, *, lifetime_s: float) -> SignedUpload:
        """Sign the writing of an object, in as many requests as its size takes; those for parts that are there are left out.

        Args:
            key: Its key.
            size: In bytes.
            sha256: Of its bytes; the service compares it where it can.
            lifetime_s: Validity of the signatures, in seconds.
        """

    def complete_signed(self, key: str, size: int, token: str) -> ObjectInfo:
        """Make the object of what was sent; harmless again.

        Args:
            key: Its key.
            size: In bytes.
            token: Of the `SignedUpload`.

        Raises:
            NotFound: Some bytes were not sent.
        """


@runtime_checkable
class SweepsTemporary(Protocol):
    """A store whose interrupted writes leave temporary data that no listing shows."""

    def sweep(self, older_than_s: float) -> Iterator[ObjectInfo]:
        """Yield the remains of interrupted writes that are older than so many seconds by the store's clock."""

    def remove_swept(self, found: Iterable[ObjectInfo]) -> None:
        """Remove what `sweep` yielded."""


@runtime_checkable
class MakesRoot(Protocol):
    """A store or backend whose root may have to be made, which a write does only where the directory above is there."""

    def make_root(self) -> None:
        """Make the root and all above it, before `open`, unless it exists."""


STORE_ABILITIES = (
    ListsInOrder,
    CopiesObjects,
    RecognizesContent,
    FillsBuffers,
    AssemblesParts,
    SignsRequests,
    SweepsTemporary,
    MakesRoot,
)
"""All that a store may be able to do beyond the port."""
