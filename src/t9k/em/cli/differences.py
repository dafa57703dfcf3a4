"""What tells runs apart: their names, the hyperparameters that differ, and when they started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from t9k.em.cli.text import clean, flatten, number, when

MOST_HPARAMS = 4
_LONGEST = 24
_MISSING = object()


@frozen(kw_only=True)
class Told:
    """A run as far as it can be told from others.

    Attributes:
        name: Its name.
        hparams: Its hyperparameters, nested or flat.
        start: When it started, as in its metadata.
        place: Where it is, which no other is.
    """

    name: str
    hparams: Mapping[str, Any]
    start: object
    place: str


def differing(hparams: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of flat hyperparameters that are not the same in all of several runs, in the order of their occurrence."""
    keys = dict.fromkeys(key for one in hparams for key in one)
    return [key for key in keys if len({_comparable(one.get(key, _MISSING)) for one in hparams}) > 1]


def labels(runs: Sequence[Told]) -> list[str]:
    """Return a label for each run that no other one has: name, differing hyperparameters, and the start where these are alike.

    Args:
        runs: At least one.
    """
    flat = [flatten(run.hparams) for run in runs]
    keys = differing(flat)[:MOST_HPARAMS]
    names_differ = len({run.name for run in runs}) > 1
    made = []
    for run, hparams in zip(runs, flat, strict=True):
        values = [f"{key}={short(hparams[key])}" for key in keys if key in hparams]
        made.append("  ".join([clean(run.name)] * (names_differ or not values) + values))
    for more in ([when(run.start, seconds=True) for run in runs], [clean(run.place) for run in runs]):
        made = [
            f"{label}  {extra}".strip() if made.count(label) > 1 and extra else label
            for label, extra in zip(made, more, strict=True)
        ]
    return made


def short(value: object) -> str:
    """Return a hyperparameter on a short line."""
    text = number(value) if isinstance(value, float) else clean(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _comparable(value: object) -> object:
    return value if value is _MISSING else (type(value).__name__, repr(value))
