"""The routes, one module for each section of `docs/aistore-http.md`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI

from t9k.em.server.models import Failure
from t9k.em.server.routes import accounts, meta, nodes, runs, shares, uploads

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Failure, "description": "The request"},
    "5XX": {"model": Failure, "description": "The server"},
}

_ROUTERS: tuple[APIRouter, ...] = (
    meta.router,
    nodes.router,
    uploads.router,
    runs.router,
    shares.router,
    accounts.router,
)


def install(app: FastAPI) -> None:
    """Add all routes."""
    for router in _ROUTERS:
        app.include_router(router, responses=PROBLEMS)
