"""The application: the routes, what they share, and the guard around them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool

from t9k.em.errors import EMError
from t9k.em.server import routes
from t9k.em.server.http import error_responses
from t9k.em.server.http.middleware import Guard
from t9k.em.server.http.prometheus import Metrics
from t9k.em.server.service import Service
from t9k.em.server.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

THREADS = 64
TIDY_PERIOD_S = 3600.0

_log = logging.getLogger(__name__)


def make_app(settings: Settings) -> ASGIApp:
    """Make the application; backend and database are opened when it starts.

    Args:
        settings: How the server was started.

    Raises:
        InvalidInput: The backend cannot be served.
    """
    metrics = Metrics()
    service = Service.of(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await run_in_threadpool(service.open)
        tidying = asyncio.create_task(_tidy(service))
        try:
            yield
        finally:
            tidying.cancel()
            await run_in_threadpool(service.close)

    app = bare_app(lifespan=lifespan)
    app.state.service = service
    return Guard(app, settings, metrics)


def bare_app(**options: Any) -> FastAPI:
    """Return the routes without what they share, which is enough to describe them.

    Args:
        **options: Of `FastAPI`.
    """
    app = FastAPI(
        title="AIStore", version=version("t9k-em"), docs_url=None, redoc_url=None, redirect_slashes=False, **options
    )
    error_responses.install(app)
    routes.install(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # as FastAPI's documentation has it
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; wrong fields are 400 here and not 422."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary="Keeps machine-learning experiments: runs and artifacts.",
            description="See docs/aistore-http.md for what the requests mean.",
            routes=app.routes,
        )
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema


async def _tidy(service: Service) -> None:
    """Forget from time to time the uploads whose time is over."""
    while True:
        await asyncio.sleep(TIDY_PERIOD_S)
        try:
            await run_in_threadpool(service.accounts.expire_uploads)
        except EMError as error:
            _log.warning("uploads whose time is over were not forgotten: %s", error)


def from_environment() -> ASGIApp:
    """Return the application of a process that `em server` started."""
    from t9k.em.server import logs  # noqa: PLC0415 - only a process of its own has its own log
    from t9k.em.server.http.connections import BoundedConnection  # noqa: PLC0415 - likewise its connections

    logs.configure()
    settings = Settings.from_environment()
    BoundedConnection.limit(settings.connections, settings.connections_per_address)
    return make_app(settings)
