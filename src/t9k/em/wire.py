"""What the AIStore client and server say to each other: paths, headers, error codes, and the JSON of each record.

`docs/aistore-http.md` tells the whole contract; this module is the one place of its form in code, for both sides. Names
of fields that AIStore has had all along are kept: `storageType`, `modifiedTimestamp` and the like.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

from t9k.em import errors, json_values
from t9k.em.names import is_name, is_op
from t9k.em.records import (
    ARTIFACT,
    FOLDER,
    RUN,
    Draft,
    FileEntry,
    FileSpec,
    Node,
    Part,
    Segment,
    SignedRequest,
    SignedUpload,
    UploadRequest,
)

API: Final = 1
SERVICE: Final = "aistore"
PREFIX: Final = f"/apis/v{API}"
KEY_PARAMETER: Final = "apikey"
"""Of older clients; a server takes it only where that is switched on."""

BATCH_TYPE: Final = "application/vnd.t9k.em.files"
OWN, EDIT, VIEW, PASS = "own", "edit", "view", "pass"
"""What somebody may do with a node, the most first; 'pass' is to see that it is on the way to something else."""

STORAGE_TYPES: Final[Mapping[str, int]] = MappingProxyType({FOLDER: 0, RUN: 2, ARTIFACT: 2, "Model": 3, "Dataset": 3})
ASSET_HUB: Final = "t9k-assethub"
"""The folder in a user's home in which Models and Datasets lie: `/<user>/t9k-assethub/{model,dataset}/<folder>/<asset>`."""

MAX_DEPTH: Final = 64
MOST_FIELDS: Final = 1000
MOST_ANCESTORS: Final = 2000
MAX_HEADER_BYTES: Final = 8 << 10

_LENGTH = struct.Struct(">I")


# Errors.


@frozen
class Code:
    """One row of the table of errors.

    Attributes:
        status: Of the answer, by HTTP.
        error: What the client raises.
    """

    status: int
    error: type[errors.EMError]


CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {
        # What was asked.
        "bad_request": Code(400, errors.RequestRefused),
        "invalid_input": Code(400, errors.InvalidInput),
        "invalid_name": Code(400, errors.InvalidName),
        "invalid_key": Code(400, errors.InvalidKey),
        "invalid_strategy": Code(400, errors.InvalidStrategy),
        "key_collision": Code(400, errors.KeyCollision),
        "source_changed": Code(400, errors.SourceChanged),
        "method_not_allowed": Code(405, errors.RequestRefused),
        "length_required": Code(411, errors.RequestRefused),
        "too_large": Code(413, errors.RequestRefused),
        "unsupported_encoding": Code(415, errors.RequestRefused),
        "range_not_satisfiable": Code(416, errors.RequestRefused),
        # Who asks.
        "key_missing": Code(401, errors.NotAuthenticated),
        "key_malformed": Code(401, errors.NotAuthenticated),
        "key_unknown": Code(401, errors.NotAuthenticated),
        "key_revoked": Code(401, errors.NotAuthenticated),
        "key_expired": Code(401, errors.NotAuthenticated),
        "user_disabled": Code(401, errors.NotAuthenticated),
        "forbidden": Code(403, errors.BackendPermissionError),
        "quota_exceeded": Code(403, errors.QuotaExceeded),
        "rate_limited": Code(429, errors.RateLimited),
        # What is there.
        "not_found": Code(404, errors.NotFound),
        "folder_not_found": Code(404, errors.FolderNotFound),
        "upload_not_found": Code(404, errors.UploadForgotten),
        "conflict": Code(409, errors.Conflict),
        "name_collision": Code(409, errors.NameCollision),
        "diverged": Code(409, errors.Diverged),
        "upload_fenced": Code(409, errors.UploadFenced),
        # The server, and the store behind it.
        "internal": Code(500, errors.BackendError),
        "corrupt_data": Code(500, errors.CorruptData),
        "corrupt_manifest": Code(500, errors.CorruptManifest),
        "unsafe_store": Code(500, errors.UnsafeStore),
        "not_supported": Code(501, errors.RequestRefused),
        "store_refused": Code(502, errors.BackendError),
        "newer_store": Code(500, errors.NewerStore),
        "unavailable": Code(503, errors.BackendUnavailable),
        "store_gone": Code(503, errors.StoreGone),
        "commit_unknown": Code(503, errors.CommitUnknown),
        "full": Code(507, errors.BackendFull),
    }
)
"""Every code that an answer may carry; codes are never renamed."""

