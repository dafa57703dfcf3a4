"""Uploads from memory, as tests need them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from t9k.em.backend import Backend, Upload
from t9k.em.names import new_op
from t9k.em.records import RUN, Body, Draft, FileSpec, Node, UploadRequest

MOST_COMMITS = 100


def make_request(
    folder: str,
    name: str,
    contents: Mapping[str, bytes],
    *,
    id: str | None = None,
    kind: str = RUN,
    alternative_name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    strategy: str = "error",
    make_folder: bool = True,
    op: str | None = None,
    resumed: bool = False,
    prefer_alternative: bool = False,
    ancestors: Sequence[str] | None = None,
    compare: str = "listing",
) -> UploadRequest:
    """Return the request for an upload of some bytes; what is not given is new and unique.

    Args:
        folder: Absolute path of the folder.
        name: Name of the node.
        contents: Key -> bytes.
        id: See `Draft`.
        kind: See `Draft`.
        alternative_name: See `Draft`.
        metadata: See `Draft`.
        strategy: See `UploadRequest`.
        make_folder: See `UploadRequest`.
        op: See `UploadRequest`.
        resumed: See `UploadRequest`.
        prefer_alternative: See `UploadRequest`.
        ancestors: See `UploadRequest`.
        compare: See `UploadRequest`.
    """
    unique = str(uuid4())
    return UploadRequest(
        folder=folder,
        draft=Draft(
            kind=kind,
            name=name,
            alternative_name=alternative_name or f"{name[:100]}_{unique}",
            id=id or unique,
            metadata=metadata or {},
        ),
        files=tuple(
            FileSpec(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for key, data in contents.items()
        ),
        strategy=strategy,
        make_folder=make_folder,
        op=op or new_op(),
        resumed=resumed,
        prefer_alternative=prefer_alternative,
        ancestors=None if ancestors is None else tuple(ancestors),
        compare=compare,
    )


def finish(open_upload: Upload, contents: Mapping[str, bytes]) -> Upload:
    """Put what is missing and commit until there is an outcome.

    Args:
        open_upload: From `Backend.begin`.
        contents: Key -> bytes.
    """
    for _ in range(MOST_COMMITS):
        if open_upload.outcome is not None:
            return open_upload
        if missing := open_upload.missing:
            open_upload.put([(file, Body.of(contents[file.key])) for file in missing])
        open_upload.commit()
    raise AssertionError(f"no outcome after {MOST_COMMITS} commits")


def upload(backend: Backend, request: UploadRequest, contents: Mapping[str, bytes]) -> Node:
    """Upload from the beginning to the end and return the node that was published or found."""
    node = finish(backend.begin(request), contents).node
    if node is None:
        raise AssertionError("an upload with an outcome has a node")
    return node


def read_node(backend: Backend, node: Node) -> dict[str, bytes]:
    """All files of a node, sizes and checksums compared."""
    contents = {}
    for file in backend.files(node):
        data = b"".join(backend.read(node, file))
        if (len(data), hashlib.sha256(data).hexdigest()) != (file.size, file.sha256):
            raise AssertionError(f"{node.path}: {file.key} is not what was uploaded")
        contents[file.key] = data
    if (len(contents), sum(map(len, contents.values()))) != (node.file_count, node.size):
        raise AssertionError(f"{node.path}: number or size of files differ")
    return contents
