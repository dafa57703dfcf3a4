"""The records on a store: keys, head records, manifests. The one module that knows their form.

For a folder F, with `<c>` the folded name, percent-encoded, as `names.encode_component` has it::

    F/.em/h/<c>/<gen:08d>.json           head record: one generation of a child; written once, never changed
    F/.em/index.json                     cache of newest heads for listings
    F/<name>/<op>/<key>                  the files of an upload
    F/<name>/<op>/.em/manifest-<sha256>.json.gz    its list of files, when too long for the head, see `manifests`

What lies under `.em/parts/` and `.em/grown/` of an upload is written down in `parts` and `growing`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

from attrs import evolve, field, frozen

from t9k.em import json_values
from t9k.em.errors import CorruptManifest, InvalidInput
from t9k.em.names import check_name, encode_component, fold, join
from t9k.em.records import FOLDER, FileEntry, Node
from t9k_em_backends.tree import values
from t9k_em_backends.tree.values import dump_json

FORMAT = 1
FILES_IN_HEAD_BYTES = 256 << 10
MAX_HEAD_BYTES = 4 << 20
MAX_GENERATION = 99_999_999

_SMALLEST_RECORD_BYTES = 150

_HEAD_KEY = re.compile(r"(?P<folder>(?:.*/)?)\.em/h/(?P<c>[^/]+)/(?P<generation>\d{8})\.json")

State = Literal["ready", "closing", "deleted"]
Span = tuple[str, str]


@frozen(kw_only=True)
class ManifestRef:
    """Where the list of files lies that did not fit into its head."""

    op: str
    sha256: str


@frozen(kw_only=True)
class Head:
    """One generation of a name.

    Attributes:
        write_id: Unique to one attempt to publish, by which a writer recognizes its own record.
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
        fenced_spans: All uploads from the first to the last of each pair must not either, see `fences`.
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
    fenced_spans: tuple[Span, ...] = ()
    collected: int = 0
    writer: str
    time: str

    @property
    def ready(self) -> bool:
        """Whether there is a node."""
        return self.state != "deleted"


def folder_prefix(folder: str) -> str:
    """Return the prefix of all that lies in a folder: '/' -> '', '/a/b' -> 'a/b/'."""
    return "" if folder == "/" else f"{folder[1:]}/"


def heads_prefix(folder: str, name: str | None = None) -> str:
    """Return the prefix of the heads of one name, or of all children of a folder."""
    prefix = f"{folder_prefix(folder)}.em/h/"
    return prefix if name is None else f"{prefix}{encode_component(fold(name))}/"


def head_key(prefix: str, generation: int) -> str:
    """Return the key of one head record below the prefix of its name."""
    return f"{prefix}{generation:08d}.json"


def split_head_key(key: str) -> tuple[str, str, int] | None:
    """Return the folder prefix, folded encoded name and generation in a head's key; None for any other key."""
    match = _HEAD_KEY.fullmatch(key)
    return match and (match["folder"], match["c"], int(match["generation"]))


def index_key(folder: str) -> str:
    """Return the key of a folder's listing cache."""
    return f"{folder_prefix(folder)}.em/index.json"


def upload_prefix(folder: str, name: str, op: str) -> str:
    """Return the prefix of the files of one upload."""
    return f"{folder_prefix(folder)}{name}/{op}/"


def file_key(folder: str, name: str, file: FileEntry) -> str:
    """Return the key of one file of a node."""
    return upload_prefix(folder, name, file.op) + file.key


def manifest_key(folder: str, name: str, manifest: ManifestRef) -> str:
    """Return the key of a list of files; its content is part of it, so that it never changes."""
    return f"{upload_prefix(folder, name, manifest.op)}.em/manifest-{manifest.sha256}.json.gz"


def encode_head(head: Head) -> bytes:
    """Write a head as JSON."""
    record = {
        "v": FORMAT,
        "write_id": head.write_id,
        "op": head.op,
        "kind": head.kind,
        "state": head.state,
        "name": head.name,
        "id": head.id,
        "files": [values.file_record(file) for file in head.files],
        "manifest": None if head.manifest is None else {"op": head.manifest.op, "sha256": head.manifest.sha256},
        "file_count": head.file_count,
        "size": head.size,
        "metadata": head.metadata,
        "fenced": head.fenced,
        **({"fenced_spans": head.fenced_spans} if head.fenced_spans else {}),
        "collected": head.collected,
        "writer": head.writer,
        "time": head.time,
    }
    return dump_json(record)


