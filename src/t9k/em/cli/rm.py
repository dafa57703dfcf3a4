"""`em rm`: deletes nodes in a backend."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from t9k.em.cli import targets
from t9k.em.cli.app import ERROR
from t9k.em.cli.output import note, say
from t9k.em.cli.several import do_each, expand
from t9k.em.cli.text import clean, count, size
from t9k.em.errors import CorruptManifest, InvalidInput
from t9k.em.names import split_version
from t9k.em.records import FOLDER, Node
from t9k.em.uris import uri_of_node

if TYPE_CHECKING:
    from t9k.em.backend import Backend

DAMAGED = "damaged"
"""Stands for the kind of a node whose record is damaged."""


@click.command(short_help="Delete runs, artifacts or folders in a backend.")
@click.argument("place_list", metavar="PLACE...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="A folder with all that is in it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@targets.backend_option
@click.pass_context
def rm(ctx: click.Context, place_list: tuple[str, ...], *, recursive: bool, yes: bool) -> None:
    """Delete runs, artifacts or folders in a backend.

    A PLACE may be a pattern in quotes: em rm 'mnist/cnn_*'. Nothing is deleted unless all that are named are there. Their
    versions stay readable (em ls PLACE --versions) until em gc collects them.
    """
    for place in place_list:
        if targets.local_node(place):
            raise InvalidInput(
                f"{place} is local, and em rm deletes in a backend; delete the directory itself: rm -r {place}"
            )
    doomed = {place: _find(place) for place in expand(place_list, local=False, folders=True)}
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("There is no terminal to ask on; say -y to delete.")
        if not click.confirm(_question(list(doomed.values())), err=True):
            note("nothing was deleted")
            ctx.exit(ERROR)

    def delete(place: str) -> None:
        backend, node = doomed[place]
        backend.delete(node.path, recursive=recursive)
        say(f"deleted  {clean(uri_of_node(backend.uri, node.path))}")

    ctx.exit(do_each(list(doomed), delete))


def _find(place: str) -> tuple[Backend, Node]:
    """Return the nodes to delete.

    Raises:
        NotFound: The node does not exist.
        InvalidInput: The argument is one version, or in a store inside another one.
    """
    backend, path = targets.remote(place)
    targets.refuse_nested(backend.uri)
    if split_version(path)[1] is not None:
        raise InvalidInput(
            f"{path} is one version; em rm {split_version(path)[0]} deletes the node, em gc old versions"
        )
    try:
        return backend, backend.stat(path)
    except CorruptManifest:  # of which nothing is known but where it is
        return backend, Node(path=path, kind=DAMAGED, id="", generation=0)


def _question(found: Sequence[tuple[Backend, Node]]) -> str:
    if len(found) == 1:
        backend, node = found[0]
        return f"Delete {_described(node)} in {clean(backend.uri)}?"
    for backend, node in found:
        note(f"  {_described(node)} in {clean(backend.uri)}")
    return f"Delete these {len(found)}?"


def _described(node: Node) -> str:
    if node.kind == FOLDER:
        return f"the folder {clean(node.path)}"
    if node.kind == DAMAGED:
        return f"{clean(node.path)}, whose record is damaged"
    return f"the {node.kind} {clean(node.path)} ({count(node.file_count, 'file')}, {size(node.size)})"
