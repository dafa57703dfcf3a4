"""The records on a store: keys, head records, manifests. The one module that knows their form.

For a folder F, with `<c>` the folded name, percent-encoded, as `names.encode_component` has it::

    F/.em/h/<c>/<gen:08d>.json           head record: one generation of a child; written once, never changed
    F/.em/index.json                     cache of newest heads for listings
    F/<name>/<op>/<key>                  the files of an upload
    F/<name>/<op>/.em/manifest-<sha256>.json.gz    its list of files, when too long for the head

What lies under `.em/parts/` and `.em/grown/` of an upload is written down in `parts` and `growing`.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from attrs import evolve, field, frozen

from t9k.em.errors import CorruptManifest, EMError, InvalidInput
from t9k.em.names import check_collisions, check_name, encode_component, fold, is_op, join
from t9k.em.records import FOLDER, FileEntry, Node

FORMAT = 1
FILES_IN_HEAD_BYTES = 256 << 10
MAX_HEAD_BYTES = 4 << 20
MAX_MANIFEST_BYTES = 512 << 20
_MOST_FRAME_BYTES = 100  # of the list, around its records
MAX_GENERATION = 99_999_999

_GZIP = 31  # what zlib calls the format
_AT_ONCE = 1000
_SMALLEST_RECORD_BYTES = 150

_HEAD_KEY = re.compile(r"(?P<folder>(?:.*/)?)\.em/h/(?P<c>[^/]+)/(?P<generation>\d{8})\.json")

State = Literal["ready", "closing", "deleted"]


@frozen(kw_only=True)
class ManifestRef:
    """Where the list of files lies that did not fit into its head."""

    op: str
    sha256: str


@frozen(kw_only=True)
class Head:
    """One generation of a name.

    Attributes:
        write_id: Unique to one attempt to publish; tells a writer whether a record that is there is its own.
        op: The upload that published it; None for folders, deletions and what the collector repeats.
        kind: 'Folder', 'Run', 'Artifact'; '' for a name that never had a node.
        state: 'ready', 'deleted' when this generation ends the node, or 'closing' when somebody is about to delete a
            folder that is still there.
        name: As the user wrote it.
        id: UUID of the node.
        files: Its files, sorted by key; empty when `manifest` has them.
        manifest: Where the files are listed when there are many.
        file_count: Number of files.
        size: Of all files together, in bytes.
        metadata: For listings and `load`.
        fenced: Uploads that must not be published any more, because the collector took files of theirs.
        collected: Generations up to this one may lack files.
        writer: User that published it.
        time: When, UTC by the writer's clock.
    """

    write_id: str
    op: str | None = None
    kind: str
    state: State
    name: str
    id: str
    files: tuple[FileEntry, ...] = ()
    manifest: ManifestRef | None = None
    file_count: int = 0
    size: int = 0
    metadata: Mapping[str, Any] = field(factory=dict)
    fenced: tuple[str, ...] = ()
    collected: int = 0
    writer: str
    time: str

    @property
    def ready(self) -> bool:
        """Whether there is a node."""
        return self.state != "deleted"


def folder_prefix(folder: str) -> str:
    """The prefix of all that lies in a folder: '/' -> '', '/a/b' -> 'a/b/'."""
    return "" if folder == "/" else f"{folder[1:]}/"


def heads_prefix(folder: str, name: str | None = None) -> str:
    """The prefix of the heads of one name, or of all children of a folder."""
    prefix = f"{folder_prefix(folder)}.em/h/"
    return prefix if name is None else f"{prefix}{encode_component(fold(name))}/"


def head_key(prefix: str, generation: int) -> str:
    """The key of one head record below the prefix of its name."""
    return f"{prefix}{generation:08d}.json"


def split_head_key(key: str) -> tuple[str, str, int] | None:
    """The folder prefix, folded encoded name and generation in a head's key; None for any other key."""
    match = _HEAD_KEY.fullmatch(key)
    return match and (match["folder"], match["c"], int(match["generation"]))


def index_key(folder: str) -> str:
    """The key of a folder's listing cache."""
    return f"{folder_prefix(folder)}.em/index.json"


def upload_prefix(folder: str, name: str, op: str) -> str:
    """The prefix of the files of one upload."""
    return f"{folder_prefix(folder)}{name}/{op}/"


def file_key(folder: str, name: str, file: FileEntry) -> str:
    """The key of one file of a node."""
    return upload_prefix(folder, name, file.op) + file.key


def manifest_key(folder: str, name: str, manifest: ManifestRef) -> str:
    """The key of a list of files; its content is part of it, so that it never changes."""
    return f"{upload_prefix(folder, name, manifest.op)}.em/manifest-{manifest.sha256}.json.gz"


def encode_head(head: Head) -> bytes:
    """Writes a head as JSON."""
    record = {
        "v": FORMAT,
        "write_id": head.write_id,
        "op": head.op,
        "kind": head.kind,
        "state": head.state,
        "name": head.name,
        "id": head.id,
        "files": [_file_record(file) for file in head.files],
        "manifest": None if head.manifest is None else {"op": head.manifest.op, "sha256": head.manifest.sha256},
        "file_count": head.file_count,
        "size": head.size,
        "metadata": head.metadata,
        "fenced": head.fenced,
        "collected": head.collected,
        "writer": head.writer,
        "time": head.time,
    }
    return dump_json(record)


