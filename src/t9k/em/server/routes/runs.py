"""Files of runs in progress, which grow."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from t9k.em import wire
from t9k.em.backend import Grows
from t9k.em.names import check_key, check_path
from t9k.em.records import Node
from t9k.em.server import models
from t9k.em.server.access import owner_of
from t9k.em.server.authentication import Authenticated, RequestUser, with_body
from t9k.em.server.http.bodies import Received
from t9k.em.server.http.error_responses import Refused
from t9k.em.server.routes.nodes import ANYTHING
from t9k.em.server.routes.paging import Generation, Key, Offset, Path
from t9k.em.server.routes.sending import Content, content_response
from t9k.em.server.routes.uploads import BYTES
from t9k.em.wire import EDIT, VIEW

router = APIRouter(prefix=f"{wire.PREFIX}/runs", tags=["runs in progress"])
End = Annotated[int | None, Query(ge=0, le=2**53, description="Of the bytes; without it, all that are there.")]


@router.post("/append", operation_id="append", response_model=models.End, openapi_extra=BYTES)
async def append(
    caller: Authenticated, request: Request, path: Path, generation: Generation, key: Key, start: Offset
) -> JSONResponse:
    """Keep bytes of a growing file of a run."""
    check_key(key)

    def work(body: Received) -> int:
        tree, node = _growing(caller, path, generation, EDIT)
        caller.service.growth.add(owner_of(node.path) or caller.user, body.size)
        return tree.append(node, key, start, body.read())

    return JSONResponse({"end": await with_body(request, work, caller)})


@router.get("/grown", operation_id="grown", response_model=models.Items[models.Segment])
def grown(caller: Authenticated, path: Path, generation: Generation) -> JSONResponse:
    """Return the segments that were appended to a run."""
    tree, node = _growing(caller, path, generation, VIEW)
    return JSONResponse({"items": [wire.segment_json(segment) for segment in tree.grown(node)]})


@router.get("/content", operation_id="grownContent", response_class=StreamingResponse, responses=ANYTHING)
async def content(
    caller: Authenticated, path: Path, generation: Generation, key: Key, start: Offset = 0, end: End = None
) -> Response:
    """Return the bytes of a growing file, up to the first gap."""
    check_key(key)

    def look_up() -> Content:
        tree, node = _growing(caller, path, generation, VIEW)
        return Content(read=lambda: tree.read_grown(node, key, start, end))

    return await content_response(caller, look_up)


def _growing(caller: RequestUser, path: str, generation: int, wanted: str) -> tuple[Grows, Node]:
    tree = caller.reading(check_path(path), wanted)
    if wanted == EDIT:
        tree = caller.tree
    if not isinstance(tree, Grows):
        raise Refused("not_supported", "runs in progress cannot be followed here; upload them when they are finished")
    return tree, caller.service.published.find(tree, path, generation)[0]
