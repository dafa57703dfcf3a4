"""Draw curves in the terminal with plotext."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from t9k.em.cli.curves import Curve, ticks
from t9k.em.cli.output import NOT_A_TERMINAL_WIDTH, console
from t9k.em.cli.text import clean, count

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 80
"""Columns where output goes to no terminal."""

_LOWEST, _HIGHEST = 16, 30
_COLORS = (12, 11, 10, 13, 14, 9, 4, 3, 2, 5, 6, 1)  # ANSI: blue, yellow, green, magenta, cyan, red; bright, then not
_SIGNS = "*o+x#@abcdefghijklmnpqrstuvwyzABCDEFGHIJKLMNPQRSTUVWYZ123456789"
_LINE = "braille"
"""What plotext calls a marker that looks like a line."""
_ASCII = str.maketrans("─│┌┐└┘├┤┬┴┼•", "-|++++||---*")


def draw(curves: Sequence[Curve], labels: Mapping[str, str] | None = None, *, x: str = "step") -> None:
    """Print curves of one metric in one diagram, with a line below it that says what each of them is.

    Args:
        curves: At least one.
        labels: What tells each run from the others, by its place; its name by default.
        x: Label of the horizontal axis.
    """
    from rich.text import Text

    to = console()
    colored = to.color_system is not None
    to.print(Text(clean(curves[0].metric), style="bold"))
    if all(curve.gaps == len(curve.points) for curve in curves):
        to.print(Text("  no value that can be drawn"))
    else:
        diagram = _diagram(curves, to, colored=colored, x=x)
        to.print(Text.from_ansi(diagram), no_wrap=True, overflow="crop")
    several = len({curve.place for curve in curves}) > 1
    for index, curve in enumerate(curves):
        label = f" {curve.type}" + (f"  {(labels or {}).get(curve.place, curve.run)}  {curve.place}" if several else "")
        if curve.gaps:
            label += f"  ({count(curve.gaps, 'value')} not finite)"
        sign = _sign(index, len(curves), to, colored=colored)
        sample = Text("──" if sign == _LINE else sign)
        sample.stylize(f"color({_COLORS[index % len(_COLORS)]})")
        to.print(Text("  ") + sample + Text(clean(label)), soft_wrap=True)
    to.print()


def _diagram(curves: Sequence[Curve], to: Console, *, colored: bool, x: str) -> str:
    import plotext

    width = WIDTH if to.width == NOT_A_TERMINAL_WIDTH else to.width
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, min(max(width // 5, _LOWEST), _HIGHEST))
    figure.theme("colorless")
    for index, curve in enumerate(curves):
        sign = _sign(index, len(curves), to, colored=colored)
        for segment in curve.segments(width * 4):
            marker = plotext.marker(sign, _COLORS[index % len(_COLORS)])
            signal = figure.signal([place for place, _ in segment], [value for _, value in segment], marker=marker)
            figure.draw(signal.lines())
    drawn = [place for curve in curves for segment in curve.segments(width * 4) for place, _ in segment]
    places = ticks(min(drawn), max(drawn))
    figure.ruler("x").ticks(places, [str(place) for place in places])
    figure.label(x, "x")
    text = str(figure.build().string(colorless=not colored))
    return text if _is_unicode(to) else text.translate(_ASCII)


def _sign(index: int, curves: int, to: Console, *, colored: bool) -> str:
    """Return the sign that draws a curve: without color a sign of its own, with color a line and, once all colors are used, signs."""
    if _is_unicode(to) and (curves == 1 or (colored and index < len(_COLORS))):
        return _LINE
    return _SIGNS[(index // len(_COLORS) - _is_unicode(to) if colored else index) % len(_SIGNS)]


def _is_unicode(to: Console) -> bool:
    return (to.encoding or "").lower().startswith("utf")
