"""`em cp`: a node from one place to another, without a local copy."""

from __future__ import annotations

import click

from t9k.em.cli import places
from t9k.em.cli.output import json_option, print_json, say
from t9k.em.cli.progress import progress
from t9k.em.cli.text import clean
from t9k.em.errors import InvalidInput
from t9k.em.transfer.copying import copy_node


@click.command(short_help="Copy a run or artifact between folders and backends.")
@click.argument("source")
@click.argument("target")
@places.target_options
@json_option
@places.backend_option
def cp(source: str, target: str, *, make_folder: bool, conflict_strategy: str, as_json: bool) -> None:
    """Copies a run or artifact from SOURCE into the folder TARGET, in the same backend or another.

    Both are paths in the backend or URIs: em cp mnist/cnn file:///backup/em#/alice/mnist --make-folder
    """
    if places.local_node(source):
        raise InvalidInput(f"{source} is local; em upload {source} --folder {target} sends it")
    backend, path = places.remote(source)
    to, folder = places.remote(target)
    places.refuse_nested(to.uri)
    with progress("copying") as bars:
        outcome, node = copy_node(
            backend, path, to, folder, strategy=conflict_strategy, make_folder=make_folder, progress=bars
        )
    uri = places.node_uri(to, node)
    if as_json:
        print_json({"source": places.uri_of(backend.uri, path), "outcome": outcome.value, "uri": uri})
    else:
        say(f"{outcome.value:<9}  {clean(places.uri_of(backend.uri, path))}  ->  {clean(uri)}")
