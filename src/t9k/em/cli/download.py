"""`em download`: a run or artifact from a backend into a local directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from t9k.em.cli import places
from t9k.em.cli.output import json_option, print_json, say
from t9k.em.cli.progress import progress
from t9k.em.cli.text import clean
from t9k.em.fetching import fetch_artifact, fetch_run
from t9k.em.records import ARTIFACT

if TYPE_CHECKING:
    from t9k.em.artifact import Artifact
    from t9k.em.run import Run


@click.command(short_help="Download a run or artifact.")
@click.argument("place")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--key", "keys", multiple=True, help="Only this object of an artifact; may be given again.")
@json_option
@places.backend_option
def download(place: str, directory: Path | None, *, keys: tuple[str, ...], as_json: bool) -> None:
    """Downloads a run or artifact, and prints the local directory.

    It becomes DIR, which must not exist; without DIR it goes where em.load_run and em.load_artifact put it, under
    .em/runs or .em/artifacts. Every byte is checked. Run the same command again after an interruption: what has
    arrived is not fetched again.
    """
    backend, path = places.remote(place)
    node = places.node_at(backend, path, "download the runs and artifacts in it one by one")
    if keys and node.kind != ARTIFACT:
        raise click.UsageError("--key chooses objects of an artifact, and this is a run.")
    fetched: Run | Artifact
    with progress() as bars:
        if node.kind == ARTIFACT:
            fetched = fetch_artifact(backend, path, bars, directory=directory)
            fetched.download(keys or None, progress=bars)
        else:
            fetched = fetch_run(backend, path, bars, directory=directory)
    if as_json:
        print_json({"local": fetched.local, "kind": node.kind, "uri": places.node_uri(backend, node)})
    else:
        say(clean(fetched.local))
