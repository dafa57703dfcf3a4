"""`em download`: runs or artifacts from a backend into a local directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t9k.em.cli import targets
from t9k.em.cli.output import json_option, print_json, say
from t9k.em.cli.progress import progress
from t9k.em.cli.several import do_each, expand, is_glob
from t9k.em.cli.text import clean, near
from t9k.em.errors import EMError
from t9k.em.loading import fetch_artifact, fetch_run
from t9k.em.local import layout
from t9k.em.local.files import make_private_dir
from t9k.em.records import ARTIFACT, FOLDER
from t9k.em.uris import is_uri

if TYPE_CHECKING:
    from t9k.em.artifact import Artifact
    from t9k.em.run import Run


@click.command(short_help="Download runs or artifacts.")
@click.argument("place_list", metavar="PLACE... [DIR]", nargs=-1, required=True)
@click.option("--into", metavar="DIR", type=click.Path(path_type=Path), help="Where each gets a directory of its name.")
@click.option("--key", "keys", multiple=True, help="Only this object of an artifact; may be given again.")
@json_option
@targets.backend_option
@click.pass_context
def download(
    ctx: click.Context, place_list: tuple[str, ...], *, into: Path | None, keys: tuple[str, ...], as_json: bool
) -> None:
    """Download runs or artifacts, and print the local directories.

    One becomes DIR, which must not exist; several go --into a directory. Without these they go where em.load_run and
    em.load_artifact put them, under .em/runs or .em/artifacts. PLACE may be a pattern in quotes: 'mnist/cnn_*'. Every
    byte is checked. Run the same command again after an interruption: what has arrived is not fetched again.
    """
    directory = None if into is not None else _directory(place_list)
    given = expand(place_list[:1] if directory is not None else place_list, local=False)
    if directory is not None and len(given) > 1:
        raise click.UsageError(f"{place_list[0]} stands for {len(given)}; say where they go with --into {directory}")
    fetched: list[dict[str, Any]] = []

    def fetch(place: str) -> None:
        fetched.append(_fetch(place, directory, into, keys))
        if not as_json:
            say(clean(fetched[-1]["local"]))

    code = do_each(given, fetch)
    if as_json:
        print_json(fetched if len(given) > 1 or is_glob(place_list[0]) else fetched[0])
    ctx.exit(code)


def _directory(place_list: Sequence[str]) -> Path | None:
    """Return the last of two arguments, where that is no node in the backend.

    Raises:
        UsageError: The last argument may be meant as either.
    """
    if len(place_list) != 2 or is_glob(place_list[1]) or (is_uri(place_list[1]) and "#" in place_list[1]):  # noqa: PLR2004
        return None
    _, last = place_list
    if not is_uri(last) and not Path(last).is_absolute() and not is_uri(place_list[0]):
        try:
            backend, path = targets.remote(last)
            node = backend.stat(path)
        except EMError:  # it is no path in a backend
            return Path(last)
        if node.kind != FOLDER:
            raise click.UsageError(
                f"{last} is a node in the backend as well; say ./{last} for the directory, or --into DIR for both"
            )
    return Path(last)


def _fetch(place: str, directory: Path | None, into: Path | None, keys: tuple[str, ...]) -> dict[str, Any]:
    backend, path = targets.remote(place)
    node = targets.node_at(backend, path, f"em download '{path}/*' downloads what is in it")
    if keys and node.kind != ARTIFACT:
        raise click.UsageError("--key chooses objects of an artifact, and this is a run.")
    if into is not None:
        layout.check_local(into, "--into")
        make_private_dir(into, exist_ok=True)
        directory = into / node.name
    fetched: Run | Artifact
    with progress() as bars:
        if node.kind == ARTIFACT:
            fetched = fetch_artifact(backend, path, bars, directory=directory)
            fetched.download(keys or None, progress=bars)
        else:
            fetched = fetch_run(backend, path, bars, directory=directory)
    return {"local": near(fetched.local), "kind": node.kind, "uri": targets.node_uri(backend, node)}
