"""`em show`: all about runs or artifacts."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t9k.em.cli import targets
from t9k.em.cli.ls import HOW_TO_END, node_dict, print_versions
from t9k.em.cli.output import console, json_option, print_json, print_pairs, print_rows, text
from t9k.em.cli.several import do_each, expand, is_glob
from t9k.em.cli.silence import WHAT_TO_DO, is_silent
from t9k.em.cli.summary import Point, summarize
from t9k.em.cli.text import clean, clean_lines, count, flatten, number, since, size, when
from t9k.em.cli.views import View, look_at
from t9k.em.ending.status import RUNNING
from t9k.em.local import layout, recorder
from t9k.em.records import ARTIFACT, RUN, utc_text
from t9k.em.uris import uri_of_node

if TYPE_CHECKING:
    from rich.console import Console

_MOST_OBJECTS = 20

_SIDES = {"input": "Inputs", "output": "Outputs"}


@click.command(short_help="Show runs or artifacts.")
@click.argument("place_list", metavar="PLACE...", nargs=-1, required=True)
@click.option("-a", "--all", "show_all", is_flag=True, help=f"All objects of an artifact, not only {_MOST_OBJECTS}.")
@json_option
@targets.backend_option
@click.pass_context
def show(ctx: click.Context, place_list: tuple[str, ...], *, show_all: bool, as_json: bool) -> None:
    """Show runs or artifacts: metadata, hyperparameters, metrics, objects, lineage and history.

    PLACE is a local directory, a path in the backend, or a URI; it may be a pattern in quotes: 'mnist/cnn_*'. Of a
    damaged one, what can be read is shown; the exit code is 1 then. JSON is a list where there are several.
    """
    given = expand(place_list, local=True)
    views: list[View] = []

    def render_next(place: str) -> None:
        views.append(look_at(place))
        if not as_json:
            to = console()
            if len(views) > 1:
                to.print()
            render(views[-1], to, show_all=show_all)

    code = do_each(given, render_next)
    if as_json:
        found = [view_dict(view) for view in views]
        print_json(found if len(given) > 1 or is_glob(place_list[0]) else found[0])
    ctx.exit(code or (1 if any(view.problems for view in views) else 0))


def view_dict(view: View) -> dict[str, Any]:
    """Return a run or artifact for `--json`."""
    common: dict[str, Any] = {"place": view.place, "kind": view.kind, "metadata": view.metadata}
    if view.kind == RUN:
        common |= {
            "hparams": view.hparams,
            "metrics": [summary.to_dict() for summary in summarize(view.metrics)],
            "platform": view.platform,
            "git": view.git,
            "files": view.sizes,
        }
    else:
        common["objects"] = [{"key": key, **data} for key, data in view.objects.items()]
    if view.node is None:
        common["history"] = view.history
    else:
        if view.heard is not None:
            common["last_heard"] = utc_text(datetime.fromtimestamp(view.heard, timezone.utc))
        common["versions"] = [node_dict(view.place.partition("#")[0], node) for node in view.versions]
    return common | {"problems": view.problems, "recovered": view.recovered}


def render(view: View, to: Console, *, show_all: bool = False) -> None:
    """Print a run or artifact.

    Args:
        view: What is known of it.
        to: Where it is printed.
        show_all: Whether all objects are.
    """
    to.print(text(view.kind, "bold"), text(view.name, "bold green" if view.kind == RUN else "bold cyan"))
    for problem in view.problems:
        to.print(text(f"damaged: {problem}", "bold red"))
    for message in view.recovered:
        to.print(text(f"recovered: {message}", "yellow"))
    _pairs(to, "", _facts(view))
    _pairs(to, "Error", {"type": view.error.get("type"), "message": view.error.get("message")} if view.error else {})
    if view.kind == RUN:
        _pairs(to, "Hyperparameters", flatten(view.hparams))
        _metrics(to, view)
    _lineage(to, view)
    if view.kind == ARTIFACT:
        _objects(to, view, show_all=show_all)
    _pairs(to, "Platform", _platform(view))
    _pairs(to, "Git", _git(view))
    _history(to, view)


def _facts(view: View) -> dict[str, object]:
    """Return the facts that take one line each; empty ones are left out."""
    metadata = view.metadata
    labels = metadata.get("labels")
    start = metadata.get("start_timestamp") or metadata.get("created_timestamp")
    facts = {
        "place": view.place,
        "status": _status(view),
        "id": metadata.get("id"),
        "full name": metadata.get("alternative_name"),
        "labels": ", ".join(map(str, labels)) if isinstance(labels, list) else labels,
        "description": metadata.get("description"),
        "started" if view.kind == RUN else "made": when(start, seconds=True) if start else None,
        "ended": when(metadata["end_timestamp"], seconds=True) if metadata.get("end_timestamp") else None,
    }
    if view.heard is not None:
        facts["last heard"] = since(view.heard)
    if view.node is not None:
        facts["files"] = f"{count(view.node.file_count, 'file')}, {size(view.node.size)}"
    return {name: value for name, value in facts.items() if value not in (None, "", [])}


def _status(view: View) -> object:
    """Return the status, and what speaks against it."""
    status = view.metadata.get("status")
    if status != RUNNING:
        return status
    if view.node is None and recorder.is_alive(Path(view.place)) is False:
        return f"{status}, but its process is gone: {HOW_TO_END}"
    if is_silent(view.heard):
        return f"{status}, but not heard of for long: {WHAT_TO_DO}"
    return status


def _pairs(to: Console, title: str, values: Mapping[str, object]) -> None:
    if not values:
        return
    from rich.text import Text

    _section(to, title)
    style = "" if title else "dim"
    print_pairs([(text(f"  {name}", style), Text(clean_lines(value))) for name, value in values.items()], to)


def _plain(values: Mapping[str, Any]) -> dict[str, object]:
    """Return the facts about a machine or repository that could be found out."""
    said = {name: value for name, value in flatten(values).items() if value not in (None, "", [], {})}
    return {name: ("no", "yes")[value] if isinstance(value, bool) else value for name, value in said.items()}


def _platform(view: View) -> dict[str, object]:
    """Return a line for the command as a shell takes it, and one for the GPUs of each kind."""
    said = dict(view.platform)
    command, gpus = said.get("command"), said.get("gpus")
    if isinstance(command, list):
        said["command"] = shlex.join(map(str, command))
    if isinstance(said.get("memory_bytes"), int):
        said["memory"] = size(said.pop("memory_bytes"))
    kinds = Counter(_gpu(gpu) for gpu in _mappings(gpus))
    if kinds:
        said["gpus"] = ", ".join(f"{number} x {kind}" for kind, number in kinds.items())
    return _plain(said) | _file(view, layout.PACKAGES, "all packages")


def _gpu(gpu: Mapping[str, Any]) -> str:
    memory = gpu.get("memory_bytes")
    return f"{gpu.get('name')}, {size(memory)}" if isinstance(memory, int) else str(gpu.get("name"))


def _git(view: View) -> dict[str, object]:
    """Return the names of untracked files on one line."""
    said = dict(view.git)
    if isinstance(said.get("untracked"), list):
        said["untracked"] = ", ".join(map(str, said["untracked"]))
    return _plain(said) | _file(view, layout.DIFF, "changes")


def _file(view: View, name: str, what: str) -> dict[str, object]:
    """Return a line about a file that is too long to be shown."""
    return {what: f"{name}, {size(view.sizes[name])}"} if name in view.sizes else {}


def _section(to: Console, title: str) -> None:
    if title:
        to.print()
        to.print(text(title, "bold"))


def _metrics(to: Console, view: View) -> None:
    if not view.metrics:
        return
    rows = []
    for summary in summarize(view.metrics):
        best = ("", "") if summary.best is None else _point(summary.best, "↓ " if summary.lower else "↑ ")
        cells = (f"  {summary.type}", summary.metric, summary.count, *_point(summary.last), *best)
        rows.append(list(map(text, cells)))
    headers = ("  Type", "Metric", "Values", "Last", "at step", "Best", "at step ")
    _section(to, "Metrics")
    print_rows(headers, rows, right=headers[2:])


def _point(point: Point, mark: str = "") -> tuple[str, str]:
    return f"{mark}{number(point.value)}", str(point.step)


def _lineage(to: Console, view: View) -> None:
    associations = view.metadata.get("associations")
    for side, title in _SIDES.items():
        rows = []
        for record in _mappings(associations.get(side) if isinstance(associations, Mapping) else None):
            name = text(record.get("name") or record.get("reference") or "", "cyan")
            place = _place(record) or record.get("alternative_name") or ""
            rows.append((text(f"  {record.get('type', '')}"), name.append(f"  {clean(place)}", "default")))
        if rows:
            _section(to, title)
            print_pairs(rows, to)


def _place(record: Mapping[str, Any]) -> str:
    """Return the location in a record of lineage or history; '' in a record without one."""
    if not record.get("uri") or not record.get("path"):
        return ""
    generation = record.get("generation")
    return uri_of_node(str(record["uri"]), str(record["path"])) + (f"@{generation}" if generation else "")


def _objects(to: Console, view: View, *, show_all: bool) -> None:
    total = sum(data.get("size") or 0 for data in view.objects.values() if "uri" not in data)
    _section(to, f"Objects: {len(view.objects):,}, {size(total)}")
    lines = []
    for key, data in list(view.objects.items())[: None if show_all else _MOST_OBJECTS]:
        known = data.get("size")
        reference = f"  -> {clean(data['uri'])}" if "uri" in data else ""
        lines.append(f"  {size(known) if isinstance(known, int) else '?':>9}  {clean(key)}{reference}")
    if lines:
        print("\n".join(lines), file=to.file)  # there may be very many: rich takes ten times as long as all the rest
    if not show_all and len(view.objects) > _MOST_OBJECTS:
        to.print(text(f"  ... and {len(view.objects) - _MOST_OBJECTS:,} more; --all shows them"))


def _history(to: Console, view: View) -> None:
    if view.versions:
        _section(to, "Versions")
        print_versions(view.versions)
    rows = [
        (text(f"  {entry.get('action', '')}  {when(entry.get('timestamp'))}"), text(_place(entry)))
        for entry in view.history
    ]
    if rows:
        _section(to, "History")
        print_pairs(rows, to)


def _mappings(values: object) -> Iterable[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []
