"""`em upload`: local runs and artifacts to a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t9k.em import session
from t9k.em.api import open_local
from t9k.em.cli import targets
from t9k.em.cli.app import ERROR, OK, PARTIAL, explain
from t9k.em.cli.output import json_option, note, print_json, say
from t9k.em.cli.progress import progress
from t9k.em.cli.text import clean
from t9k.em.errors import Diverged, EMError
from t9k.em.records import ARTIFACT
from t9k.em.uris import is_uri

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import Node, Outcome


@click.command(short_help="Upload local runs and artifacts.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--folder", default="default", show_default=True, help="Folder in the backend, or URI of one in another.")
@targets.target_options
@json_option
@targets.backend_option
@click.pass_context
def upload(
    ctx: click.Context,
    paths: tuple[str, ...],
    *,
    folder: str,
    make_folder: bool,
    conflict_strategy: str,
    as_json: bool,
) -> None:
    """Upload local runs and artifacts.

    PATH is the directory of one, or one that holds several, such as .em/runs; '.' means all that em ls lists. The
    artifacts of a run go with it. One that fails does not stop the others; run the same command again, and what was
    sent is not sent again.
    """
    directories = list({node.absolute(): node for path in paths for node in targets.require_local(path)}.values())
    directories.sort(key=lambda directory: targets.kind_of(directory) != ARTIFACT)  # runs refer to them
    if not is_uri(session.check_place(folder)):
        targets.connect()
    backend, target = session.resolve(folder)
    targets.refuse_nested(backend.uri)
    results: list[dict[str, Any]] = []
    failures: dict[str, list[Path]] = {}
    diverged = 0
    try:
        for directory in directories:
            try:
                with progress() as bars:
                    sent = open_local(directory).send(
                        backend, target, make_folder=make_folder, strategy=conflict_strategy, progress=bars
                    )
            except (EMError, OSError) as error:
                diverged += isinstance(error, Diverged)
                results.append({"local": str(directory), "outcome": "failed", "error": explain(error)})
                failures.setdefault(explain(error), []).append(directory)
            else:
                results.append(outcome_dict(backend, *sent, local=directory))
                if not as_json:
                    _say(results[-1])
    finally:  # an interruption hides no error
        if not as_json:
            _complain(failures)
    if as_json:
        print_json(results)
    failed = sum(map(len, failures.values()))
    if failed and len(results) > 1:
        note(
            f"em: {failed} of {len(results)} could not be uploaded; "
            "correct what is said above and run the command again"
        )
    ctx.exit(OK if not failed else ERROR if len(results) == 1 and not diverged else PARTIAL)


def outcome_dict(backend: Backend, outcome: Outcome, node: Node, *, local: Path | str) -> dict[str, Any]:
    """Return the outcome of an upload or copy, for `--json`."""
    return {"local": str(local), "outcome": outcome.value, "uri": targets.node_uri(backend, node)}


def _say(result: dict[str, Any]) -> None:
    say(f"{result['outcome']:<9}  {clean(result['local'])}  ->  {clean(result['uri'])}")


def _complain(failures: Mapping[str, Sequence[Path]]) -> None:
    """Report every error once, with how many directories it is about."""
    for message, directories in failures.items():
        more = f" and {len(directories) - 1:,} more" if len(directories) > 1 else ""
        note(f"em: {clean(directories[0])}{more}: {message}")
