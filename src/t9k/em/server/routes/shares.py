"""Shares: what others than the owner may do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from t9k.em import wire
from t9k.em.names import check_path
from t9k.em.records import utc_text
from t9k.em.server import models
from t9k.em.server.accounts import Share
from t9k.em.server.authentication import Authenticated
from t9k.em.server.routes.json_route import DocumentRoute
from t9k.em.server.routes.paging import Path
from t9k.em.wire import OWN

router = APIRouter(prefix=f"{wire.PREFIX}/shares", tags=["shares"], route_class=DocumentRoute)


@router.get("", operation_id="shares", response_model=models.Items[models.Share])
def shares(caller: Authenticated, path: Path) -> JSONResponse:
    """Return the shares of a node itself, without those of the folders above it."""
    caller.access.require(check_path(path), OWN)
    return JSONResponse({"items": [_json(share) for share in caller.service.accounts.shares(path)]})


@router.put("", operation_id="share", response_model=models.Share)
def share(caller: Authenticated, body: models.ShareIn) -> JSONResponse:
    """Let a user, a group or everybody with a key view or edit a node and all below it."""
    caller.about(path=body.path, kind=body.kind, name=body.name, level=body.level)
    caller.access.require(check_path(body.path), OWN)
    caller.service.tree_at(body.path, caller.user).stat(body.path)
    accounts, most = caller.service.accounts, caller.service.settings.max_shares
    made = accounts.share(body.path, body.kind, body.name, body.level, caller.user, most=most)
    return JSONResponse(_json(made))


@router.delete("", operation_id="unshare", status_code=204)
def unshare(
    caller: Authenticated,
    path: Path,
    kind: Annotated[Literal["user", "group", "public"], Query()],
    name: Annotated[str, Query(max_length=255)] = "",
) -> Response:
    """Take a share back."""
    caller.access.require(check_path(path), OWN)
    caller.service.accounts.unshare(path, kind, name)
    return Response(status_code=204)


def _json(share: Share) -> dict[str, Any]:
    return {
        "path": share.path,
        "kind": share.kind,
        "name": share.name,
        "level": share.level,
        "by": share.by,
        "created": utc_text(share.created),
    }
