"""Curves as pictures for papers and pages: PNG and SVG, and HTML with the table of the runs; drawn by matplotlib."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from t9k.em.cli.curves import Curve
from t9k.em.cli.summary import lower_is_better
from t9k.em.cli.text import clean, number
from t9k.em.errors import MissingExtra

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtra("pictures need matplotlib; install it: pip install 't9k-em[plot]'") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMS = ("png", "svg", "html")

_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
_MARKERS = ("", "o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
_DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
_MOST_POINTS = 2000
_MARKS = 12
_CHARACTERS_PER_INCH = 13
"""Of the legend, about."""
_SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # names may hold '$'
    "svg.fonttype": "none",
    "svg.hashsalt": "t9k.em",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; background: #fff }
svg { max-width: 100%; height: auto }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin-top: 1.5em }
th, td { text-align: left; padding: .25em .8em; border-bottom: 1px solid #ddd; white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
"""


def picture(curves: Sequence[Curve], labels: Mapping[str, str], *, x: str, form: str) -> bytes:
    """Draw curves, one diagram for each metric; a run has one color and marker in all of them, a type one kind of line.

    Args:
        curves: At least one.
        labels: Of each run, by its place.
        x: What the horizontal axes are called.
        form: 'png', 'svg' or 'html'.

    Returns:
        The bytes of the file.
    """
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # A font may lack the signs of a script: a PNG shows boxes then, and a browser takes another font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = _figure(curves, labels, x)
        file = io.BytesIO()
        if form == "png":
            figure.savefig(file, format="png", dpi=150, metadata={"Software": "t9k.em"})
            return file.getvalue()
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    return svg if form == "svg" else _page(svg.decode(), curves, labels).encode("utf-8", "backslashreplace")


def _figure(curves: Sequence[Curve], labels: Mapping[str, str], x: str) -> Figure:
    metrics = list(dict.fromkeys(curve.metric for curve in curves))
    runs = list(dict.fromkeys(curve.place for curve in curves))
    types = list(dict.fromkeys(curve.type for curve in curves))
    columns = 1 if len(metrics) == 1 else 2
    rows = math.ceil(len(metrics) / columns)
    width = 8.0 if columns == 1 else 12.0
    longest = int(width * _CHARACTERS_PER_INCH) - 8
    names = [labels[run] for run in runs] if len(runs) > 1 else []
    names = [name if len(name) <= longest else f"{name[: longest - 1]}…" for name in names]
    legend_columns = max(
        1, min(len(names), 4, int(width * _CHARACTERS_PER_INCH / (max(map(len, names), default=1) + 8)))
    )
    legend_rows = math.ceil(len(names) / legend_columns)
    figure = Figure(figsize=(width, 3.6 * rows + 0.2 * legend_rows + 0.3), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).flat
    for axes, metric in zip(all_axes, metrics, strict=False):
        axes.set_title(clean(metric), loc="left", fontweight="bold")
        axes.set_xlabel(x)
        for curve in curves:
            if curve.metric == metric:
                _draw(axes, curve, runs.index(curve.place), types.index(curve.type), labels)
        if len(types) > 1 or len(runs) == 1:
            _explain_types(axes, types, [curve.type for curve in curves if curve.metric == metric])
    for axes in list(figure.axes)[len(metrics) :]:
        axes.remove()
    if names:
        lines = [_line(index) for index in range(len(runs))]
        figure.legend(lines, names, loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=8)
    return figure


def _draw(axes: Axes, curve: Curve, run: int, kind: int, labels: Mapping[str, str]) -> None:
    places: list[float] = []
    values: list[float] = []
    for segment in curve.segments(_MOST_POINTS):
        places += [*(place for place, _ in segment), math.nan]
        values += [*(value for _, value in segment), math.nan]
    marker = _MARKERS[run // len(_COLORS) % len(_MARKERS)] or ("o" if len(curve.points) == 1 else "")
    axes.plot(
        places,
        values,
        color=_COLORS[run % len(_COLORS)],
        linestyle=_DASHES[kind % len(_DASHES)],
        marker=marker,
        markersize=4,
        # Marks of several curves do not lie on top of each other.
        markevery=(run % _MARKS / _MARKS / _MARKS, 1 / _MARKS) if len(curve.points) > _MARKS else None,
        linewidth=1.2,
        label=labels[curve.place],
    )


def _line(run: int) -> Any:
    from matplotlib.lines import Line2D

    marker = _MARKERS[run // len(_COLORS) % len(_MARKERS)]
    return Line2D([], [], color=_COLORS[run % len(_COLORS)], marker=marker, markersize=4, linewidth=1.2)


def _explain_types(axes: Axes, types: Sequence[str], there: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    shown = [kind for kind in types if kind in there]
    lines = [Line2D([], [], color="#444", linestyle=_DASHES[types.index(kind) % len(_DASHES)]) for kind in shown]
    axes.legend(lines, [clean(kind) for kind in shown], loc="best", fontsize=8, framealpha=0.6)


def _page(svg: str, curves: Sequence[Curve], labels: Mapping[str, str]) -> str:
    """One page that needs nothing else: the picture, and a table of the runs."""
    series = list(dict.fromkeys((curve.type, curve.metric) for curve in curves))
    runs = list(dict.fromkeys(curve.place for curve in curves))
    by_key = {(curve.place, curve.type, curve.metric): curve for curve in curves}
    heads = [f'<th class="number">{_text(f"{kind}/{metric}")}</th>' for kind, metric in series]
    rows = []
    for run in runs:
        cells = "".join(f'<td class="number">{_last(by_key.get((run, *one)))}</td>' for one in series)
        rows.append(f"<tr><td>{_text(labels[run])}</td>{cells}<td>{_text(run)}</td></tr>")
    title = ", ".join(dict.fromkeys(curve.metric for curve in curves))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{svg[svg.index('<svg') :]}\n"
        '<div class="wide"><table>\n<thead><tr><th>Run</th>'
        f"{''.join(heads)}<th>Place</th></tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table></div>\n"
        "<p>Last value of each metric, and its best in parentheses.</p>\n</body>\n</html>\n"
    )


def _last(curve: Curve | None) -> str:
    """Return the last and the best value of a curve."""
    if curve is None:
        return ""
    finite = [value for segment in curve.segments(len(curve.points) * 4) for _, value in segment]
    best = (min if lower_is_better(curve.metric) else max)(finite) if finite else None
    return escape(number(curve.points[-1][1]) + ("" if best is None else f" ({number(best)})"))


def _text(value: object) -> str:
    return escape(clean(value))
