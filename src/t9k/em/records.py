"""The records that travel between domain, transfer and backends: plain, frozen, validated where they are made."""

from __future__ import annotations

import enum
import hashlib
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, BinaryIO, TypeVar

from attrs import field, frozen
from attrs.validators import in_

from t9k.em.errors import SourceChanged
from t9k.em.names import check_collisions, check_key, check_name, check_path, check_strategy, is_op

__all__ = [
    "CHUNK_BYTES",
    "COMPARISONS",
    "Body",
    "Draft",
    "FileEntry",
    "FileSpec",
    "Flaw",
    "Garbage",
    "Listing",
    "Node",
    "ObjectInfo",
    "Origin",
    "Outcome",
    "Part",
    "Segment",
    "SignedRequest",
    "SignedUpload",
    "UploadRequest",
    "parse_utc",
    "utc_text",
]

CHUNK_BYTES = 1 << 20
FOLDER, RUN, ARTIFACT = "Folder", "Run", "Artifact"
COMPARISONS = ("listing", "content")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_Bytes = TypeVar("_Bytes", bytes, memoryview)


_second: tuple[int, str] = (0, "1970-01-01T00:00:00.")
"""Cache of the last formatted second: epoch seconds and text; replaced atomically, because threads share it."""


def utc_text(moment: datetime | None = None) -> str:
    """Return a time as text, UTC with microseconds: `2023-08-17T08:05:24.390002Z`; now by default."""
    global _second  # noqa: PLW0603 - writing a date costs more than all else of a logged line
    if moment is not None:
        return f"{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S.%f}Z"
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    known, text = _second
    if known != seconds:
        text = f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S.}"
        _second = seconds, text
    return f"{text}{nanoseconds // 1000:06d}Z"


def parse_utc(text: str) -> datetime:
    """Return the reverse of `utc_text`."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)


def _valid_key(_: object, __: object, value: str) -> None:
    check_key(value)


def _valid_size(_: object, __: object, value: int) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"size must be a non-negative int, not {value!r}")


def _valid_sha256(_: object, __: object, value: str) -> None:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"sha256 must be 64 lower-case hexadecimal digits, not {value!r}")


@frozen(kw_only=True)
class FileSpec:
    """One file of a node by what it holds.

    Attributes:
        key: Its key within the node, components joined by '/'.
        size: In bytes.
        sha256: Of its bytes, 64 lower-case hexadecimal digits.
    """

    key: str = field(validator=_valid_key)
    size: int = field(validator=_valid_size)
    sha256: str = field(validator=_valid_sha256)


@frozen(kw_only=True)
class Origin:
    """An object that holds the bytes of a body already, so that a store that can copy it need not be sent them.

    Attributes:
        store: The `t9k.em.backend.ObjectStore` that it lies in.
        key: Its key there.
        etag: What that store called its content when it was written, '' where it said nothing.
    """

    store: Any = field(repr=False)
    key: str
    etag: str = ""


@frozen(kw_only=True)
class Body:
    """The bytes of one file on their way into a store, read again from the start on each `chunks()`.

    Attributes:
        size: In bytes.
        sha256: Of all bytes, hexadecimal. '' where nobody announced it: of a part only, see
            `t9k.em.backend.AssemblesParts`, whose whole is compared in the end; then only the size is compared here.
        open: Opens the bytes for reading; may be called more than once and from any thread.
        path: A local file that holds exactly these bytes, where there is one: a store may clone it. Otherwise None.
        origin: An object that holds exactly these bytes, where there is one: a store of the same service may copy it.
        what: Name of the source in error messages.
    """

    size: int
    sha256: str
    open: Callable[[], BinaryIO]
    path: str | os.PathLike[str] | None = None
    origin: Origin | None = None
    what: str = "the data"

    @classmethod
    def of(cls, data: bytes) -> Body:
        """Return a body that is in memory already."""
        return cls(size=len(data), sha256=hashlib.sha256(data).hexdigest(), open=lambda: io.BytesIO(data))

    def chunks(self, size_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield the bytes; after the last of them, size and checksum have been compared with the plan.

        Args:
            size_bytes: Of every chunk but the last.

        Raises:
            SourceChanged: The bytes are not those that were planned; what was made of them must be thrown away.
        """
        with self.open() as stream:
            yield from self._checked(lambda size: _read_exactly(stream, size), size_bytes)

    def views(self, size_bytes: int) -> Iterator[memoryview]:
        """Yield the same without copying, where the source has the bytes in memory: for who does no more than hash and write them.

        Args:
            size_bytes: Of every view but the last.

        Raises:
            SourceChanged: See `chunks`.
        """
        with self.open() as stream:
            view = getattr(stream, "view", None)
            yield from self._checked(view or (lambda size: memoryview(_read_exactly(stream, size))), size_bytes)

    def read(self) -> bytes:
        """All bytes, checked.

        Raises:
            SourceChanged: See `chunks`.
        """
        if self.size > CHUNK_BYTES:
            return b"".join(self.chunks())
        with self.open() as stream:  # most files are small, and this is quicker
            data = _read_exactly(stream, self.size) if self.size else b""
        self._check(len(data), hashlib.sha256(data).hexdigest())
        return data

    def _checked(self, read: Callable[[int], _Bytes], size_bytes: int) -> Iterator[_Bytes]:
        digest = hashlib.sha256()
        left = self.size
        while left and (chunk := read(min(left, size_bytes))):
            left -= len(chunk)
            if self.sha256:
                digest.update(chunk)
            yield chunk
        self._check(self.size - left, digest.hexdigest())

    def _check(self, size: int, sha256: str) -> None:
        if size != self.size or (self.sha256 and sha256 != self.sha256):
            raise SourceChanged(f"{self.what} changed while it was uploaded; upload again when nothing writes to it")


