"""What answers here, and who asks."""

from __future__ import annotations

from importlib.metadata import version

import attrs
from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from t9k.em import wire
from t9k.em.server import models
from t9k.em.server.authentication import Authenticated, RequestUser
from t9k.em.server.http import prometheus as counts
from t9k.em.server.http.middleware import DOCUMENT_BYTES
from t9k.em.server.routes.paging import FILES_PAGE, PAGE
from t9k.em.server.service import Service

PARALLEL = 8
router = APIRouter(tags=["server"])


@router.get("/health", operation_id="health")
async def health() -> dict[str, str]:
    """Answer while the process lives."""
    return {"status": "ok"}


@router.get("/ready", operation_id="ready")
async def ready(request: Request) -> dict[str, str]:
    """Answer when database and store do."""
    service: Service = request.app.state.service
    await to_thread.run_sync(service.check, limiter=service.watching)
    return {"status": "ok"}


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the counts, for Prometheus."""
    service: Service = request.app.state.service
    text = await to_thread.run_sync(service.metrics.text, limiter=service.watching)
    return Response(text, media_type=counts.CONTENT_TYPE)


@router.get(f"{wire.PREFIX}/version", operation_id="version", response_model=models.Version)
def api_version(request: Request) -> JSONResponse:
    """Return the version of the API, the abilities of the server, and its limits."""
    service: Service = request.app.state.service
    return JSONResponse(
        {
            "service": wire.SERVICE,
            "api": wire.API,
            "version": version("t9k-em"),
            "abilities": service.abilities(),
            "limits": {
                "bodyBytes": service.settings.body_bytes,
                "documentBytes": DOCUMENT_BYTES,
                "page": PAGE,
                "filesPage": FILES_PAGE,
                "parallel": PARALLEL,
            },
        }
    )


@router.get("/oauth2/userinfo", operation_id="userinfo", response_model=models.UserInfo)
def userinfo(caller: Authenticated) -> JSONResponse:
    """Return the user of the request, in the form of the sibling servers."""
    return JSONResponse({"preferred_username": caller.user})


@router.get(f"{wire.PREFIX}/user", operation_id="me", response_model=models.Me)
def me(caller: Authenticated) -> JSONResponse:
    """Return the user of the request."""
    principal = caller.principal
    return JSONResponse(
        {
            "name": principal.user,
            "isAdmin": principal.is_admin,
            "groups": sorted(principal.groups),
            "scope": principal.scope,
            "folder": principal.folder,
            "quotas": _quotas(caller),
        },
    )


def _quotas(caller: RequestUser) -> dict[str, dict[str, int]]:
    accounts = caller.service.accounts
    usage = accounts.usage(caller.user)
    most = accounts.quotas(caller.user).over(caller.service.settings.quotas)
    return {
        name: {"used": used, "most": getattr(most, name)}
        for name, used in attrs.asdict(usage, filter=attrs.filters.exclude("counted")).items()
    }
