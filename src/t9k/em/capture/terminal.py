"""The end of a stream as a terminal shows it: the rows that the cursor may still come back to."""

from __future__ import annotations

from collections.abc import Callable

from t9k.em.patterns import lazily

_TOKEN = lazily(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and links
    r"|\x1b[^\[\]]"
    r"|[\r\b\n]"
    r"|[^\x1b\r\b\n]+"
    r"|\x1b"
)
_UNFINISHED = lazily(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?\Z")
_CONTROL = lazily(r"\x1b\[(\d*)(?:;\d*)*([A-GJKm])\Z")
_MOST_HELD = 128

MOST_ROWS = 100
"""How far up the cursor may go; a terminal is hardly ever higher."""

MOST_CHARS = 4096
"""Of a row; what follows begins a row of its own, which continues it."""


def _nothing() -> str | None:
    return None


class Screen:
    r"""The last rows of one stream.

    Understands ``\r``, ``\b``, the erasing of rows and of what is below (``ESC [ K``, ``ESC [ J``), and the cursor in all
    directions, as progress bars use them. Colours and links stay in the text but take no room. What hides the cursor or clears the
    whole terminal is left out.

    A row is finished when the cursor is below it; it becomes changeable again when the cursor goes back up. From then on as many
    rows above the cursor stay changeable as it went up.

    Args:
        take_back: Gives the last row that was finished, with its newline, which is then not finished any more; None where it cannot
            be changed.
    """

    def __init__(self, take_back: Callable[[], str | None] = _nothing) -> None:
        self._take_back = take_back
        self._rows: list[_Row] = [_Row()]
        self._at = 0  # the row with the cursor
        self._column = 0
        self._reach = 0
        self._colours = ""  # for the character that comes next
        self._held = ""
        self._done: list[str] = []  # finished in this piece of text

    @property
    def text(self) -> str:
        """The rows that are not finished."""
        rows = self._rows
        if len(rows) == 1:
            return "".join(rows[0].cells) + self._colours
        return "\n".join(row.text for row in rows) + self._colours

    def feed(self, text: str) -> str:
        r"""Take text that was printed.

        Args:
            text: Any piece of text; a control sequence or ``\r\n`` may be split between two of them.

        Returns:
            The rows that are finished now, each with its ``\n``.
        """
        if self._held:
            text, self._held = self._held + text, ""
        if len(self._rows) == 1 and not self._reach and not ("\r" in text or "\b" in text or "\x1b" in text):
            row = self._rows[0]
            if self._column == len(row.cells):
                finished, newline, rest = text.rpartition("\n")
                if newline:
                    finished = row.text + self._colours + finished + newline
                    row.cells, self._column, self._colours = [], 0, ""
                if not rest:
                    return finished
                self._write(rest)
                return finished + self._given_away()
        return self._feed_slowly(text)

    def settle(self) -> str:
        """Finish the rows above the cursor, for something else was printed below them; returns them."""
        self._reach = 0
        if not self._at:
            return ""
        self._finish()
        return self._given_away()

    def cut(self) -> str:
        """Return the text of all rows and begin an empty one, which continues the last."""
        text = self.text
        self._rows, self._at, self._column, self._reach, self._colours = [_Row()], 0, 0, 0, ""
        return text

    def _feed_slowly(self, text: str) -> str:
        unfinished = _UNFINISHED.search(text)
        if unfinished is not None and len(unfinished[0]) <= _MOST_HELD:
            text, self._held = text[: unfinished.start()], unfinished[0]
        for piece in _TOKEN.findall(text):
            if piece == "\n":
                self._newline()
                self._finish()
            elif piece == "\r":
                self._column = 0
            elif piece == "\b":
                self._column = max(0, self._column - 1)
            elif piece[0] == "\x1b":
                self._control(piece)
            else:
                self._write(piece)
        return self._given_away()

    def _given_away(self) -> str:
        done, self._done = "".join(self._done), []
        return done

    def _write(self, text: str) -> None:
        """Put text where the cursor is; a row that is too long then is finished."""
        if not text:
            return
        row = self._rows[self._at]
        cells = [self._colours + text[0], *text[1:]]
        self._colours = ""
        if self._column > len(row.cells):
            row.cells.extend(" " * (self._column - len(row.cells)))
        row.cells[self._column : self._column + len(cells)] = cells
        self._column += len(cells)
        if len(row.cells) > MOST_CHARS:
            self._done.append(self.cut())

    def _newline(self) -> None:
        self._rows[self._at].cells.append(self._colours) if self._colours else None
        self._colours = ""
        self._at += 1
        self._column = 0
        if self._at == len(self._rows):
            self._rows.append(_Row())

    def _finish(self) -> None:
        """Finish the rows that the cursor is not expected to come back to."""
        count = max(0, self._at - self._reach)
        self._done += [f"{row.text}\n" for row in self._rows[:count]]
        del self._rows[:count]
        self._at -= count

    def _control(self, piece: str) -> None:
        match = _CONTROL.fullmatch(piece)
        if match is None:
            if piece.startswith("\x1b]8;"):  # a link takes no room
                self._colours += piece
            return
        count, kind = int(match[1] or 0), match[2]
        if kind == "m":  # a reset undoes those before it
            is_alone = not count or len(self._colours) > _MOST_HELD
            self._colours = piece if is_alone else self._colours + piece
        elif kind == "A":
            self._up(max(1, count))
        elif kind == "F":
            self._up(max(1, count))
            self._column = 0
        elif kind in "BE":
            self._at = min(len(self._rows) - 1, self._at + max(1, count))
            self._column = 0 if kind == "E" else self._column
        elif kind == "C":
            self._column = min(MOST_CHARS, self._column + max(1, count))
        elif kind == "D":
            self._column = max(0, self._column - max(1, count))
        elif kind == "G":
            self._column = min(MOST_CHARS, max(1, count)) - 1
        else:
            self._erase(kind, count)

    def _up(self, count: int) -> None:
        count = min(count, MOST_ROWS)
        self._reach = max(self._reach, count)
        while count > self._at:
            row = self._take_one_back()
            if row is None:
                break
            self._rows.insert(0, _Row(row.removesuffix("\n")))
            self._at += 1
        self._at = max(0, self._at - count)

    def _take_one_back(self) -> str | None:
        if not self._done:
            return self._take_back()
        return self._done.pop() if self._done[-1][-1] == "\n" else None

    def _erase(self, kind: str, how: int) -> None:
        cells = self._rows[self._at].cells
        if how == 0:
            del cells[self._column :]
        elif how == 1:
            width = min(self._column + 1, len(cells))
            cells[:width] = " " * width
        elif kind == "K":
            cells[:] = " " * self._column
        if kind == "J" and how == 0:
            del self._rows[self._at + 1 :]


class _Row:
    """One row.

    Attributes:
        cells: For each column a character and the colours before it.
    """

    __slots__ = ("cells",)

    def __init__(self, text: str = "") -> None:
        self.cells = _cells(text) if text else []

    @property
    def text(self) -> str:
        return "".join(self.cells)


def _cells(text: str) -> list[str]:
    cells: list[str] = []
    colours = ""
    for piece in _TOKEN.findall(text):
        if piece[0] == "\x1b":
            colours += piece
        else:
            cells += [colours + piece[0], *piece[1:]]
            colours = ""
    return [*cells, colours] if colours else cells