def _read_exactly(stream: BinaryIO, size_bytes: int) -> bytes:
    """So many bytes, or what there is before the end; a stream may give less at a time."""
    data = stream.read(size_bytes)
    if not data or len(data) == size_bytes:
        return data
    pieces, missing = [data], size_bytes - len(data)
    while missing and (data := stream.read(missing)):
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


@frozen(kw_only=True)
class Draft:
    """A node that somebody wants to publish.

    Attributes:
        kind: 'Run' or 'Artifact'.
        name: The name it should get.
        alternative_name: The name it gets under the strategy 'new' when the other is taken.
        id: UUID of the run or artifact; an upload with the id of the node that is there is an update of that node.
        metadata: What listings and `load` show without reading files; JSON types only.
    """

    kind: str
    name: str = field(validator=lambda _, __, value: check_name(value) and None)
    alternative_name: str = field(validator=lambda _, __, value: check_name(value, what="alternative name") and None)
    id: str
    metadata: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class UploadRequest:
    """All that a backend needs to know before the first byte moves.

    Attributes:
        folder: Absolute path of the folder to upload into.
        draft: The node to publish.
        files: Everything that the node consists of.
        strategy: 'skip', 'error', 'new' or 'replace', for a name that another node has.
        make_folder: Whether to make the folder and its parents when missing.
        op: Unique to this upload, see `names.new_op`; the same one again resumes it.
        resumed: Whether `op` was used before, by a process that did not finish; perhaps used is used.
        since: A generation of the name that is older than `op`; what was published up to it need not be looked through.
        prefer_alternative: Whether the node was uploaded here under its alternative name before.
        ancestors: The ops that what is uploaded comes from: those that its copy was loaded from, and those that it uploaded or
            began to. A newest generation of the same node by another op is a conflict but for 'replace'. None to publish on
            top of whatever is there.
        compare: How the files of the newest generation are compared that need not be sent, for it has the same: 'listing', by
            presence and size and whatever checksum a listing of the store tells; 'content', where that tells none by their
            bytes. What is not right is sent again.
        bodies: The bytes of files by key, as far as the caller has them at hand: a resumed upload compares them with what
            it finds in the store. Those that it has to send are given to `Upload.put` all the same.
    """

    folder: str = field(validator=lambda _, __, value: check_path(value) and None)
    draft: Draft
    files: tuple[FileSpec, ...] = field()
    strategy: str = field(default="new", validator=lambda _, __, value: check_strategy(value) and None)
    make_folder: bool = False
    op: str = field()
    resumed: bool = False
    since: int = 0
    prefer_alternative: bool = False
    ancestors: tuple[str, ...] | None = None
    compare: str = field(default="listing", validator=in_(COMPARISONS))
    bodies: Mapping[str, Body] = field(factory=dict, repr=False, eq=False)

    @files.validator
    def _distinct(self, _: object, value: tuple[FileSpec, ...]) -> None:
        check_collisions(file.key for file in value)

    @op.validator
    def _well_formed(self, _: object, value: str) -> None:
        if not is_op(value):
            raise ValueError(f"op {value!r} was not made by names.new_op")


