"""The tree: looking, reading, deleting, moving."""

from __future__ import annotations

import bisect
import contextlib
import re
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse

from t9k.em import wire
from t9k.em.backend import Backend, ListsPages, NotesDamage, SignsReads
from t9k.em.chunks import sha256_of
from t9k.em.errors import CorruptData, FolderNotFound, InvalidInput, NotFound
from t9k.em.names import check_path, join, parent_and_name
from t9k.em.records import FOLDER, FileEntry, Node
from t9k.em.server import models
from t9k.em.server.access import owner_of
from t9k.em.server.asset_hub import check_move
from t9k.em.server.authentication import Authenticated, RequestUser
from t9k.em.server.http.error_responses import Refused
from t9k.em.server.moving import check_depths, move_node
from t9k.em.server.routes.json_route import DocumentRoute
from t9k.em.server.routes.paging import FILES_PAGE, PAGE, After, FilesLimit, Generation, Key, Limit, Path, page, whole
from t9k.em.server.routes.sending import Content, content_response
from t9k.em.server.usage import count_before_refusing, stored_bytes
from t9k.em.wire import EDIT, PASS, node_json

SIGNATURE_LIFETIME_S = 3600.0

_CURSOR = re.compile(r"\d{8}", re.ASCII)
_LAST = 99_999_999
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})|bytes=-(\d{1,18})")
router = APIRouter(tags=["nodes"], route_class=DocumentRoute)
ANYTHING: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get(f"{wire.PREFIX}/nodes", operation_id="stat", response_model=models.Node)
def stat(caller: Authenticated, path: Path) -> JSONResponse:
    """Return a node, or with `@3` behind the path an older generation of it."""
    tree = caller.reading(path, PASS)
    node = tree.stat(path)
    permission = _permission(caller, node.path)
    if permission == PASS and node.kind != FOLDER:  # what was there before the folder that one may pass
        raise NotFound(f"there is no {path}")
    return JSONResponse(node_json(node, permission))


@router.get(f"{wire.PREFIX}/nodes/children", operation_id="children", response_model=models.Children)
def children(caller: Authenticated, path: Path, limit: Limit = PAGE, after: After = "") -> JSONResponse:
    """Return the nodes in a folder; `whole` says whether the one who asks sees all of them, `damaged` which cannot be read."""
    tree = caller.reading(check_path(path), PASS)
    permission = _permission(caller, path)
    if not isinstance(tree, ListsPages):
        found = caller.access.visible(path, tree.list(path), permission)
        return page(
            found, limit, after, lambda item: item[0].name, lambda item: node_json(*item), whole=permission != PASS
        )
    names = caller.access.names_within(path, permission)
    damaged: dict[str, str] = {}
    if names is None:
        nodes, following = tree.list_page(path, limit, after, damaged=damaged)
    else:  # which may be few of very many
        tree.list_page(path, 1)  # whether there is such a folder
        start = bisect.bisect_right(names, after)
        taken = names[start : start + limit]
        nodes = [node for name in taken if (node := _there(tree, join(path, name))) is not None]
        following = taken[-1] if start + limit < len(names) else ""
    shown = caller.access.visible(path, nodes, permission)
    sees_all = permission != PASS
    return whole(
        [node_json(*item) for item in shown], following or None, whole=sees_all, damaged=damaged if sees_all else {}
    )


@router.get(f"{wire.PREFIX}/nodes/versions", operation_id="versions", response_model=models.Page[models.Node])
def versions(caller: Authenticated, path: Path, limit: Limit = PAGE, after: After = "") -> JSONResponse:
    """All generations under a path, the newest first, deletions included."""
    permission = _permission(caller, check_path(path))
    tree = caller.reading(path)
    if not isinstance(tree, ListsPages):
        nodes = tree.versions(path)
        return page(
            nodes, limit, after, lambda node: _cursor(node.generation), lambda node: node_json(node, permission)
        )
    if after and not _CURSOR.fullmatch(after):
        raise InvalidInput(f"no page of the versions of {path} begins after {after!r}; pass `next` of the page before")
    shown, following = tree.versions_page(path, limit, _LAST - int(after) if after else 0)
    return whole([node_json(node, permission) for node in shown], _cursor(following) if following else None)


