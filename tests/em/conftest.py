"""Places to upload to, and what a directory holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from t9k.em import session


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path) -> str:
    """URI of an empty store of its own."""
    return (tmp_path / "store").as_uri() if request.param == "file" else f"memory://{uuid4()}"


@pytest.fixture
def backend(store):
    """The session's backend, with nothing in it."""
    return session.login(store)


@pytest.fixture
def snapshot(tmp_path) -> Callable[..., dict[str, object]]:
    """Tells all that is in a directory, the working directory by default: content by path, links unfollowed."""

    def take(directory: Path = tmp_path) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(directory.rglob("*")):
            if path.is_symlink():
                found[str(path)] = ("link", str(path.readlink()))
            else:
                found[str(path)] = path.read_bytes() if path.is_file() else "directory"
        return found

    return take
