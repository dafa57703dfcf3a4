"""Folders: made with their parents as needed, and kept open while nodes are published in them (ADR 0004).

The deletion of a folder first publishes that the folder is closing, then looks for children, then publishes that the folder
is deleted; see `deleting`. A publication looks at the folder afterwards: when nothing was published there since the folder
was last made or found open, the deletion will find the child; otherwise `keep_folder` opens the folder again, and the
deletion loses the race for the generation in which the deletion would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from attrs import evolve

from t9k.em.errors import Conflict, NameCollision
from t9k.em.names import check_depth, check_path, join, parent_and_name
from t9k.em.records import FOLDER, Node, utc_text
from t9k_em_backends.tree.heads import Head, to_node
from t9k_em_backends.tree.tree import implicit

if TYPE_CHECKING:
    from t9k_em_backends.tree.tree import Tree


def make_folder(tree: Tree, path: str) -> Node:
    """Make a folder and its parents as needed; see `t9k.em.backend.Backend.make_folder`."""
    if check_depth(check_path(path)) == "/":
        return implicit(path)
    since = tree.mark.clock()
    tree.require_safe_store()
    return make_folder_since(tree, path, since)


def make_folder_since(tree: Tree, path: str, since: float) -> Node:
    """Make a folder and its parents as needed, in a store that may be written to.

    Args:
        tree: The tree.
        path: Path of the folder, not too deep.
        since: Time by the clock of the mark in seconds; a store whose mark was read later is not looked at again.

    Raises:
        NameCollision: A node of another spelling has the name.
        Conflict: The node of that path is no folder.
    """
    if path == "/":
        return implicit(path)
    folder, name = parent_and_name(path)
    parent = make_folder_since(tree, folder, since)
    generations = tree.generations(folder, name)
    generation, head = generations.newest()
    if head is None:  # as in a store whose records are gone
        tree.mark.check(tree.store, since=since)
    while head is None or head.state == "deleted" or (head.state == "closing" and head.name == name):
        draft = _open_head(tree, name, head)
        if generations.publish(generation + 1, draft):
            keep_folder(tree, folder, parent.generation)
            return to_node(folder, generation + 1, draft)
        generation, head = generations.newest(generation + 1)
    if head.name != name:
        raise NameCollision(
            f"{join(folder, head.name)} is there, whose name differs only by case or Unicode form; use it"
        )
    if head.kind != FOLDER:
        raise Conflict(f"{path} is there and is a {head.kind}; use another name for the folder")
    return to_node(folder, generation, head)


def keep_folder(tree: Tree, folder: str, generation: int) -> None:
    """Keep a folder in which a node was just published from being deleted, or make the folder again.

    Args:
        tree: The tree.
        folder: Path of the folder.
        generation: Generation of the folder before the node was published, from `make_folder`.
    """
    if folder != "/" and tree.generations(*parent_and_name(folder)).newest_listed() != generation:
        make_folder(tree, folder)


def _open_head(tree: Tree, name: str, below: Head | None) -> Head:
    """Return the head of an open folder on top of the newest head: a missing one, a deletion or a closing folder."""
    if below is not None and below.ready:  # closing
        return evolve(below, write_id=uuid4().hex, state="ready")
    head = Head(
        write_id=uuid4().hex,
        kind=FOLDER,
        state="ready",
        name=name,
        id=str(uuid4()),
        writer=tree.writer(),
        time=utc_text(tree.clock()),
    )
    if below is None:
        return head
    return evolve(head, fenced=below.fenced, fenced_spans=below.fenced_spans, collected=below.collected)
