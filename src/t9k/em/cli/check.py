"""`em check`: reads what is in a backend again, and says what is not as it was uploaded."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from t9k.em.backend import ChecksRecords
from t9k.em.cli import targets
from t9k.em.cli.app import DAMAGED, OK, PARTIAL, REPAIRED, explain
from t9k.em.cli.gc import seconds
from t9k.em.cli.output import json_option, note, print_json, print_rows, say, text
from t9k.em.cli.progress import progress
from t9k.em.cli.text import clean, count, size
from t9k.em.errors import EMError, InvalidInput
from t9k.em.transfer.checking.check import Options, run_check
from t9k.em.transfer.checking.report import Report
from t9k.em.transfer.checking.sample import Sample

if TYPE_CHECKING:
    from rich.text import Text


def sample(_: click.Context, __: click.Parameter, value: str | None) -> Sample:
    """Return the choice of the files to read."""
    try:
        return Sample.of(value)
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from error


@click.command(short_help="Read a store again, and say what is damaged.")
@click.argument("place", required=False)
@click.option(
    "--sample",
    "of_files",
    callback=sample,
    metavar="5%|N|N/M",
    help="Read the bytes of a share, of N files, or of part N of M, and not of all files.",
)
@click.option(
    "--older-than",
    callback=seconds,
    metavar="TIME",
    default="0s",
    help="Read the bytes of versions that were published longer ago only: 12h, 30d.",
)
@click.option("--repair", is_flag=True, help="Fix what can be fixed.")
@json_option
@targets.backend_option
@click.pass_context
def check(
    ctx: click.Context, place: str | None, *, of_files: Sample, older_than: float, repair: bool, as_json: bool
) -> None:
    """Read records, lists of files and bytes again, and report what is not as it was uploaded.

    PLACE is a folder, a node with its versions, or one version, as path or URI; without it, all of the backend. Records
    and lists are always read, and every file is looked for; --sample and --older-than say of which files the bytes are
    compared too.

    The exit code is 0 when all is well, 3 when something could not be read, 4 when something is damaged, and 5 when all
    that was damaged is repaired.
    """
    if place is not None and targets.local_node(place):
        raise InvalidInput(f"{place} is local; em check reads what is in a backend")
    backend, path = targets.remote("/" if place is None else place)
    if repair:
        targets.refuse_nested(backend.uri)
    targets.require_store(backend)
    options = Options(sample=of_files, older_than_s=older_than, repair=repair)
    with progress() as bars, _told_once():
        report = run_check(backend, path, options, place=f"{backend.uri}#{path}", progress=bars)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    if report.left and not repair and isinstance(backend, ChecksRecords):
        note("nothing was repaired; --repair fixes what can be fixed")
    ctx.exit(_code(report))


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
    """Keep backends from warning of what the report tells."""
    log = logging.getLogger("t9k_em_backends.tree")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _code(report: Report) -> int:
    if report.left:
        return DAMAGED
    if report.unread:
        return PARTIAL
    return REPAIRED if report.damage else OK


def _print(report: Report) -> None:
    """Print the findings and the sums."""
    rows = list(_rows(report))
    if rows:
        print_rows(("Flaw", "Path", "File", "Problem"), rows)
        say("")
    read = f"{count(report.read_files, 'file')}, {size(report.read)}"
    say(f"checked   {clean(report.place)}")
    say(f"nodes     {count(report.nodes, 'node')}, {count(report.versions, 'version')}")
    say(f"read      {read}, of {count(report.files, 'file')}, {size(report.size)}")
    say(f"damage    {_counts(report)}")
    if report.unread:
        say(f"unread    {len(report.unread):,}, see above")
    if report.unreferenced is not None and report.unreferenced.count:
        garbage = report.unreferenced
        say(f"garbage   {count(garbage.count, 'object')}, {size(garbage.size)}, which em gc --apply deletes")
    if report.partial:
        note(f"only a part of {count(len(report.partial), 'folder')} may be seen, {clean(report.partial[0])} for one")


def _rows(report: Report) -> Iterator[tuple[Text, ...]]:
    for found in report.found:
        flaw = found.flaw
        style = "green" if found.repaired else "bold red" if found.is_damage else "yellow"
        problem = explain(EMError(flaw.problem))
        yield (
            text(flaw.kind, style),
            text(flaw.path),
            text(flaw.key),
            text(f"{problem}; repaired: {found.repaired}" if found.repaired else problem),
        )


def _counts(report: Report) -> str:
    """Return the number of findings of each kind: '3: 1 missing, 2 rot; 1 repaired'."""
    if not report.damage:
        return "none"
    kinds = Counter(found.flaw.kind for found in report.damage)
    told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
    repaired = len(report.damage) - len(report.left)
    return f"{len(report.damage):,}: {told}; {repaired or 'none'} repaired"