_BY_ERROR: Final[Mapping[type, str]] = MappingProxyType(
    {row.error: code for code, row in reversed(tuple(CODES.items()))}
    | {
        errors.RequestRefused: "bad_request",
        errors.NotAuthenticated: "key_unknown",
        # Of the store behind the server: its own credentials do not suffice, whatever the user may do.
        errors.BackendPermissionError: "store_refused",
        errors.BackendError: "internal",
        errors.EMError: "internal",
    }
)


def code_of(error: errors.EMError) -> str:
    """Return the code by which a server reports an error."""
    return next(_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR)


def error_json(code: str, message: str, request_id: str) -> dict[str, Any]:
    """Return the body of every response that reports an error.

    Args:
        code: One of `CODES`.
        message: For a person: what, where, and what to do next.
        request_id: By which the server's log names the request.
    """
    return {"error": {"code": code, "message": message, "requestId": request_id}}


# Nodes and files.


def node_json(node: Node, permission: str = OWN) -> dict[str, Any]:
    """Return a node, with what its reader may do with it."""
    metadata = node.metadata
    labels, description = metadata.get("labels"), metadata.get("description")
    created = metadata.get("created_timestamp", metadata.get("start_timestamp"))
    return {
        "id": node.id,
        "name": node.name,
        "path": node.path,
        "type": node.kind,
        "storageType": STORAGE_TYPES.get(node.kind, 2),
        "labels": labels if isinstance(labels, list) and all(isinstance(label, str) for label in labels) else [],
        "description": description if isinstance(description, str) else "",
        "editor": node.writer,
        "permission": permission,
        "modifiedTimestamp": node.modified,
        "extra": json.dumps({"createdTimestamp": created} if isinstance(created, str) else {}),
        "generation": node.generation,
        "fileCount": node.file_count,
        "size": node.size,
        "deleted": node.deleted,
        "op": node.op,
        "metadata": metadata,
    }


def node_of(record: Mapping[str, Any]) -> Node:
    """Return the reverse of `node_json`, for what a server answered.

    Raises:
        ValueError, TypeError, KeyError: The record is no node.
    """
    return Node(
        path=json_values.text(record["path"]),
        kind=json_values.text(record["type"]),
        id=json_values.text(record["id"]),
        generation=json_values.count(record["generation"]),
        modified=json_values.text(record["modifiedTimestamp"]),
        writer=json_values.text(record["editor"]),
        metadata=json_values.mapping(record["metadata"]),
        file_count=json_values.count(record["fileCount"]),
        size=json_values.count(record["size"]),
        deleted=bool(record["deleted"]),
        op=_op_or_none(record.get("op", "")),  # older servers do not tell
    )


def is_whole(page: Mapping[str, Any]) -> bool | None:
    """Return whether a page of a folder's children is of a listing that leaves nothing out; None where an older server does not tell.

    Raises:
        TypeError: The field has another form.
    """
    whole = page.get("whole")
    if whole is not None and not isinstance(whole, bool):
        raise TypeError(f"{whole!r} is neither true nor false")
    return whole


def damaged_of(page: Mapping[str, Any]) -> Mapping[str, str]:
    """Return which children of a page are damaged: name -> what is wrong; none of a server that does not tell.

    Raises:
        TypeError: The field has another form.
    """
    damaged = page.get("damaged", {})
    if not isinstance(damaged, dict) or not all(isinstance(problem, str) for problem in damaged.values()):
        raise TypeError("`damaged` is no object of texts")
    return {name: problem for name, problem in damaged.items() if is_name(name)}


def is_shown_whole(folder: Mapping[str, Any]) -> bool:
    """Return whether all that is in a folder is shown to who got this record of it: they may do more than pass it.

    Raises:
        KeyError, TypeError: The record is no node.
    """
    return json_values.text(folder["permission"]) in (VIEW, EDIT, OWN)


