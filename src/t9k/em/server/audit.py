"""The audit log: who read, wrote, deleted or shared what, when, by which key and from where; one JSON object a line.

Entries hold no key text, no headers, no file contents and no signed address. Each goes out with one write, so that the
processes of a server may share a file; one that was moved away is opened anew, as `logrotate` expects.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from t9k.em.errors import InvalidInput
from t9k.em.server.logs import JSONLines
from t9k.em.wire import PREFIX

if TYPE_CHECKING:
    from starlette.types import Scope

STDERR = "-"
MOST_CHARS = 2048
"""Of one value; a longer one is cut."""

_TARGET = ("path", "generation", "key", "recursive", "kind", "name")
"""Parameters of addresses that say what a request is about."""

_logger = logging.getLogger("t9k.em.server.audit")


class AuditLog:
    """Where the entries of one process go.

    Args:
        target: Path of a file, which is made with the mode 0600; '-' for standard error, '' for nowhere.

    Raises:
        InvalidInput: The file cannot be written.
    """

    def __init__(self, target: str) -> None:
        self._is_on = bool(target)
        for handler in list(_logger.handlers):
            _logger.removeHandler(handler)
            handler.close()
        _logger.propagate = False
        _logger.setLevel(logging.INFO)
        if not target:
            return
        try:
            handler = logging.StreamHandler(sys.stderr) if target == STDERR else _PrivateFile(target)
        except OSError as error:
            raise InvalidInput(
                f"the audit log {target} cannot be written: {error.strerror}; choose another --audit"
            ) from error
        handler.setFormatter(JSONLines())
        _logger.addHandler(handler)

    def note(self, scope: Scope, request_id: str, status: int) -> None:
        """Write the entry of a request that was answered; those that need no key have none.

        Args:
            scope: Of the request; its state has the user, the key's id, and what routes added by `about`.
            request_id: Of the request.
            status: Of the answer; 0 where the client was gone.
        """
        if not self._is_on or not scope["path"].startswith(PREFIX) or scope["path"] == f"{PREFIX}/version":
            return
        state = scope["state"]
        given = parse_qs(scope["query_string"].decode("latin-1"))
        target = {name: given[name][0] for name in _TARGET if name in given}
        own: dict[str, Any] = {
            "request": request_id,
            "user": state.get("user", ""),
            "key_id": state.get("key_id", ""),
            "address": scope["client"][0] if scope.get("client") else "",
            "operation": getattr(scope.get("route"), "operation_id", None) or scope["method"],
            "status": status,
        }
        concerns = {
            **target,
            **{name: str(value) for name, value in scope.get("path_params", {}).items()},
            **state.get("about", {}),
        }
        # Whom a request concerns never stands in the place of who made it.
        fields = own | {f"target_{name}" if name in own else name: value for name, value in concerns.items()}
        cut = {name: value[:MOST_CHARS] if isinstance(value, str) else value for name, value in fields.items()}
        _logger.info("audit", extra={"fields": cut})


class _PrivateFile(WatchedFileHandler):
    """A file that only its owner reads."""

    def _open(self) -> io.TextIOWrapper:
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return open(fd, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - a descriptor


def about(state: Any, **fields: Any) -> None:
    """Add to the entry of a request what its address does not say.

    Args:
        state: Of the request.
        **fields: What it is about, such as `path`.
    """
    known = getattr(state, "about", {})
    state.about = known | {name: value for name, value in fields.items() if value is not None}
