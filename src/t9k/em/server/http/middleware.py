"""What every request passes before and after the routes: refused forms, its id, the log and the counts."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from t9k.em.server.audit import AuditLog
from t9k.em.server.http.error_responses import failure
from t9k.em.server.http.limits import timely
from t9k.em.server.http.prometheus import Metrics
from t9k.em.server.settings import Settings
from t9k.em.wire import PREFIX

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_TARGET_BYTES = 16 << 10
DOCUMENT_BYTES = 32 << 20
SMALL_BYTES = 1 << 20

_CARRIES_FILES = re.compile(rf"{PREFIX}/(uploads/[^/]+/(file|part|batch)|runs/append)")
_WITH_BODY = ("POST", "PUT", "PATCH")
_SAFE_ID = re.compile(r"[0-9A-Za-z-]{8,64}")

_log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware around the whole app.

    Args:
        app: What it guards.
        settings: Of the server.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._audit = AuditLog(settings.audit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _SAFE_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["id"] = request_id
        began = time.perf_counter()
        status, told = 0, False

        async def answer(message: Message) -> None:
            nonlocal status, told
            told = message["type"] == "http.response.body" and not message.get("more_body", False)
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        self._strip_root_path(scope)
        try:
            refusal = self._refuse(scope, headers)
            if refusal is None:
                await self._app(scope, timely(receive, _size(headers)), answer)
            else:
                await failure(*refusal, request_id, {"Connection": "close"})(scope, receive, answer)
        except Exception:
            # Starlette has answered with our 500 by now, and raises on for servers to log; that is done here, with the id.
            _log.exception("request %s failed", request_id)
            if not told:
                raise  # the connection is closed, so that nobody takes half an answer for a whole one
        finally:
            self._note(scope, request_id, status, time.perf_counter() - began)

    def _strip_root_path(self, scope: Scope) -> None:
        root = self._settings.root_path
        if root and scope["path"].startswith(f"{root}/"):
            scope["path"] = scope["path"][len(root) :]
            raw = scope.get("raw_path", b"")
            scope["raw_path"] = raw[len(root) :] if raw.startswith(root.encode()) else raw

    def _refuse(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[str, str] | None:
        """Return the code and message of what is wrong with the form of a request; None when nothing is."""
        raw: bytes = scope.get("raw_path") or b""
        if len(raw) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            return "bad_request", f"the address is longer than {MAX_TARGET_BYTES} bytes"
        if _is_trick(raw):
            return "bad_request", "the address holds '..', an empty part, a backslash or a control character"
        if scope["method"] not in _WITH_BODY:
            return None
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            return "unsupported_encoding", "bodies are taken as they are, without Content-Encoding"
        if b"transfer-encoding" in headers:
            return "length_required", "a body has to come with its Content-Length, not in chunks"
        size, most = _size(headers), self._most_bytes(scope["path"])
        if size > most:
            return "too_large", f"the body has {size} bytes, and {most} are taken here at once"
        return None

    def _most_bytes(self, path: str) -> int:
        if _CARRIES_FILES.fullmatch(path):
            return self._settings.body_bytes
        return DOCUMENT_BYTES if path == f"{PREFIX}/uploads" else SMALL_BYTES

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.count(scope["method"], route, status, seconds)
        fields: dict[str, Any] = {
            "request": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "user": scope["state"].get("user", ""),
        }
        _log.info("request", extra={"fields": fields})
        self._audit.note(scope, request_id, status)


def _size(headers: dict[bytes, bytes]) -> int:
    return int(headers.get(b"content-length", b"0"))


def _is_trick(raw: bytes) -> bool:
    """Return whether a path means something else to somebody who decodes it once more, or normalizes it."""
    for path in (raw, once := unquote_to_bytes(raw), unquote_to_bytes(once)):
        if b"//" in path or b"\\" in path or any(byte < 0x20 or byte == 0x7F for byte in path):  # noqa: PLR2004
            return True
        if any(part in (b".", b"..") for part in path.split(b"/")):
            return True
    return False
