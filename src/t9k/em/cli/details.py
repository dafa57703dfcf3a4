"""What tells runs of one name apart in a list: how long they took, the hyperparameters that differ, the last metrics."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from attrs import field, frozen

from t9k.em.cli.differences import differing, short
from t9k.em.cli.output import text
from t9k.em.cli.text import flatten, number
from t9k.em.errors import EMError
from t9k.em.local import below, layout
from t9k.em.local.below import Below
from t9k.em.parallel import in_parallel
from t9k.em.records import RUN, Node, parse_utc

if TYPE_CHECKING:
    from rich.text import Text

    from t9k.em.backend import Backend

MOST_RUNS = 200
"""Of more runs in a backend, only what the list itself says is shown: each takes a few requests."""

_MOST_HPARAMS, _MOST_METRICS = 6, 4
_TAIL_BYTES = 64 << 10
_MOST_HPARAMS_BYTES = 1 << 20
_LENGTHS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


@frozen(kw_only=True)
class Details:
    """What is known of a run besides its name.

    Attributes:
        hparams: Flat.
        last: The last value of each metric, by type and name.
    """

    hparams: Mapping[str, Any] = field(factory=dict)
    last: Mapping[tuple[str, str], Any] = field(factory=dict)


@frozen(kw_only=True)
class Column:
    """A column of the list.

    Attributes:
        title: Its title.
        cells: One for each row.
    """

    title: str
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters of the widest cell, with the distance to the next column."""
        return 2 + max(len(text(cell).plain) for cell in (self.title, *self.cells))


def duration_of(metadata: Mapping[str, Any]) -> str:
    """Return how long a run took, in its two largest units; '' for one that has not ended."""
    try:
        ends = [parse_utc(str(metadata[f"{end}_timestamp"])) for end in ("start", "end")]
    except (KeyError, ValueError, OverflowError):
        return ""
    seconds = max(0, round((ends[1] - ends[0]).total_seconds()))
    parts: list[str] = []
    for unit, length in _LENGTHS:
        if seconds >= length or parts:
            parts.append(f"{seconds // length}{unit}")
            seconds %= length
    return " ".join(parts[:2]) or "0s"


def details_here(directory: Path) -> Details:
    """Read what a list shows of a local run; what cannot be read is left out, and `em show` says why."""
    hparams: Mapping[str, Any] = {}
    with suppress(EMError, OSError):
        hparams = flatten(layout.read_mapping(Below(directory, layout.HPARAMS), "hyperparameters"))
    last: dict[tuple[str, str], Any] = {}
    with suppress(EMError, OSError):
        for name in sorted(below.names(Below(directory, layout.METRICS))):
            with suppress(EMError, OSError):
                tail = _tail(Below(directory, f"{layout.METRICS}/{name}"))
                kind = unquote(Path(name).stem)
                last |= {(kind, metric): value for metric, value in _last_values(tail).items()}
    return Details(hparams=hparams, last=last)


def details_there(backend: Backend, nodes: Sequence[Node]) -> dict[str, Details]:
    """Fetch what a list shows of runs in a backend: hyperparameters, and the ends of the metrics files.

    Args:
        backend: Where they are.
        nodes: Any nodes.

    Returns:
        By path; nothing where there are more than `MOST_RUNS` runs.
    """
    runs = [node for node in nodes if node.kind == RUN]
    if not runs or len(runs) > MOST_RUNS:
        return {}
    found = in_parallel(partial(_fetch, backend), runs, "details")
    return dict(zip((node.path for node in runs), found, strict=True))


def columns(details: Sequence[Details | None], room: int) -> list[Column]:
    """Return the columns that tell runs apart, as many as there is room for: differing hyperparameters, then last metrics.

    Args:
        details: Of each row; None for what is no run.
        room: Characters that they may take.
    """
    runs = [one for one in details if one is not None]
    keys = differing([one.hparams for one in runs])[:_MOST_HPARAMS] if len(runs) > 1 else []
    made = [Column(title=key, cells=tuple(_hparam(one, key) for one in details)) for key in keys]
    counts = Counter(metric for one in runs for metric in one.last if metric[0] != "system")
    names = Counter(name for _, name in counts)
    for kind, name in [metric for metric, _ in counts.most_common(_MOST_METRICS)]:
        title = name if names[name] == 1 else f"{kind}/{name}"
        made.append(Column(title=title, cells=tuple(_metric(one, (kind, name)) for one in details)))
    by_rank = [
        *made[: min(2, len(keys))],
        *made[len(keys) : len(keys) + 1],
        *made,
    ]  # a metric comes before a third hyperparameter
    shown: list[Column] = []
    for column in dict.fromkeys(by_rank):
        if column.width <= room:
            room -= column.width
            shown.append(column)
    return [column for column in made if column in shown]


def cells_of(shown: Iterable[Column], row: int) -> list[Text]:
    """Return the cells of one row."""
    return [text(column.cells[row]) for column in shown]


def _hparam(one: Details | None, key: str) -> str:
    return short(one.hparams[key]) if one is not None and key in one.hparams else ""


def _metric(one: Details | None, metric: tuple[str, str]) -> str:
    value = None if one is None else one.last.get(metric)
    return number(value) if isinstance(value, (int, float)) else "" if value is None else short(value)


def _fetch(backend: Backend, node: Node) -> Details:
    with tempfile.TemporaryDirectory(prefix="em-") as name, suppress(EMError):
        directory = Path(name)
        (directory / layout.METRICS).mkdir()
        for file in backend.files(node):
            if file.key == layout.HPARAMS and file.size <= _MOST_HPARAMS_BYTES:
                (directory / layout.HPARAMS).write_bytes(b"".join(backend.read(node, file)))
            elif file.key.startswith(f"{layout.METRICS}/") and file.size:
                start = max(0, file.size - _TAIL_BYTES)
                data = b"".join(backend.read(node, file, start))
                (directory / layout.METRICS / Path(file.key).name).write_bytes(data)
        return details_here(directory)
    return Details()


def _tail(path: Below) -> bytes:
    with below.stream(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        return file.read(_TAIL_BYTES)


def _last_values(tail: bytes) -> dict[str, Any]:
    """Return the last value of each metric in the end of a metrics file; the first line of it may be cut."""
    found: dict[str, Any] = {}
    for line in tail.split(b"\n"):
        if not line.startswith(b"- {"):
            continue
        try:
            value = json.loads(line[2:])["value"]
        except (ValueError, KeyError, TypeError, RecursionError):  # cut or damaged, or written by hand as other YAML
            continue
        if isinstance(value, dict):
            found |= value
    return found