def file_json(file: FileEntry) -> dict[str, Any]:
    """Return a file of a published node."""
    return {"key": file.key, "op": file.op, "size": file.size, "sha256": file.sha256, "etag": file.etag}


def file_of(record: Mapping[str, Any]) -> FileEntry:
    """Return the reverse of `file_json`.

    Raises:
        ValueError, TypeError, KeyError: The record is no file.
    """
    return FileEntry(
        key=json_values.text(record["key"]),
        op=json_values.text(record["op"]),
        size=json_values.count(record["size"]),
        sha256=json_values.text(record["sha256"]),
        etag=json_values.text(record["etag"]),
    )


# Uploads.


def request_json(request: UploadRequest) -> dict[str, Any]:
    """Return the request of an upload as JSON; `bodies` stay here."""
    draft = request.draft
    return {
        "op": request.op,
        "folder": request.folder,
        "draft": {
            "type": draft.kind,
            "name": draft.name,
            "alternativeName": draft.alternative_name,
            "id": draft.id,
            "metadata": draft.metadata,
        },
        "files": [{"key": file.key, "size": file.size, "sha256": file.sha256} for file in request.files],
        "strategy": request.strategy,
        "makeFolder": request.make_folder,
        "resumed": request.resumed,
        "since": request.since,
        "preferAlternative": request.prefer_alternative,
        **({} if request.ancestors is None else {"ancestors": list(request.ancestors)}),
        **({} if request.compare == "listing" else {"compare": request.compare}),
    }


def request_of(record: Mapping[str, Any]) -> UploadRequest:
    """Return the reverse of `request_json`.

    Raises:
        InvalidInput: A name, key, path or strategy cannot be used, or the metadata are not plain JSON.
        ValueError, TypeError, KeyError: The record is no request.
    """
    draft = json_values.mapping(record["draft"])
    return UploadRequest(
        op=json_values.text(record["op"]),
        folder=json_values.text(record["folder"]),
        draft=Draft(
            kind=json_values.text(draft["type"]),
            name=json_values.text(draft["name"]),
            alternative_name=json_values.text(draft["alternativeName"]),
            id=json_values.text(draft["id"]),
            metadata=check_json(json_values.mapping(draft["metadata"])),
        ),
        files=tuple(
            FileSpec(key=file["key"], size=file["size"], sha256=file["sha256"])
            for file in json_values.items(record["files"])
        ),
        strategy=json_values.text(record["strategy"]),
        make_folder=bool(record["makeFolder"]),
        resumed=bool(record["resumed"]),
        since=json_values.count(record["since"]),
        prefer_alternative=bool(record["preferAlternative"]),
        ancestors=_ops(record.get("ancestors")),
        compare=json_values.text(record.get("compare", "listing")),
    )


def part_json(part: Part) -> dict[str, Any]:
    """Return a part that is there."""
    return {"start": part.start, "size": part.size}


def part_of(record: Mapping[str, Any]) -> Part:
    """Return the reverse of `part_json`.

    Raises:
        ValueError, TypeError, KeyError: The record is no part.
    """
    return Part(start=json_values.count(record["start"]), size=json_values.count(record["size"]))


def segment_json(segment: Segment) -> dict[str, Any]:
    """Return some bytes of a growing file as JSON."""
    return {"key": segment.key, "start": segment.start, "size": segment.size, "modified": segment.modified}


def segment_of(record: Mapping[str, Any]) -> Segment:
    """Return the reverse of `segment_json`.

    Raises:
        ValueError, TypeError, KeyError: The record is no segment.
    """
    return Segment(
        key=json_values.text(record["key"]),
        start=json_values.count(record["start"]),
        size=json_values.count(record["size"]),
        modified=float(record["modified"]),
    )


def signed_json(request: SignedRequest) -> dict[str, Any]:
    """Return a signed request."""
    return {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "start": request.start,
        "size": request.size,
    }


