"""Copies one node from a backend to another, without a local copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t9k.em.errors import InvalidInput
from t9k.em.names import alternative_name
from t9k.em.records import FOLDER, Draft, Node, Outcome
from t9k.em.transfer.sources import remote_body
from t9k.em.transfer.uploading import Journal, upload_node

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.transfer.progress import Progress


def copy_node(
    source: Backend,
    path: str,
    target: Backend,
    folder: str,
    *,
    strategy: str = "new",
    make_folder: bool = False,
    progress: Progress | None = None,
) -> tuple[Outcome, Node]:
    """Copies a run or artifact with its id, metadata and files; every byte is checked on the way.

    Args:
        source: Where it is.
        path: Its absolute path there, or 'path@3' for a version.
        target: Where it goes.
        folder: Absolute path of the folder there.
        strategy: 'skip', 'error', 'new' or 'replace'. A node with the same id is updated.
        make_folder: Whether to make the folder when it is missing.
        progress: Told how far it is.

    Returns:
        What became of it, and the node that is there now.

    Raises:
        InvalidInput: It is a folder.
    """
    node = source.stat(path)
    if node.kind == FOLDER:
        raise InvalidInput(f"{path} is a folder; em.mirror copies it with all that is in it")
    return copy_version(source, node, target, folder, strategy=strategy, make_folder=make_folder, progress=progress)


def copy_version(
    source: Backend,
    node: Node,
    target: Backend,
    folder: str,
    *,
    strategy: str,
    make_folder: bool = False,
    journal: Journal | None = None,
    since: int = 0,
    progress: Progress | None = None,
) -> tuple[Outcome, Node]:
    """Copies one generation of a run or artifact; see `copy_node`.

    Args:
        source: Where it is.
        node: From `stat` or `versions`.
        target: Where it goes.
        folder: Absolute path of the folder there.
        strategy: 'skip', 'error', 'new' or 'replace'.
        make_folder: Whether to make the folder when it is missing.
        journal: Where the op is kept meanwhile.
        since: See `UploadRequest`.
        progress: Told how far it is.
    """
    draft = Draft(
        kind=node.kind,
        name=node.name,
        alternative_name=str(node.metadata.get("alternative_name") or alternative_name(node.name)),
        id=node.id,
        metadata=node.metadata,
    )
    bodies = {file.key: remote_body(source, node, file) for file in source.files(node)}
    return upload_node(
        target,
        folder,
        draft,
        bodies,
        strategy=strategy,
        make_folder=make_folder,
        journal=journal,
        since=since,
        progress=progress,
    )