class Outcome(enum.Enum):
    """What became of an upload."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"


@frozen(kw_only=True)
class FileEntry:
    """One file of a published node.

    Attributes:
        key: Its key within the node.
        op: The upload that brought its bytes; they lie under that prefix.
        size: In bytes.
        sha256: Of its bytes, hexadecimal.
        etag: What the store called its content, where it says so; '' otherwise.
    """

    key: str = field(validator=_valid_key)
    op: str
    size: int = field(validator=_valid_size)
    sha256: str = field(validator=_valid_sha256)
    etag: str = ""

    @property
    def spec(self) -> FileSpec:
        """The file without where it lies."""
        return FileSpec(key=self.key, size=self.size, sha256=self.sha256)

    def holds(self, file: FileSpec) -> bool:
        """Return whether these are the bytes of a file that was planned."""
        return self.sha256 == file.sha256 and self.size == file.size and self.key == file.key


@frozen(kw_only=True)
class Node:
    """One generation of a node, as `stat` and listings give it.

    Attributes:
        path: Absolute path, without the generation.
        kind: 'Folder', 'Run' or 'Artifact'.
        id: UUID of the run, artifact or folder.
        generation: Counts the publications under this name from 1; 0 for a folder that always exists.
        modified: When this generation was published, UTC by the writer's clock, see `utc_text`.
        writer: User that published it.
        metadata: As given in `Draft`; a listing may leave out large values.
        file_count: Number of files.
        size: Of all files together, in bytes.
        deleted: Whether this generation says that the node was deleted.
        op: The upload that it is, as `stat` and an upload tell; '' where a listing leaves it out, and of folders and deletions.
        handle: The backend's own; callers pass it back and do not look inside.
    """

    path: str
    kind: str
    id: str
    generation: int
    modified: str = ""
    writer: str = ""
    metadata: Mapping[str, Any] = field(factory=dict)
    file_count: int = 0
    size: int = 0
    deleted: bool = False
    op: str = field(default="", eq=False)
    handle: Any = field(default=None, repr=False, eq=False)

    @property
    def name(self) -> str:
        """The last component of the path; '' for the root."""
        return self.path.rpartition("/")[2]


@frozen(kw_only=True)
class Listing:
    """The children of a folder, and whether these are all.

    Attributes:
        nodes: Those that can be read, by name.
        damaged: Those whose record is damaged: name, in lower case perhaps -> what is wrong.
        is_whole: Whether no child is left out because the reader may not see it. Only then is a name that is not here
            the name of nothing.
    """

    nodes: Sequence[Node]
    damaged: Mapping[str, str] = field(factory=dict)
    is_whole: bool = True


@frozen(kw_only=True)
class Flaw:
    """Something in a store that is not as it was written.

    Attributes:
        kind: 'rot': bytes of a file differ. 'missing': a file is not there. 'record': the record of a version is damaged.
            'list': the list of the files of a version is damaged or gone. 'chain': a record that others need is not
            there. 'listing': a listing says something else than the record. 'unread': it could not be looked at.
        path: The node, or 'path@3' for an older version of it.
        key: Of a file, its key within the node; of a record, its key in the store; '' where it is about none.
        problem: What is wrong, and where known what to do.
        handle: Of the backend.
    """

    kind: str
    path: str
    key: str = ""
    problem: str
    handle: object = field(default=None, eq=False, repr=False)


@frozen(kw_only=True)
class ObjectInfo:
    """One object of a store.

    Attributes:
        key: Its key.
        size: In bytes.
        modified: POSIX time of its last change in seconds, by the store's own clock.
        etag: The store's name for its content; '' where the store gives no such name.
        sha256: Of its bytes, hexadecimal, where the store keeps it; '' otherwise.
    """

    key: str
    size: int
    modified: float
    etag: str = ""
    sha256: str = ""


@frozen(kw_only=True)
class Part:
    """Some bytes of a file that is not whole yet.

    Attributes:
        start: Of the first of them in the file.
        size: In bytes.
    """

    start: int
    size: int


@frozen(kw_only=True)
class Segment:
    """Some bytes that were appended to a growing file.

    Attributes:
        key: The file within its node.
        start: Of the first byte in the file.
        size: In bytes.
        modified: POSIX time of the append in seconds, by the store's own clock.
    """

    key: str
    start: int
    size: int
    modified: float


@frozen(kw_only=True)
class SignedRequest:
    """An HTTP request that may be sent by who has no credentials for the service.

    Attributes:
        method: 'GET' or 'PUT'.
        url: With the signature in it: as good as a password while it lasts, so it is never logged.
        headers: That have to be sent as they are.
        start: Of the first byte that it carries, of those of the whole file.
        size: How many bytes it carries; for reading 0, the range is the sender's choice.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    start: int = 0
    size: int = 0


@frozen(kw_only=True)
class SignedUpload:
    """The requests that bring a file to where it is kept.

    Attributes:
        requests: What is still to be sent, in any order; the bytes of each are its body.
        token: Says which upload they belong to; given back when all were sent.
    """

    requests: tuple[SignedRequest, ...]
    token: str = ""


@frozen(kw_only=True)
class Garbage:
    """What a collection found.

    Attributes:
        objects: Everything that no kept generation refers to and that is old enough.
        applied: Whether it was deleted.
    """

    objects: tuple[ObjectInfo, ...]
    applied: bool

    @property
    def size(self) -> int:
        """Of all objects together, in bytes."""
        return sum(found.size for found in self.objects)
