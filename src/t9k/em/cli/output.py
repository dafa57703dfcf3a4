"""Where commands print: consoles, tables and JSON. Only `Text` goes in, so that no name is taken for markup."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from t9k.em.cli.text import clean, to_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

NOT_A_TERMINAL_WIDTH = 1000
"""Columns where output goes to a file or a pipe: nothing is cut or wrapped there."""

_NARROWEST = 20

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def may_be_terminal(stream: TextIO) -> bool:
    """Return whether rich may take a stream for a terminal, which it decides by the environment too; importing it takes time."""
    return stream.isatty() or not os.environ.keys().isdisjoint(("FORCE_COLOR", "TTY_COMPATIBLE"))


def console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr that interprets nothing in what it prints."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> NoReturn:
            raise BrokenPipeError  # `App` knows what to do

    made = Plain(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = NOT_A_TERMINAL_WIDTH
    return made


def say(message: str) -> None:
    """Print a line that was cleaned where needed."""
    print(message)


def note(message: str) -> None:
    """Print a line that is not the result, to stderr."""
    print(message, file=sys.stderr)


def print_json(data: Any) -> None:
    """Print one JSON document."""
    print(to_json(data))


def text(value: object, style: str = "") -> Text:
    """Return a value as it may be printed."""
    from rich.text import Text

    return Text(clean(value), style=style, overflow="fold")


def print_rows(headers: Sequence[str], rows: Iterable[Sequence[Text]], *, right: Collection[str] = ()) -> None:
    """Print a table without lines; the last column is never padded, cut or wrapped, so that it can be copied.

    Args:
        headers: Titles of the columns.
        rows: A cell for each of them.
        right: Which of them are aligned to the right.
    """
    lines = [[text(header, "bold") for header in headers], *rows]
    widths = [max(line[column].cell_len for line in lines) for column in range(len(headers))]
    to = console()
    for line in lines:
        for column, (header, cell) in enumerate(zip(headers, line, strict=True)):
            padding = widths[column] - cell.cell_len
            if header in right:
                cell.pad_left(padding)
            elif column < len(headers) - 1:
                cell.pad_right(padding)
        to.print(text("  ").join(line), soft_wrap=True)


def print_pairs(rows: Sequence[tuple[Text, Text]], to: Console) -> None:
    """Print labels and values in two columns; long values are wrapped between words.

    A word that is longer than a line, such as a URI, is left to the terminal, so that it can be copied.

    Args:
        rows: A label and a value of any number of lines each.
        to: Where they are printed.
    """
    if not rows:
        return
    indent = max(label.cell_len for label, _ in rows) + 2
    width = max(to.width - indent, _NARROWEST)
    printed: list[Text] = []
    for label, value in rows:
        first = label.copy()
        first.pad_right(indent - label.cell_len)
        lines = [part for line in value.split(allow_blank=True) for part in _wrap(line, width)]
        printed += [(text(" " * indent) if number else first) + line for number, line in enumerate(lines)]
    # All at once: rich looks at the terminal anew each time.
    to.print(*printed, sep="\n", soft_wrap=True)


def _wrap(line: Text, width: int) -> Iterator[Text]:
    """Break a line before words only; rich would break a long word, or nothing."""
    if line.cell_len <= width:
        line.rstrip()
        yield line
        return
    start = 0
    breaks = []
    for word in re.finditer(r"\S+", line.plain):
        if word.start() > start and line[start : word.end()].cell_len > width:
            start = word.start()
            breaks.append(start)
    for part in line.divide(breaks):
        part.rstrip()
        yield part


def tree(title: object) -> Tree:
    """Return a tree with a title."""
    from rich.tree import Tree

    return Tree(text(title, "bold"), guide_style="dim")
