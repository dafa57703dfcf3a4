"""Uploads by plain requests, as any program may make them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from tests.services.aistore import Someone

from t9k.em.names import new_op
from t9k.em.records import FileSpec
from t9k.em.wire import frame


def document(
    folder: str, name: str, contents: Mapping[str, bytes], kind: str = "Artifact", **changes: Any
) -> dict[str, Any]:
    """What begins an upload."""
    return {
        "op": new_op(),
        "folder": folder,
        "draft": {
            "type": kind,
            "name": name,
            "alternativeName": f"{name}_{uuid4().hex}",
            "id": str(uuid4()),
            "metadata": {},
        },
        "files": [
            {"key": key, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for key, data in contents.items()
        ],
        "strategy": "error",
        "makeFolder": True,
    } | changes


def upload(someone: Someone, folder: str, name: str, contents: Mapping[str, bytes], **changes: Any) -> dict[str, Any]:
    """Uploads an artifact in one batch; gives the node."""
    begun = document(folder, name, contents, **changes)
    answer = someone.ask("POST", "uploads", json=begun)
    assert answer.status_code == 200, answer.text
    state = answer.json()
    if state["outcome"] is None:
        batch = b"".join(
            frame(FileSpec(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest())) + data
            for key, data in contents.items()
        )
        sent = someone.ask("POST", f"uploads/{begun['op']}/batch", data=batch)
        assert sent.status_code == 204, sent.text
        state = someone.ask("POST", f"uploads/{begun['op']}/commit").json()
    assert state["outcome"], state
    node: dict[str, Any] = state["node"]
    return node


def read(someone: Someone, node: Mapping[str, Any], key: str, **options: Any) -> Any:
    """Asks for a file of a node."""
    parameters = {"path": node["path"], "generation": node["generation"], "key": key}
    return someone.ask("GET", "nodes/content", params=parameters, **options)