def seal_head(head: Head, key: str) -> bytes:
    """Write a head as JSON, and read it as everybody will who looks for the node.

    Raises:
        InvalidInput: A reader would refuse it, or find something else in it.
    """
    try:
        data = encode_head(head)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"the record {key} cannot be written ({error}); nothing was published") from error
    if len(data) > MAX_HEAD_BYTES:
        raise InvalidInput(
            f"the record {key} would take {len(data)} bytes, of at most {MAX_HEAD_BYTES}; nothing was published. Make its "
            "metadata smaller, or where its uploads were given up often, run `em gc --apply` on it"
        )
    try:
        read = decode_head(data, key)
    except CorruptManifest as error:
        raise InvalidInput(f"no reader would take this record, so nothing was published: {error.__cause__}") from error
    if encode_head(read) != data:
        raise InvalidInput(
            f"a reader would find something else in the record {key}, so nothing was published; "
            "give metadata of JSON types, with texts for keys"
        )
    return data


def decode_head(data: bytes, key: str) -> Head:
    """Read a head and believe nothing: a bucket may be hostile.

    Raises:
        CorruptManifest: The bytes are no head, or not one that may lie under this key.
    """
    try:
        if len(data) > MAX_HEAD_BYTES:
            raise ValueError(f"it is larger than {MAX_HEAD_BYTES} bytes")
        record = values.parse_json(data)
        values.format_of(record, FORMAT, key)
        head = _head(record)
        if encode_component(fold(head.name)) != key.split("/")[-2]:
            raise ValueError(f"name {head.name!r} belongs under another key")
    except values.NewerFormat:
        raise
    except values.FLAWS as error:
        raise CorruptManifest(
            f"the record {key} is damaged ({error}); `em check --repair` puts the last good version back, or delete the node and "
            "upload it again"
        ) from error
    return head


def deletion(name: str, writer: str, time: str) -> Head:
    """Return the head of a deleted node of which nothing else is known.

    Args:
        name: Of the node.
        writer: Who deletes it.
        time: When, as in records.
    """
    return Head(write_id=uuid4().hex, kind="", state="deleted", name=name, id="", writer=writer, time=time)


def fits(head: Head) -> bool:
    """Return whether a head can have its files in it."""
    return (
        len(head.files) * _SMALLEST_RECORD_BYTES <= FILES_IN_HEAD_BYTES
        and len(encode_head(head)) <= FILES_IN_HEAD_BYTES
    )


def with_files(head: Head, files: tuple[FileEntry, ...]) -> Head:
    """Return the head with its files, and their number and size."""
    return evolve(head, files=files, file_count=len(files), size=sum(file.size for file in files))


def to_node(folder: str, generation: int, head: Head) -> Node:
    """Return a head as the record of the port."""
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


def _head(record: Mapping[str, Any]) -> Head:
    """Return the head in a JSON record.

    Raises:
        EMError, ValueError, TypeError, KeyError: The record is no head.
    """
    kind, state, manifest = values.text(record["kind"]), record["state"], record["manifest"]
    if state not in (("ready", "closing", "deleted") if kind == FOLDER else ("ready", "deleted")):
        raise ValueError(f"state {state!r:.100}")
    file_count, size = json_values.count(record["file_count"]), json_values.count(record["size"])
    files = tuple(map(values.file_entry, json_values.items(record["files"])))
    return Head(
        write_id=values.text(record["write_id"]),
        op=None if record["op"] is None else values.op(record["op"]),
        kind=kind,
        state=state,
        name=check_name(record["name"]),
        id=values.text(record["id"]),
        files=values.distinct(files, *((0, 0) if manifest is not None else (file_count, size))),
        manifest=None
        if manifest is None
        else ManifestRef(op=values.op(manifest["op"]), sha256=values.sha256(manifest["sha256"])),
        file_count=file_count,
        size=size,
        metadata=values.metadata(record["metadata"]),
        fenced=tuple(map(values.op, json_values.items(record["fenced"]))),
        fenced_spans=tuple(map(_span, json_values.items(record.get("fenced_spans", [])))),
        collected=json_values.count(record["collected"], MAX_GENERATION),
        writer=values.text(record["writer"]),
        time=values.time(record["time"]),
    )


def _span(value: Any) -> Span:
    first, last = map(values.op, json_values.items(value))
    if first > last:
        raise ValueError(f"{first} is later than {last}")
    return first, last
