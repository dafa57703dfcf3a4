"""Copy one node from a backend to another, without a local copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from t9k.em.errors import InvalidInput, NotFound
from t9k.em.names import alternative_name, check_path, join
from t9k.em.records import FOLDER, Draft, Node, Outcome
from t9k.em.transfer.sources import remote_body
from t9k.em.transfer.uploading import Journal, upload_node

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.transfer.progress import Progress

_MOST_ANCESTORS = 200


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
    """Copy a run or artifact with its id, metadata and files; every byte is checked on the way.

    Args:
        source: Where it is.
        path: Its absolute path there, or 'path@3' for a version.
        target: Where it goes.
        folder: Absolute path of the folder there.
        strategy: 'skip', 'error', 'new' or 'replace'. A node with the same id is updated, where its newest version is one that the copied
            version comes from: by its op, or because it holds the same as that or an earlier version of the source.
        make_folder: Whether to make the folder when it is missing.
        progress: Receives the progress.

    Returns:
        What became of it, and the node that is there now.

    Raises:
        InvalidInput: The source is a folder.
        Diverged: The copied version does not descend from the newest one there, and `strategy` is not 'replace'.
    """
    check_path(folder)
    node = source.stat(path)
    if node.kind == FOLDER:
        raise InvalidInput(f"{path} is a folder; em.mirror copies it with all that is in it")
    return copy_version(
        source,
        node,
        target,
        folder,
        strategy=strategy,
        make_folder=make_folder,
        ancestors=_ancestors(source, node, target, folder),
        compare="content" if strategy == "replace" else "listing",
        progress=progress,
    )


def _ancestors(source: Backend, node: Node, target: Backend, folder: str) -> tuple[str, ...]:
    """Return the ops of the versions there that a version comes from, as far as the newest one can be one of them."""
    names = dict.fromkeys([node.name, str(node.metadata.get("alternative_name") or node.name)])
    there = [
        found for name in names if (found := _find(target, join(folder, name))) is not None and found.id == node.id
    ]
    if not there:
        return (node.op,)
    older = [
        each
        for each in source.versions(node.path)
        if each.id == node.id and not each.deleted and each.generation <= node.generation
    ]
    known = [each.op for each in older]
    contents = [_content(source, each) for each in older if any(found.op not in known for found in there)]
    return (*known[:_MOST_ANCESTORS], *(found.op for found in there if _content(target, found) in contents))


def _find(backend: Backend, path: str) -> Node | None:
    try:
        return backend.stat(path)
    except NotFound:
        return None


def _content(backend: Backend, node: Node) -> tuple[Mapping[str, object], dict[str, str]]:
    return node.metadata, {file.key: file.sha256 for file in backend.files(node)}


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
    ancestors: tuple[str, ...] | None = None,
    compare: str = "listing",
    progress: Progress | None = None,
) -> tuple[Outcome, Node]:
    """Copy one generation of a run or artifact; see `copy_node`.

    Args:
        source: Where it is.
        node: From `stat` or `versions`.
        target: Where it goes.
        folder: Absolute path of the folder there.
        strategy: 'skip', 'error', 'new' or 'replace'.
        make_folder: Whether to make the folder when it is missing.
        journal: Where the op is kept meanwhile.
        since: See `UploadRequest`.
        ancestors: See `UploadRequest`; None to compare with nothing.
        compare: See `UploadRequest`.
        progress: Receives the progress.
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
        ancestors=ancestors,
        compare=compare,
        progress=progress,
    )