def decode_head(data: bytes, key: str) -> Head:
    """Reads a head and believes nothing: a bucket may be hostile.

    Raises:
        CorruptManifest: It is no head, or not one that may lie under this key.
    """
    try:
        record = json.loads(data)
        if record["v"] != FORMAT:
            raise CorruptManifest(f"{key} has format {record['v']!r}, this version reads {FORMAT}; upgrade t9k-em")
        name, kind, state = record["name"], record["kind"], record["state"]
        manifest = record["manifest"]
        head = Head(
            write_id=_text(record["write_id"]),
            op=None if record["op"] is None else _op(record["op"]),
            kind=_text(kind),
            state=state,
            name=check_name(name),
            id=_text(record["id"]),
            files=_file_entries(record["files"]),
            manifest=None
            if manifest is None
            else ManifestRef(op=_op(manifest["op"]), sha256=_sha256(manifest["sha256"])),
            file_count=_count(record["file_count"]),
            size=_count(record["size"]),
            metadata=_mapping(record["metadata"]),
            fenced=tuple(_op(op) for op in record["fenced"]),
            collected=_count(record["collected"]),
            writer=_text(record["writer"]),
            time=_text(record["time"]),
        )
        if state not in (("ready", "closing", "deleted") if kind == FOLDER else ("ready", "deleted")):
            raise ValueError(f"state {state!r}")
        if encode_component(fold(name)) != key.split("/")[-2]:
            raise ValueError(f"name {name!r} belongs under another key")
        if manifest is None and (len(head.files), sum(file.size for file in head.files)) != (
            head.file_count,
            head.size,
        ):
            raise ValueError("file_count or size")
    except CorruptManifest:
        raise
    except (EMError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptManifest(
            f"the record {key} is damaged ({error}); upload the node again or ask who wrote it"
        ) from error
    return head


def encode_manifest(files: tuple[FileEntry, ...]) -> bytes:
    """Writes a list of files, piece by piece for there may be very many; the same list gives the same bytes.

    Raises:
        InvalidInput: It is larger than `decode_manifest` takes.
    """
    size = 0
    deflate = zlib.compressobj(6, wbits=_GZIP)
    pieces = [deflate.compress(f'{{"v":{FORMAT},"files":['.encode())]
    for at in range(0, len(files), _AT_ONCE):
        records = dump_json([_file_record(file) for file in files[at : at + _AT_ONCE]])[1:-1]
        size += len(records) + 1
        if size > MAX_MANIFEST_BYTES - _MOST_FRAME_BYTES:
            raise InvalidInput(
                f"the list of {len(files)} files takes more than {MAX_MANIFEST_BYTES} bytes; add them as archives of many files"
            )
        pieces.append(deflate.compress((b"," if at else b"") + records))
    return b"".join([*pieces, deflate.compress(b"]}"), deflate.flush()])


def fits(head: Head) -> bool:
    """Whether a head can have its files in it."""
    return (
        len(head.files) * _SMALLEST_RECORD_BYTES <= FILES_IN_HEAD_BYTES
        and len(encode_head(head)) <= FILES_IN_HEAD_BYTES
    )


def decode_manifest(data: bytes, head: Head, key: str) -> tuple[FileEntry, ...]:
    """Reads a list of files and compares it with the head that names it.

    Raises:
        CorruptManifest: It is not the one that the head means, or too large.
    """
    try:
        if head.manifest is None or hashlib.sha256(data).hexdigest() != head.manifest.sha256:
            raise ValueError("its SHA-256 differs from the one in the head")
        inflate = zlib.decompressobj(wbits=_GZIP)
        plain = inflate.decompress(data, MAX_MANIFEST_BYTES)
        if not inflate.eof:
            raise ValueError(f"it is cut, or larger than {MAX_MANIFEST_BYTES} bytes")
        files = _file_entries(json.loads(plain)["files"])
        if (len(files), sum(file.size for file in files)) != (head.file_count, head.size):
            raise ValueError("its number or size of files differs from the head")
    except (EMError, ValueError, TypeError, KeyError, RecursionError, zlib.error) as error:
        raise CorruptManifest(f"the list of files {key} is damaged: {error}; upload the node again") from error
    return files


def with_files(head: Head, files: tuple[FileEntry, ...]) -> Head:
    """The head with its files, and their number and size."""
    return evolve(head, files=files, file_count=len(files), size=sum(file.size for file in files))


def to_node(folder: str, generation: int, head: Head) -> Node:
    """What a head says, as the port's record."""
    return Node(
        path=join(folder, head.name),
        kind=head.kind,
        id=head.id,
        generation=generation,
        modified=head.time,
        writer=head.writer,
        metadata=head.metadata,
        file_count=head.file_count,
        size=head.size,
        deleted=not head.ready,
        op=head.op or "",
        handle=head,
    )


def dump_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _file_record(file: FileEntry) -> dict[str, Any]:
    record = {"key": file.key, "op": file.op, "size": file.size, "sha256": file.sha256}
    return {**record, "etag": file.etag} if file.etag else record


def _file_entries(records: Any) -> tuple[FileEntry, ...]:
    files = tuple(
        FileEntry(
            key=record["key"],
            op=_op(record["op"]),
            size=record["size"],
            sha256=record["sha256"],
            etag=_text(record.get("etag", "")),
        )
        for record in records
    )
    check_collisions(file.key for file in files)
    return files


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _op(value: Any) -> str:
    if not is_op(_text(value)):
        raise ValueError(f"{value!r} is no upload")
    return str(value)


def _sha256(value: Any) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", _text(value)):
        raise ValueError(f"{value!r} is no SHA-256")
    return str(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("metadata is no object")
    return value