@router.get(f"{wire.PREFIX}/nodes/files", operation_id="files", response_model=models.Page[models.File])
def files(
    caller: Authenticated, path: Path, generation: Generation, limit: FilesLimit = FILES_PAGE, after: After = ""
) -> JSONResponse:
    """Return the files of a generation, by key."""
    tree = caller.reading(check_path(path))
    found = () if generation == 0 else caller.service.published.find(tree, path, generation)[1]
    return page(found, limit, after, _key, wire.file_json)


@router.get(
    f"{wire.PREFIX}/nodes/content",
    operation_id="content",
    response_class=StreamingResponse,
    responses=ANYTHING | {206: ANYTHING[200]},
)
async def content(
    caller: Authenticated,
    path: Path,
    generation: Generation,
    key: Key,
    range: Annotated[str, Header(max_length=256, description="`bytes=a-b`.")] = "",
) -> Response:
    """Return the bytes of a file, or a range of them."""

    def look_up() -> Content:
        tree = caller.reading(check_path(path))
        node, file = caller.service.published.file(tree, path, generation, key)
        start, end, status = _range(range, file)
        headers = {"ETag": f'"{file.sha256}"', "Accept-Ranges": "bytes", "Content-Length": str(end - start)}
        if status == 206:  # noqa: PLR2004 - Partial Content
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"

        def read() -> Iterator[bytes]:
            chunks = iter(()) if start == end else tree.read(node, file, start, end)
            caller.service.metrics.sent(end - start)
            return _exactly(chunks, end - start)

        return Content(read=read, size_bytes=end - start, status=status, headers=headers)

    return await content_response(caller, look_up)


@router.get(f"{wire.PREFIX}/nodes/content/signed", operation_id="signContent", response_model=models.SignedRequest)
def signed(caller: Authenticated, path: Path, generation: Generation, key: Key) -> JSONResponse:
    """Return a request to the store that brings the bytes of a file."""
    tree = caller.reading(check_path(path))
    node, file = caller.service.published.file(tree, path, generation, key)
    request = None
    if caller.service.signs and isinstance(tree, SignsReads):
        request = tree.sign_read(node, file, lifetime_s=SIGNATURE_LIFETIME_S)
    if request is None:
        raise Refused("not_supported", "files cannot be read straight from the store here; read them from this server")
    return JSONResponse(wire.signed_json(request))


@router.get(f"{wire.PREFIX}/nodes/damage", operation_id="damage", response_model=models.Page[models.File])
def damage(
    caller: Authenticated, path: Path, generation: Generation, limit: FilesLimit = FILES_PAGE, after: After = ""
) -> JSONResponse:
    """Return the files of a generation that are missing in the store, of another size there, or known to be damaged, by key."""
    tree = caller.reading(check_path(path))
    if not isinstance(tree, NotesDamage):
        raise _without_notes()
    found = tree.lacks(caller.service.published.find(tree, path, generation)[0]) if generation else ()
    return page(sorted(found, key=_key), limit, after, _key, wire.file_json)


@router.post(f"{wire.PREFIX}/nodes/damage", operation_id="reportDamage", response_model=models.Damage)
def report_damage(caller: Authenticated, body: models.DamageIn) -> JSONResponse:
    """Read a file that somebody found damaged; if it is, that is noted, and the next upload has to send it again."""
    path = check_path(body.path)
    caller.about(path=path)
    tree = caller.reading(path)
    if not isinstance(tree, NotesDamage):
        raise _without_notes()
    node, file = caller.service.published.file(tree, path, body.generation, body.key)
    is_damaged = not _is_right(tree, node, file)
    if is_damaged:
        tree.note_damage(node, file)
    return JSONResponse({"damaged": is_damaged})


@router.post(f"{wire.PREFIX}/folders", operation_id="makeFolder", response_model=models.Node)
def make_folder(caller: Authenticated, body: models.FolderIn) -> JSONResponse:
    """Make a folder and its parents, each unless it exists."""
    path = check_path(body.path)
    caller.about(path=path)
    permission = caller.access.require(path, PASS if path == "/" else EDIT)
    caller.make_home(path)
    return JSONResponse(node_json(caller.tree.make_folder(path), permission))


