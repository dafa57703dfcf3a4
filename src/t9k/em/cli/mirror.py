"""`em mirror`: makes a folder or store like another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from t9k.em import api, session
from t9k.em.cli import targets
from t9k.em.cli.app import OK, PARTIAL, explain
from t9k.em.cli.output import json_option, note, print_json, print_rows, say, text
from t9k.em.cli.progress import progress
from t9k.em.cli.text import clean, count, size
from t9k.em.errors import EMError, InvalidInput
from t9k.em.records import FOLDER
from t9k.em.transfer.mirroring.report import Action, Entry, Report
from t9k.em.uris import is_uri

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {Action.ADD: "green", Action.DELETE: "red", Action.REPLACE: "yellow", Action.FAILED: "bold red"}
_DONE = {
    Action.ADD: "added",
    Action.UPDATE: "updated",
    Action.REPLACE: "replaced",
    Action.UNCHANGED: "unchanged",
    Action.DELETE: "deleted",
    Action.FAILED: "failed",
}
_SHOWN = 3


@click.command(short_help="Make a folder or a whole store like another.")
@click.argument("source")
@click.argument("target")
@click.option("-n", "--dry-run", is_flag=True, help="Change nothing; print what would be done.")
@click.option("--delete", is_flag=True, help="Delete in TARGET what SOURCE does not have.")
@click.option(
    "--max-delete",
    metavar="N|P%",
    help="Refuse to delete more runs and artifacts than so many, or than so much of TARGET; by default more than 10 and 25%.",
)
@click.option("--history/--no-history", default=True, help="All versions of each node (default), or the newest only.")
@click.option(
    "--verify", is_flag=True, help="Compare also what an earlier run found equal, and read the bytes in TARGET."
)
@json_option
@targets.backend_option
@click.pass_context
def mirror(
    ctx: click.Context,
    source: str,
    target: str,
    *,
    dry_run: bool,
    delete: bool,
    max_delete: str | None,
    history: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Make the folder TARGET like the folder SOURCE; a run or artifact SOURCE goes into the folder TARGET.

    Both are paths in the backend or URIs; a URI alone and '/' mean a whole store, with the folders of all users. Run the
    same command again to send what has changed since, or what an interruption left out: nothing is sent twice.

    A node of SOURCE comes on top of another one of that name in TARGET; earlier versions stay readable. Nodes that only
    TARGET has stay there without --delete, and nothing outside of TARGET is ever touched. Nor is anything deleted of which
    SOURCE may have more than it shows to you, or where it would be more than --max-delete.
    """
    if max_delete is not None and not delete:
        raise click.UsageError("--max-delete is about --delete, which is not given")
    for place in (source, target):
        if targets.local_node(place):
            raise InvalidInput(f"{place} is local; em upload sends it, and em mirror what is in a backend")
    if not all([is_uri(session.check_place(place)) for place in (source, target)]):  # noqa: C419 - each is checked
        targets.connect()
    targets.refuse_nested(session.root(target))
    with progress() as bars:
        report = api.mirror_stores(
            source,
            target,
            dry_run=dry_run,
            delete=delete,
            max_delete=max_delete,
            history=history,
            verify=verify,
            progress=bars,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    for entry in report.problems:
        note(f"em: {clean(entry.path or report.source)}: {explain(EMError(entry.problem))}")
    if report.partial:
        shown = ", ".join(clean(f"/{path}") for path in report.partial[:_SHOWN])
        more = "" if len(report.partial) <= _SHOWN else f" and {len(report.partial) - _SHOWN:,} more"
        note(f"only a part of the source is shown to you, and only that is mirrored, in: {shown}{more}")
    if not report.complete:
        note(f"em: {count(len(report.problems), 'problem')}, see above; correct it and run the command again")
    ctx.exit(OK if report.complete else PARTIAL)


def _print(report: Report) -> None:
    """Print the actions, path by path, and the sums."""
    rows = list(_rows(report))
    if rows:
        print_rows(("Action", "Kind", "Versions", "Moved", "Path"), rows, right=["Versions", "Moved"])
    moved = f"{count(sum(entry.moved_files for entry in report.entries), 'file')}, " + size(
        sum(entry.moved for entry in report.entries)
    )
    if rows:
        say("")
    say(f"{'mirrored' if report.applied else 'plan    '}  {clean(report.source)}  ->  {clean(report.target)}")
    say(f"nodes     {_counts(report)}")
    say(f"moved     {moved}" if report.applied else f"to move   {moved}")
    if not report.applied:
        note("nothing was changed; without --dry-run it is done")
        return
    say(
        f"verified  {count(len(report.nodes), 'node')}, {count(sum(entry.files for entry in report.nodes), 'file')}, "
        f"{size(sum(entry.size for entry in report.nodes))}"
    )
    say(f"digest    {report.digest}")
    if report.outside:
        shown = ", ".join(map(clean, report.outside[:_SHOWN]))
        more = "" if len(report.outside) <= _SHOWN else f" and {len(report.outside) - _SHOWN:,} more"
        note(f"runs refer to artifacts that are not among these: {shown}{more}")


def _rows(report: Report) -> Iterator[tuple[Text, ...]]:
    for entry in report.entries:
        if entry.action is Action.UNCHANGED:
            continue
        yield (
            text(entry.action.value, _STYLES.get(entry.action, "")),
            text(entry.kind),
            text(entry.versions or ""),
            text(size(entry.moved) if entry.versions else ""),
            text(_path(entry), "blue" if entry.kind == FOLDER else ""),
        )


def _path(entry: Entry) -> str:
    return f"{entry.path}/" if entry.kind == FOLDER else entry.path


def _counts(report: Report) -> str:
    """Return the number of runs and artifacts of each action: '2 added, 1 updated'."""
    counts = Counter(entry.action for entry in report.entries if entry.kind != FOLDER)
    return ", ".join(f"{counts[action]:,} {done}" for action, done in _DONE.items() if counts[action]) or "none"