def signed_of(record: Mapping[str, Any]) -> SignedRequest:
    """Return the reverse of `signed_json`.

    Raises:
        ValueError, TypeError, KeyError: The record is no signed request.
    """
    return SignedRequest(
        method=json_values.text(record["method"]),
        url=json_values.text(record["url"]),
        headers={
            json_values.text(name): json_values.text(value)
            for name, value in json_values.mapping(record["headers"]).items()
        },
        start=json_values.count(record["start"]),
        size=json_values.count(record["size"]),
    )


def signed_upload_json(upload: SignedUpload) -> dict[str, Any]:
    """Return the signed requests that bring one file."""
    return {"requests": [signed_json(request) for request in upload.requests], "token": upload.token}


def signed_upload_of(record: Mapping[str, Any]) -> SignedUpload:
    """Return the reverse of `signed_upload_json`.

    Raises:
        ValueError, TypeError, KeyError: The record is no signed upload.
    """
    return SignedUpload(
        requests=tuple(map(signed_of, json_values.items(record["requests"]))), token=json_values.text(record["token"])
    )


# Several files in one body: for each, the length of a header as four bytes (unsigned, big-endian), the header as JSON
# in UTF-8, and the bytes of the file.


def frame(file: FileSpec) -> bytes:
    """Return the header of the bytes of a file in a batch."""
    header = json.dumps({"key": file.key, "size": file.size}, ensure_ascii=False, separators=(",", ":")).encode()
    return _LENGTH.pack(len(header)) + header


def frames(batch: bytes) -> Iterator[tuple[str, memoryview]]:
    """Take a batch apart: the key and the bytes of each file.

    Raises:
        RequestRefused: The body is no batch.
    """
    view, at = memoryview(batch), 0
    while at < len(view):
        try:
            (length,) = _LENGTH.unpack_from(view, at)
            if length > MAX_HEADER_BYTES:
                raise ValueError("the header of a file is too long")
            at += _LENGTH.size
            header = json.loads(bytes(view[at : at + length]))
            at += length
            key, size = json_values.text(header["key"]), json_values.count(header["size"])
            data = view[at : at + size]
            if len(data) != size:
                raise ValueError(f"it ends within the file {key!r}")
        except (struct.error, ValueError, TypeError, KeyError, RecursionError) as error:
            raise errors.RequestRefused(f"the body is no batch of files: {error}") from error
        at += size
        yield key, data


# Values.


def check_json(value: Any) -> Any:
    """Return a value that came as JSON, if every reader of JSON can take it.

    Raises:
        InvalidInput: The value is nested too deeply, has an object with too many fields, holds NaN or an infinity, an integer beyond
            64 bits or a lone surrogate.
    """
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise errors.InvalidInput(f"the JSON is nested more than {MAX_DEPTH} deep; flatten it")
        if isinstance(item, dict):
            if len(item) > MOST_FIELDS:
                raise errors.InvalidInput(f"an object of the JSON has {len(item)} fields, of at most {MOST_FIELDS}")
            pending.extend((inner, depth + 1) for pair in item.items() for inner in pair)
        elif isinstance(item, list):
            pending.extend((inner, depth + 1) for inner in item)
        elif flaw := _flaw(item):
            raise errors.InvalidInput(flaw)
    return value


def _flaw(value: Any) -> str | None:
    """Return the flaw of a value that some reader of JSON cannot take; neither lists nor objects are checked."""
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return "a text in the JSON holds a lone surrogate; send valid Unicode"
    if isinstance(value, float) and not math.isfinite(value):
        return "the JSON holds NaN or an infinity, which it cannot; send a text or null"
    if isinstance(value, int) and abs(value) > json_values.MAX_COUNT:
        return "an integer in the JSON needs more than 64 bits; send it as a text"
    return None


def _op_or_none(value: Any) -> str:
    if json_values.text(value) and not is_op(value):
        raise ValueError(f"{value!r} is no upload")
    return str(value)


def _ops(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if len(json_values.items(value)) > MOST_ANCESTORS or not all(isinstance(op, str) and is_op(op) for op in value):
        raise ValueError(f"`ancestors` is no list of at most {MOST_ANCESTORS} uploads")
    return tuple(value)
