"""`em plot`: metric curves in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import click

from t9k.em.cli import places
from t9k.em.cli.guessing import Word
from t9k.em.cli.output import json_option, note, print_json
from t9k.em.cli.text import clean, count
from t9k.em.errors import InvalidInput, NotFound
from t9k.em.records import ARTIFACT

MOST_METRICS = 4


@click.command(short_help="Draw metrics in the terminal.")
@click.argument("place_list", metavar="PLACE...", nargs=-1, required=True)
@click.option("-m", "--metric", "metrics", multiple=True, help="Only this metric; may be given again.")
@click.option("--type", "types", multiple=True, help="Only metrics of this type, such as train; may be given again.")
@click.option("-x", type=Word(["step", "epoch"]), default="step", show_default=True, help="Horizontal axis.")
@json_option
@places.backend_option
def plot(
    place_list: tuple[str, ...], *, metrics: tuple[str, ...], types: tuple[str, ...], x: str, as_json: bool
) -> None:
    """Draws metrics of one run, or of several on top of each other.

    PLACE is a local directory, a path in the backend, or a URI. Where a value is not finite the curve has a gap.
    """
    from t9k.em.cli.curves import curves_of
    from t9k.em.cli.views import look_at
    from t9k.em.local.metrictypes import canonical_type

    views = [look_at(place, only_metrics=True) for place in place_list]
    for view in views:
        if view.kind == ARTIFACT:
            raise InvalidInput(f"{view.place} is an artifact; only runs have metrics")
        for problem in view.problems + view.recovered:
            note(f"em: warning: {clean(problem)}")
    there = curves_of(views, x=x)
    wanted_types = set(map(canonical_type, types))
    curves = [
        curve
        for curve in there
        if (not metrics or curve.metric in metrics) and (not wanted_types or curve.type in wanted_types)
    ]
    if not curves:
        known = ", ".join(dict.fromkeys(f"{curve.type}/{curve.metric}" for curve in there))
        advice = (
            f"there are {known}"
            if known
            else f"run.log(type, metrics, step) logs them{' with an epoch' * (x == 'epoch')}"
        )
        raise NotFound(f"{', '.join(place_list)}: no such metrics; {advice}")
    if as_json:
        print_json([curve.to_dict() for curve in curves])
        return
    from t9k.em.cli.drawing import draw

    names: Sequence[str] = list(dict.fromkeys(curve.metric for curve in curves))
    drawn = names if metrics else names[:MOST_METRICS]
    for name in drawn:
        draw([curve for curve in curves if curve.metric == name], x=x)
    left = names[len(drawn) :]
    if left:
        note(f"{count(len(left), 'more metric')}: {clean(', '.join(left))}; choose with -m")
