"""`em plot`: metric curves in the terminal, or as a picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from t9k.em.cli import targets
from t9k.em.cli.guessing import Word
from t9k.em.cli.outfile import replacing_output
from t9k.em.cli.output import json_option, note, print_json
from t9k.em.cli.several import expand, is_glob
from t9k.em.cli.text import clean, count
from t9k.em.errors import InvalidInput, NotFound
from t9k.em.local.layout import check_local
from t9k.em.records import ARTIFACT
from t9k.em.typos import did_you_mean

if TYPE_CHECKING:
    from t9k.em.cli.curves import Curve
    from t9k.em.cli.views import View

MOST_METRICS = 4
MOST_IN_PICTURE = 16
_FORMS = ("png", "svg", "html")


@click.command(short_help="Draw metrics in the terminal, or as PNG, SVG or HTML.")
@click.argument("place_list", metavar="PLACE...", nargs=-1, required=True)
@click.option("-m", "--metric", "metrics", multiple=True, help="Only this metric; may be given again.")
@click.option("--type", "types", multiple=True, help="Only metrics of this type, such as train; may be given again.")
@click.option("-x", type=Word(["step", "epoch"]), default="step", show_default=True, help="Horizontal axis.")
@click.option("-o", "--output", metavar="FILE", help="A picture instead: FILE ends in .png, .svg or .html.")
@json_option
@targets.backend_option
def plot(
    place_list: tuple[str, ...],
    *,
    metrics: tuple[str, ...],
    types: tuple[str, ...],
    x: str,
    output: str | None,
    as_json: bool,
) -> None:
    """Draw metrics of one run, or of several on top of each other.

    PLACE is a local directory, a path in the backend, or a URI; it may be a pattern in quotes: 'mnist/cnn_*'. Where a
    value is not finite the curve has a gap. Several runs are told apart by what differs: names, hyperparameters, starts.
    Pictures need: pip install 't9k-em[plot]'.
    """
    form = None if output is None else _form_of(output)
    if form is not None and as_json:
        raise click.UsageError("--json prints the points, and -o draws them; give one of the two.")
    from t9k.em.cli.curves import curves_of

    views = _views(place_list)
    there = curves_of(views, x=x)
    curves = _wanted(there, metrics, types)
    if not curves:
        raise _nothing(there, place_list, metrics, types, x)
    missing = set(metrics) - {curve.metric for curve in curves}
    for name in sorted(missing):
        note(f"em: warning: no run has the metric {name!r}{did_you_mean(name, [curve.metric for curve in there])}")
    if as_json:
        print_json([curve.to_dict() for curve in curves])
        return
    names: Sequence[str] = list(dict.fromkeys(curve.metric for curve in curves))
    drawn = names if metrics else names[: MOST_METRICS if form is None else MOST_IN_PICTURE]
    curves = [curve for curve in curves if curve.metric in drawn]
    labels = _labels(views, curves)
    if form is None or output is None:
        from t9k.em.cli.drawing import draw

        for name in drawn:
            draw([curve for curve in curves if curve.metric == name], labels, x=x)
    else:
        from t9k.em.cli.pictures import picture

        data = picture(curves, labels, x=x, form=form)
        with replacing_output(Path(output)) as file:
            file.write(data)
        note(f"{clean(output)}: {count(len(labels), 'run')}, {count(len(drawn), 'metric')}")
    left = names[len(drawn) :]
    if left:
        note(f"{count(len(left), 'more metric')}: {clean(', '.join(left))}; choose with -m")


def _form_of(output: str) -> str:
    check_local(output, "-o")
    ending = output.lower().rpartition(".")[2] if "." in output else ""
    if ending not in _FORMS:
        raise InvalidInput(
            f"{output} does not end in .png, .svg or .html; name the file like {Path(output).stem or 'loss'}.png"
            + did_you_mean(ending, _FORMS)
        )
    return ending


def _views(place_list: Sequence[str]) -> list[View]:
    """Return the runs; artifacts are left out where a pattern found them."""
    from t9k.em.cli.views import look_at

    views = []
    named = set(place_list)
    for place in expand(place_list, local=True):
        view = look_at(place, only_metrics=True)
        if view.kind == ARTIFACT:
            if place in named or not any(map(is_glob, place_list)):
                raise InvalidInput(f"{view.place} is an artifact; only runs have metrics")
            continue
        for problem in view.problems + view.recovered:
            note(f"em: warning: {clean(problem)}")
        views.append(view)
    return views


def _wanted(there: Sequence[Curve], metrics: Collection[str], types: Collection[str]) -> list[Curve]:
    from t9k.em.local.metrictypes import canonical_type

    wanted_types = set(map(canonical_type, types))
    return [
        curve
        for curve in there
        if (not metrics or curve.metric in metrics) and (not wanted_types or curve.type in wanted_types)
    ]


def _nothing(
    there: Sequence[Curve], place_list: Sequence[str], metrics: Sequence[str], types: Sequence[str], x: str
) -> NotFound:
    known = ", ".join(dict.fromkeys(f"{curve.type}/{curve.metric}" for curve in there))
    advice = (
        f"there are {known}" if known else f"run.log(type, metrics, step) logs them{' with an epoch' * (x == 'epoch')}"
    )
    guesses = [did_you_mean(name, [curve.metric for curve in there]) for name in metrics]
    guesses += [did_you_mean(name, [curve.type for curve in there]) for name in types]
    return NotFound(f"{', '.join(place_list)}: no such metrics; {advice}{next(filter(None, guesses), '')}")


def _labels(views: Sequence[View], curves: Sequence[Curve]) -> dict[str, str]:
    """Return the label of each run that is drawn, by its location."""
    from t9k.em.cli.differences import Told, labels

    drawn = {curve.place for curve in curves}
    runs = [
        Told(
            name=view.name,
            hparams=view.hparams,
            start=view.metadata.get("start_timestamp") or "",
            place=view.place,
        )
        for view in views
        if view.place in drawn
    ]
    return dict(zip((run.place for run in runs), labels(runs), strict=True))