@router.post(f"{wire.PREFIX}/nodes/move", operation_id="move", response_model=models.Node)
def move(caller: Authenticated, body: models.MoveIn) -> JSONResponse:
    """Move a node with all its generations and all below it; it takes the permissions of its new folder."""
    path, folder = check_path(body.path), check_path(body.folder)
    caller.about(path=path, folder=folder)
    caller.access.require_removal(path)
    permission = caller.access.require(folder, EDIT)
    if folder == parent_and_name(path)[0]:
        raise InvalidInput(f"{path} is in {folder} already; give another folder")
    if f"{folder}/".startswith(f"{path}/"):
        raise InvalidInput(f"{path} cannot be moved into itself; give a folder outside of it")
    if caller.service.tree_at(folder, caller.user).stat(folder).kind != FOLDER:
        raise FolderNotFound(f"{folder} is no folder; choose another one")
    with _forgetting(caller, path):
        check_move(caller.tree.stat(path).kind, path, join(folder, parent_and_name(path)[1]))
        check_depths(caller.tree, path, folder)
        caller.make_home(folder)
        _make_room(caller, path, folder)
        node = move_node(caller.tree, path, folder)
    return JSONResponse(node_json(node, permission))


@router.delete(f"{wire.PREFIX}/nodes", operation_id="delete", status_code=204)
def delete(
    caller: Authenticated,
    path: Path,
    recursive: Annotated[bool, Query(description="Whether a folder goes with all below it.")] = False,
    generation: Annotated[int | None, Query(ge=0, le=99_999_999, description="Only while this is the newest.")] = None,
) -> Response:
    """Delete a node; its generations stay readable as versions until they are collected."""
    if check_path(path).count("/") > 1:
        caller.access.require_removal(path)
    else:
        caller.access.require(path, PASS)  # a home is never deleted, which the tree says
    with _forgetting(caller, path):
        caller.tree.delete(path, recursive=recursive, generation=generation)
    return Response(status_code=204)


def _make_room(caller: RequestUser, path: str, folder: str) -> None:
    """Count what is moved where it goes, for it is copied there.

    Raises:
        QuotaExceeded: The node would exceed the quota.
    """
    home, service = owner_of(folder) or caller.user, caller.service
    size = sum(stored_bytes(caller.tree, path).values())
    count_before_refusing(
        service.accounts,
        service.tree(home),
        home,
        lambda: service.accounts.store_bytes(home, size, service.settings.quotas),
    )


@contextlib.contextmanager
def _forgetting(caller: RequestUser, path: str) -> Iterator[None]:
    """Take the shares of what goes along, also of what went before, when somebody was killed in between."""
    try:
        yield
    except NotFound:
        try:
            caller.service.tree_at(path, caller.user).stat(path)
        except NotFound:
            caller.service.accounts.forget_shares(path)
        raise
    caller.service.accounts.forget_shares(path)


def _there(tree: Backend, path: str) -> Node | None:
    """Return the listed node under a path; None for a path that the listing lacks, or whose record is damaged."""
    try:
        node = tree.stat(path)
    except (NotFound, CorruptData):
        return None
    return node if node.generation else None  # a home that nobody made is not listed


def _without_notes() -> Refused:
    return Refused(
        "not_supported", "the store of this server takes no note of damage; upload with the strategy 'replace'"
    )


def _is_right(tree: Backend, node: Node, file: FileEntry) -> bool:
    """Return whether a file has the bytes that its record says; all of them are read."""
    try:
        return sha256_of(tree.read(node, file)) == file.sha256
    except NotFound:
        return False


def _permission(caller: RequestUser, path: str) -> str:
    return caller.access.require(path, PASS)


def _cursor(generation: int) -> str:
    """Return the `after` of the page behind a generation, so that cursors ascend."""
    return f"{_LAST - generation:08d}"


def _key(file: FileEntry) -> str:
    return file.key


def _range(header: str, file: FileEntry) -> tuple[int, int, int]:
    """Start and end of what is asked for, and the status of the answer; other forms than one range mean the whole.

    Raises:
        Refused: The range begins past the end.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        return 0, file.size, 200
    start = max(0, file.size - int(match[3])) if match[3] else int(match[1])
    end = min(file.size, int(match[2]) + 1) if match[2] else file.size
    if start >= file.size:
        message = f"{file.key!r} has {file.size} bytes, and the range begins at {start}"
        raise Refused("range_not_satisfiable", message, {"Content-Range": f"bytes */{file.size}"})
    return start, end, 206


def _exactly(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """As many bytes as were announced.

    An object that is longer in the store is cut; one that is shorter ends early, which breaks the connection.
    """
    for chunk in chunks:
        yield chunk[:size]
        size -= len(chunk)
        if size <= 0:
            return
