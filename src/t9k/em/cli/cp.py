"""`em cp`: a node from one place to another, without a local copy."""

from __future__ import annotations

import click

from t9k.em.cli import targets
from t9k.em.cli.output import json_option, print_json, say
from t9k.em.cli.progress import progress
from t9k.em.cli.text import clean
from t9k.em.errors import InvalidInput
from t9k.em.transfer.copying import copy_node
from t9k.em.uris import uri_of_node


@click.command(short_help="Copy a run or artifact between folders and backends.")
@click.argument("source")
@click.argument("target")
@targets.target_options
@json_option
@targets.backend_option
def cp(source: str, target: str, *, make_folder: bool, conflict_strategy: str, as_json: bool) -> None:
    """Copy a run or artifact from SOURCE into the folder TARGET, in the same backend or another.

    Both are paths in the backend or URIs: em cp mnist/cnn file:///backup/em#/alice/mnist --make-folder
    """
    if targets.local_node(source):
        raise InvalidInput(f"{source} is local; em upload {source} --folder {target} sends it")
    backend, path = targets.remote(source)
    to, folder = targets.remote(target)
    targets.refuse_nested(to.uri)
    with progress("copying") as bars:
        outcome, node = copy_node(
            backend, path, to, folder, strategy=conflict_strategy, make_folder=make_folder, progress=bars
        )
    uri = targets.node_uri(to, node)
    if as_json:
        print_json({"source": uri_of_node(backend.uri, path), "outcome": outcome.value, "uri": uri})
    else:
        say(f"{outcome.value:<9}  {clean(uri_of_node(backend.uri, path))}  ->  {clean(uri)}")
