"""Local stores inside local stores: what a URI meant where '#' was forgotten."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from t9k.em.names import RESERVED
from t9k.em.uris import URI, parse


def meant_inside(uri: URI) -> tuple[str, str] | None:
    """Return what a URI of a folder of a local store should be.

    Args:
        uri: Of the root of a store.

    Returns:
        The URI of the store around it, and that of the path in there; None where there is no store around it.
    """
    if uri.scheme != "file":
        return None
    stores = [directory for directory in Path(uri.path).parents if _is_tree(directory)]
    if not stores:
        return None
    store = stores[0]
    while _is_tree(store.parent) and store.parent != store:  # every folder has records of what is in it
        store = store.parent
    outer = parse(f"file://{quote(str(store))}").text
    path = f"/{Path(uri.path).relative_to(store).as_posix()}"
    return outer, f"{outer}#{quote(path, safe='/@')}"


def _is_tree(directory: Path) -> bool:
    """Return whether a directory is the root, or a folder, of a local store."""
    return (directory / RESERVED / "h").is_dir()
