"""`em rm`: deletes a node in a backend."""

from __future__ import annotations

import sys

import click

from t9k.em.cli import places
from t9k.em.cli.app import ERROR
from t9k.em.cli.output import note, say
from t9k.em.cli.text import clean, count, size
from t9k.em.errors import InvalidInput
from t9k.em.names import split_version
from t9k.em.records import FOLDER, Node


@click.command(short_help="Delete a run, artifact or folder in a backend.")
@click.argument("place")
@click.option("-r", "--recursive", is_flag=True, help="A folder with all that is in it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@places.backend_option
@click.pass_context
def rm(ctx: click.Context, place: str, *, recursive: bool, yes: bool) -> None:
    """Deletes a run, artifact or folder in a backend.

    Its versions stay readable (em ls PLACE --versions) until em gc collects them.
    """
    if places.local_node(place):
        raise InvalidInput(
            f"{place} is local, and em rm deletes in a backend; delete the directory itself: rm -r {place}"
        )
    backend, path = places.remote(place)
    places.refuse_nested(backend.uri)
    if split_version(path)[1] is not None:
        raise InvalidInput(
            f"{path} is one version; em rm {split_version(path)[0]} deletes the node, em gc old versions"
        )
    node = backend.stat(path)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("There is no terminal to ask on; say -y to delete.")
        if not click.confirm(f"Delete {_described(node)} in {clean(backend.uri)}?", err=True):
            note("nothing was deleted")
            ctx.exit(ERROR)
    backend.delete(path, recursive=recursive)
    say(f"deleted  {clean(places.uri_of(backend.uri, path))}")


def _described(node: Node) -> str:
    if node.kind == FOLDER:
        return f"the folder {clean(node.path)}"
    return f"the {node.kind} {clean(node.path)} ({count(node.file_count, 'file')}, {size(node.size)})"
