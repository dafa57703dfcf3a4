"""Makes local directories of runs and artifacts that lie in a backend."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from t9k.em import history
from t9k.em.artifact import Artifact
from t9k.em.errors import InvalidInput, NotFound
from t9k.em.local import layout
from t9k.em.local.files import make_private_dir
from t9k.em.local.layout import INDEX, METADATA
from t9k.em.local.state import LocalState
from t9k.em.names import check_name, random_text
from t9k.em.records import ARTIFACT, FOLDER, RUN
from t9k.em.run import Run
from t9k.em.transfer.downloading import download_files

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import Node
    from t9k.em.transfer.progress import Progress


def fetch_run(backend: Backend, path: str, progress: Progress | None = None) -> Run:
    """Downloads a run, all of it.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.
        progress: Told how far it is.

    Raises:
        NotFound: There is none.
        CorruptData: It is damaged.
    """
    return Run.open_directory(_fetch(backend, path, RUN, None, progress))


def fetch_artifact(backend: Backend, path: str, progress: Progress | None = None) -> Artifact:
    """Downloads the metadata of an artifact; its objects come when they are asked for.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.
        progress: Told how far it is.

    Raises:
        NotFound: There is none.
        CorruptData: It is damaged.
    """
    return Artifact.open_directory(_fetch(backend, path, ARTIFACT, (INDEX, METADATA), progress))


def _fetch(
    backend: Backend, path: str, kind: str, keys: Collection[str] | None, progress: Progress | None
) -> Path:
    """Downloads files of a node into a directory that appears when they are complete."""
    node = backend.stat(path)
    if node.kind != kind:
        raise NotFound(f"{path} in {backend.uri} is a {node.kind}; {_advice(node.kind)}")
    parent = layout.parent_directory(kind)
    staging = parent / f".em-fetch-{random_text(12)}"
    make_private_dir(staging, exist_ok=False)
    try:
        read = download_files(backend, node, staging, keys=keys, progress=progress)
        if layout.kind_of(staging) != kind:
            raise InvalidInput(f"{path} in {backend.uri} holds no {METADATA} of a {kind}")
        state = LocalState(staging)
        state.set("origin", {"uri": backend.uri, "path": read.path, "generation": read.generation})
        state.add_remote(history.record(history.DOWNLOAD, backend.uri, read))
        return _place(staging, parent, node)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _place(staging: Path, parent: Path, node: Node) -> Path:
    """Gives a fetched directory its name; the one that was there already stays if it holds the same."""
    name = check_name(node.metadata.get("alternative_name") or node.name)
    target = parent / name
    if target.is_dir() and _holds(target, staging):
        return target
    while target.exists():
        target = parent / f"{name}-{random_text(6)}"
    os.rename(staging, target)
    return target


def _holds(directory: Path, fetched: Path) -> bool:
    """Whether a directory has every file that was fetched, byte for byte."""
    for path in fetched.rglob("*"):
        relative = path.relative_to(fetched)
        other = directory / relative
        if path.is_dir() or relative.parts[0] == layout.PRIVATE:
            continue
        if not other.is_file() or other.read_bytes() != path.read_bytes():
            return False
    return True


def _advice(kind: str) -> str:
    return "list what is in it" if kind == FOLDER else f"load it with em.load_{kind.lower()}"
