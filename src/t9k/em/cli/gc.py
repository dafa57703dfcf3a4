"""`em gc`: says what nothing refers to any more, and deletes it when told to."""

from __future__ import annotations

import re

import click
from attrs import asdict

from t9k.em.backend import Backend, Collects
from t9k.em.cli import targets
from t9k.em.cli.output import json_option, note, print_json, print_rows, say, text
from t9k.em.cli.progress import waiting
from t9k.em.cli.text import clean, count, size
from t9k.em.errors import InvalidInput, NotFound

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    """Return a time such as 90s, 30m, 72h or 7d, in seconds."""
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no time; write it like 90s, 30m, 72h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


@click.command(short_help="List, or delete, what nothing refers to any more.")
@click.argument("place", required=False)
@click.option("--apply", is_flag=True, help="Delete it; without this option nothing is changed.")
@click.option(
    "--older-than",
    callback=seconds,
    metavar="TIME",
    default="72h",
    show_default=True,
    help="Only what is older: 90s, 30m, 72h, 7d.",
)
@click.option(
    "--keep-versions", type=click.IntRange(min=1), default=1, show_default=True, help="Versions of each node to keep."
)
@json_option
@targets.backend_option
def gc(place: str | None, *, apply: bool, older_than: float, keep_versions: int, as_json: bool) -> None:
    """List files that no kept version refers to: of old versions, deleted nodes and broken uploads.

    PLACE is a folder or node, as path or URI; without it, all of the backend. Uploads that are in progress are safe as
    long as they take less than --older-than.
    """
    backend, path = targets.remote("/" if place is None else place)
    if not isinstance(backend, Collects):
        raise InvalidInput(
            f"{backend.uri} is a server, whose store only its operator can collect: run em gc on the root that it serves"
        )
    if apply:
        targets.refuse_nested(backend.uri)
    targets.require_store(backend)  # first: to learn the time of a store, a file is written
    with waiting(f"looking through {path} of {backend.uri}"):
        garbage = backend.collect(path, grace_s=older_than, keep_versions=keep_versions, apply=apply)
    if not garbage.objects:
        _require(backend, path)
    if as_json:
        objects = [asdict(found) for found in garbage.objects]
        print_json({"applied": garbage.applied, "count": len(objects), "size": garbage.size, "objects": objects})
        return
    if garbage.objects:
        rows = [(text(size(found.size)), text(found.key)) for found in garbage.objects]
        print_rows(("Size", "Object"), rows, right=["Size"])
    total = f"{count(len(garbage.objects), 'object')}, {size(garbage.size)}"
    kept = (
        ""
        if garbage.objects or not older_than
        else f"; what is younger than {_time(older_than)} is kept (--older-than)"
    )
    say(f"{'deleted' if garbage.applied else 'would delete'} {total} in {clean(backend.uri)}{kept}")
    if garbage.objects and not garbage.applied:
        note("nothing was changed; --apply deletes them")


def _require(backend: Backend, path: str) -> None:
    """Make sure that a place where nothing was found is, or was, a place.

    Raises:
        NotFound: The name was never used.
    """
    try:
        backend.stat(path)
    except NotFound as error:
        try:
            backend.versions(path)
        except (NotFound, InvalidInput):
            raise error from None


def _time(seconds: float) -> str:
    """Return the reverse of `seconds`, in hours where they are whole."""
    unit = next((unit for unit in "hm" if seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:g} {unit}"
