"""Uploads: announce, send, publish."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import partial
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from t9k.em import wire
from t9k.em.backend import SendsDirect, TakesParts
from t9k.em.errors import EMError, InvalidInput, NotFound, SourceChanged
from t9k.em.names import is_op, join
from t9k.em.records import Body, FileSpec, SignedUpload, UploadRequest
from t9k.em.server import models
from t9k.em.server.asset_hub import check_place
from t9k.em.server.authentication import Authenticated, RequestUser, with_body
from t9k.em.server.http.bodies import Received
from t9k.em.server.http.error_responses import Refused
from t9k.em.server.open_uploads import OpenUpload
from t9k.em.server.routes.json_route import DocumentRoute
from t9k.em.server.routes.nodes import SIGNATURE_LIFETIME_S
from t9k.em.server.routes.paging import Key, Offset
from t9k.em.wire import EDIT, OWN, PASS

router = APIRouter(prefix=f"{wire.PREFIX}/uploads", tags=["uploads"], route_class=DocumentRoute)

Round = Annotated[int, Query(ge=0, le=2**31, description="The newest round that the client has seen.")]
Digest = Annotated[str, Header(max_length=256, description="`sha-256=:<base64>:` (RFC 9530)")]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
BYTES = {"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}}
_BATCH = {"requestBody": {"required": True, "content": {wire.BATCH_TYPE: _BINARY}}}


@router.post("", operation_id="begin", response_model=models.UploadState)
def begin(caller: Authenticated, body: models.UploadIn) -> JSONResponse:
    """Begin an upload, or go on with it; conflicts that are there already are decided before any byte moves."""
    try:
        files = [{"key": file.key, "size": file.size, "sha256": file.sha256} for file in body.files]
        request = wire.request_of({**body.model_dump(by_alias=True, exclude={"files"}), "files": files})
    except EMError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(str(error)) from error
    check_place(request.draft.kind, join(request.folder, request.draft.name))
    _check(caller, request)
    caller.make_home(request.folder)
    return _state(caller, caller.service.uploads.begin(caller.user, request))


@router.get("/{op}", operation_id="uploadState", response_model=models.UploadState)
def state(caller: Authenticated, op: str) -> JSONResponse:
    """Return the state of an upload."""
    return _state(caller, _find(caller, op, 0))


@router.delete("/{op}", operation_id="dropUpload", status_code=204)
def drop(caller: Authenticated, op: str) -> Response:
    """Forget an upload; what was sent is collected later."""
    caller.access.require_writing()
    caller.service.uploads.drop(caller.user, _checked(op))
    return Response(status_code=204)


@router.put("/{op}/file", operation_id="putFile", status_code=204, openapi_extra=BYTES)
async def put_file(caller: Authenticated, request: Request, op: str, key: Key, round: Round = 0) -> Response:
    """Take a whole file."""

    def work(body: Received) -> None:
        upload = _find(caller, op, round)
        file = _file(upload, key)
        item = file, _body(file, body.size, body.open)
        if not _over(upload):
            upload.upload.put([item])

    return await _received(caller, request, work)


@router.post("/{op}/batch", operation_id="putBatch", status_code=204, openapi_extra=_BATCH)
async def put_batch(caller: Authenticated, request: Request, op: str, round: Round = 0) -> Response:
    """Take several small files."""

    def work(body: Received) -> None:
        upload = _find(caller, op, round)
        items: dict[str, tuple[FileSpec, Body]] = {}
        for key, content in wire.frames(body.read()):
            file = _file(upload, key)
            if key in items:
                raise Refused("bad_request", f"the batch holds {key!r} twice; send each file once")
            items[key] = file, _body(file, len(content), partial(io.BytesIO, content))
        if not _over(upload):
            upload.upload.put([*items.values()])

    return await _received(caller, request, work)


@router.put("/{op}/part", operation_id="putPart", status_code=204, openapi_extra=BYTES)
async def put_part(
    caller: Authenticated,
    request: Request,
    op: str,
    key: Key,
    start: Offset,
    round: Round = 0,
    content_digest: Digest = "",
) -> Response:
    """Take some bytes of a large file."""

    def work(body: Received) -> None:
        upload = _find(caller, op, round)
        file = _file(upload, key)
        if not body.size or start + body.size > file.size:
            raise Refused("invalid_input", f"{key!r} has {file.size} bytes, and the part is not within them")
        if content_digest:
            _compare(content_digest, body, key)
        part = Body(size=body.size, sha256="", open=body.open, what=f"the part of {key!r}")
        if not _over(upload):
            _parts(upload).put_part(file, start, part)

    return await _received(caller, request, work)


@router.get("/{op}/parts", operation_id="parts", response_model=models.Items[models.Part])
def parts(caller: Authenticated, op: str, key: Key, round: Round = 0) -> JSONResponse:
    """Return the parts of a file that are there."""
    upload = _find(caller, op, round)
    found = _parts(upload).parts(_file(upload, key))
    return JSONResponse({"items": [wire.part_json(part) for part in found]})


@router.post("/{op}/join", operation_id="joinParts", status_code=204)
def join_parts(caller: Authenticated, op: str, body: models.KeyIn, round: Round = 0) -> Response:
    """Make a file of its parts."""
    upload = _find(caller, op, round)
    file = _file(upload, body.key)
    if not _over(upload):
        _parts(upload).join_parts(file)
    return Response(status_code=204)


@router.post("/{op}/sign", operation_id="signFile", response_model=models.SignedUpload)
def sign(caller: Authenticated, op: str, body: models.KeyIn, round: Round = 0) -> JSONResponse:
    """Sign requests to the store that bring a file."""
    upload = _find(caller, op, round)
    file = _file(upload, body.key)
    direct = _direct(caller, upload)
    signed: SignedUpload | None
    if _over(upload) and direct is not None:
        signed = SignedUpload(requests=())
    else:
        signed = None if direct is None else direct.sign(file, lifetime_s=SIGNATURE_LIFETIME_S)
    if signed is None:
        raise _indirect()
    return JSONResponse(wire.signed_upload_json(signed))


@router.post("/{op}/signed", operation_id="completeSigned", status_code=204)
def signed(caller: Authenticated, op: str, body: models.SignedIn, round: Round = 0) -> Response:
    """Take note that a file was sent straight to the store."""
    upload = _find(caller, op, round)
    file = _file(upload, body.key)
    direct = _direct(caller, upload)
    if direct is None:
        raise _indirect()
    if not _over(upload):
        direct.complete_signed(file, body.token)
    return Response(status_code=204)


@router.post("/{op}/commit", operation_id="commit", response_model=models.UploadState)
def commit(caller: Authenticated, op: str, round: Round = 0) -> JSONResponse:
    """Publish the node as one whole, or return what has to be sent first."""
    upload = _find(caller, op, round)
    caller.service.uploads.commit(upload)
    return _state(caller, upload)


def _checked(op: str) -> str:
    if not is_op(op):
        raise InvalidInput("the op of an upload looks like 20261125T101500.000000Z-4e48t2abcd; see names.new_op")
    return op


def _find(caller: RequestUser, op: str, round_: int) -> OpenUpload:
    return caller.service.uploads.find(caller.user, _checked(op), round_, lambda request: _check(caller, request))


def _check(caller: RequestUser, request: UploadRequest) -> None:
    """Refuse who may not publish there: neither in the folder, nor an update of the one node.

    Raises:
        NotFound, Forbidden: See `Access.require`.
    """
    path = join(request.folder, request.draft.name)
    caller.about(path=path, op=request.op)
    try:
        caller.access.require(request.folder, EDIT)
    except (NotFound, PermissionError):
        # A home lies in '/', and nothing but a folder ever takes its place.
        if request.folder == "/" or request.strategy == "new" or caller.access.permission(path) not in (EDIT, OWN):
            raise
        caller.service.tree_at(path, caller.user).stat(path)


def _file(upload: OpenUpload, key: str) -> FileSpec:
    if key not in upload.files:
        raise NotFound(f"the upload {upload.request.op} announces no file {key!r}")
    return upload.files[key]


def _over(upload: OpenUpload) -> bool:
    """Return whether nothing is to be sent any more: what comes late must not touch what was published."""
    return upload.upload.outcome is not None


def _body(file: FileSpec, size: int, opened: Callable[[], BinaryIO]) -> Body:
    what = f"the body for {file.key!r}"
    if size != file.size:
        raise SourceChanged(f"{what} has {size} bytes, and {file.size} were announced; send what was announced")
    return Body(size=file.size, sha256=file.sha256, open=opened, what=what)


def _compare(content_digest: str, part: Received, key: str) -> None:
    """Compare a part with what the client says of it; other algorithms than SHA-256 say nothing here."""
    for item in content_digest.split(","):
        algorithm, _, value = item.strip().partition("=")
        if algorithm.lower() == "sha-256":
            if value.strip(":") != base64.b64encode(part.sha256()).decode():
                raise SourceChanged(f"the part of {key!r} is not what its Content-Digest says; send it again")
            return


def _parts(upload: OpenUpload) -> TakesParts:
    if not isinstance(upload.upload, TakesParts):
        raise Refused("not_supported", "files cannot be sent in parts here; send them as a whole")
    return upload.upload


def _direct(caller: RequestUser, upload: OpenUpload) -> SendsDirect | None:
    there = upload.upload
    return there if isinstance(there, SendsDirect) and caller.service.signs else None


def _indirect() -> Refused:
    return Refused("not_supported", "files cannot be sent straight to the store here; send them to this server")


async def _received(caller: RequestUser, request: Request, work: Callable[[Received], None]) -> Response:
    await with_body(request, work, caller)
    caller.service.metrics.received(int(request.headers.get("content-length", "0")))
    return Response(status_code=204)


def _state(caller: RequestUser, upload: OpenUpload) -> JSONResponse:
    there = upload.upload
    node = there.node if there.outcome is not None else None
    return JSONResponse(
        {
            "op": upload.request.op,
            "outcome": None if there.outcome is None else there.outcome.value,
            "node": None if node is None else wire.node_json(node, caller.access.require(node.path, PASS)),
            "missing": [] if there.outcome is not None else [file.key for file in there.missing],
            "round": upload.round,
        }
    )
