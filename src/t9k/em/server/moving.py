"""Move a node or a folder within a store: what lies below is copied to its new path, compared, and deleted where it was."""

from __future__ import annotations

from t9k.em.backend import Backend
from t9k.em.errors import BackendError, Conflict, NotFound
from t9k.em.names import check_depth, join, parent_and_name
from t9k.em.records import FOLDER, Node
from t9k.em.transfer.mirroring.nodes import Item, Options, mirror_node
from t9k.em.transfer.progress import Silent

TRIES = 3


def move_node(tree: Backend, path: str, folder: str) -> Node:
    """Move a node with all its versions, or a folder with all below it; repeated after a failure, it goes on.

    Args:
        tree: Where both are, as who moves it writes to it.
        path: What is moved.
        folder: Where it goes; it keeps its name.

    Returns:
        The node in its new place.

    Raises:
        NotFound: No such node exists.
        Conflict: Another node has the name in the new folder, or the node is written to all the time.
    """
    node = tree.stat(path)
    to = join(folder, node.name)
    if node.kind == FOLDER:
        _move_folder(tree, path, to)
    else:
        _move_one(tree, node, to)
    return tree.stat(to)


def check_depths(tree: Backend, path: str, folder: str) -> None:
    """Refuse a move that would bring something deeper than a node may lie, before anything is moved.

    Args:
        tree: Where both are.
        path: What is moved.
        folder: Where it goes.

    Raises:
        InvalidName: A path would be too deep.
        NotFound: No such node exists.
    """
    above = parent_and_name(path)[0]
    pending = [tree.stat(path)]
    while pending:
        node = pending.pop()
        check_depth(f"{folder.rstrip('/')}{node.path.removeprefix(above.rstrip('/'))}")
        if node.kind == FOLDER:
            pending += tree.list(node.path)


def _move_folder(tree: Backend, path: str, to: str) -> None:
    tree.make_folder(to)
    for _ in range(TRIES):
        for child in tree.list(path):
            move_node(tree, child.path, to)
        try:
            tree.delete(path)
        except Conflict:  # somebody put something into it meanwhile
            continue
        return
    raise Conflict(f"somebody writes to {path} all the time; move it again later")


def _move_one(tree: Backend, node: Node, to: str) -> None:
    there = _there(tree, to)
    if there is not None and (there.id, there.kind) != (node.id, node.kind):
        raise Conflict(f"{to} is there already; delete it, or move {node.path} to another folder")
    for _ in range(TRIES):
        item = Item(
            path=node.name,
            source=node.path,
            target=to,
            kind=node.kind,
            id=node.id,
            files=node.file_count,
            size=node.size,
        )
        done = mirror_node(tree, tree, item, Options(), Silent())
        if done.entry.problem:
            raise BackendError(f"{node.path} was not moved to {to}: {done.entry.problem}")
        try:
            tree.delete(node.path, generation=node.generation)
        except Conflict:  # somebody published a newer version meanwhile
            node = tree.stat(node.path)
        else:
            return
    raise Conflict(f"somebody writes to {node.path} all the time; move it again later")


def _there(tree: Backend, path: str) -> Node | None:
    try:
        return tree.stat(path)
    except NotFound:
        return None
