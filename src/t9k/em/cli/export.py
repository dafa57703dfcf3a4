"""`em export`: metrics as a file that other tools read."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

import click

from t9k.em.cli import targets
from t9k.em.cli.guessing import Word
from t9k.em.cli.outfile import replacing_output
from t9k.em.cli.output import note
from t9k.em.cli.several import expand
from t9k.em.cli.text import clean
from t9k.em.errors import InvalidInput, NotFound, RecoveredDataWarning
from t9k.em.local.below import Below
from t9k.em.local.layout import check_local
from t9k.em.typos import did_you_mean

if TYPE_CHECKING:
    from t9k.em.local.metricreader import Entry

CSV, PARQUET = "csv", "parquet"


@click.command(short_help="Write metrics as Parquet or CSV.")
@click.argument("place_list", metavar="PLACE...", nargs=-1, required=True)
@click.option("--format", "form", type=Word((PARQUET, CSV)), help="By default what the name of FILE ends in.")
@click.option("-o", "--output", metavar="FILE", help="Where to; CSV goes to stdout without it.")
@click.option("--type", "kind", metavar="TYPE", help="Only metrics of this type, such as train.")
@targets.backend_option
def export(place_list: tuple[str, ...], *, form: str | None, output: str | None, kind: str | None) -> None:
    """Write the metrics of runs as one table: type, step, epoch, timestamp, and a column for each metric.

    PLACE is a local directory, a path in the backend, or a URI; it may be a pattern in quotes: 'mnist/cnn_*'. Several
    runs are told apart by one more column, run. Parquet needs: pip install 't9k-em[arrow]'.
    """
    form = form or _form_of(output)
    if form == PARQUET and output is None:
        raise InvalidInput("Parquet is no text; say where it goes: -o metrics.parquet")
    if output is not None:
        check_local(output, "-o")
    given = expand(place_list, local=True)
    with _telling_damage(), contextlib.ExitStack() as stack:
        runs = {place: stack.enter_context(_metric_files(place, kind)) for place in given}
        if output is None:
            _print_csv(runs, sys.stdout)
        else:
            with replacing_output(Path(output)) as file:
                (_write_parquet if form == PARQUET else _write_csv)(runs, file)


def _form_of(output: str | None) -> str:
    if output is None:
        return CSV
    for form in (CSV, PARQUET):
        if output.lower().endswith(f".{form}"):
            return form
    raise InvalidInput(f"{output} ends in neither .parquet nor .csv; say --format parquet or --format csv")


@contextlib.contextmanager
def _metric_files(place: str, kind: str | None) -> Iterator[Mapping[str, Below]]:
    from t9k.em.cli.views import metric_paths
    from t9k.em.local.metrictypes import canonical_type

    with metric_paths(place) as files:
        wanted = {name: path for name, path in files.items() if kind is None or name == canonical_type(kind)}
        if not wanted:
            there = f"there are {', '.join(files)}" if files else "run.log(type, metrics, step) logs them"
            raise NotFound(
                f"{place} has no metrics{'' if kind is None else f' of type {kind!r}'}; {there}{did_you_mean(kind, files)}"
            )
        yield wanted


_Runs = Mapping[str, Mapping[str, Below]]
"""Metrics files by type, of each run by its place."""


def _write_parquet(runs: _Runs, target: BinaryIO) -> None:
    from t9k.em.local.columns import write_parquet, write_parquet_of_runs

    if len(runs) == 1:
        write_parquet(next(iter(runs.values())), target)
    else:
        write_parquet_of_runs(runs, target)


def _write_csv(runs: _Runs, target: BinaryIO) -> None:
    text = io.TextIOWrapper(target, encoding="utf-8", errors="backslashreplace", newline="")
    _print_csv(runs, text)
    text.detach()  # which flushes; the file is closed by who opened it


def _print_csv(runs: _Runs, to: TextIO) -> None:
    from t9k.em.local.metricreader import PLACE, RUN, column_name, iterate

    # Twice through the files, so that the header is known and nothing is kept.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveredDataWarning)  # told the second time
        paths = [path for files in runs.values() for path in files.values()]
        names = dict.fromkeys(name for path in paths for entry in iterate(path) for name in entry["value"])
    writer = csv.writer(to, lineterminator="\n")
    several = len(runs) > 1
    own = [RUN] if several else []
    writer.writerow([*own, *PLACE, *(column_name(name, own) for name in names)])
    for place, files in runs.items():
        for kind, path in files.items():
            for entry in iterate(path):
                writer.writerow([place] * several + _row(kind, entry, names))


def _row(kind: str, entry: Entry, names: Mapping[str, None]) -> list[object]:
    value, sequence = entry["value"], entry["sequence"]
    place = [kind, sequence["step"], sequence.get("epoch"), sequence.get("timestamp")]
    return place + [_number(value[name]) if name in value else None for name in names]


def _number(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


@contextlib.contextmanager
def _telling_damage() -> Iterator[None]:
    """Report what was left out after everything else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecoveredDataWarning)
        yield
    for warning in caught:
        note(f"em: warning: {clean(warning.message)}")
