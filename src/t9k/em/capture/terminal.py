"""What a terminal makes of a line with carriage returns, backspaces and erasures in it."""

from __future__ import annotations

import re

_TOKEN = re.compile("\x1b\\[[0-9;:]*m|\x1b\\[[012]?K|[\r\b\n]|[^\x1b\r\b\n]+|\x1b")
_ERASE_RIGHT = ("\x1b[K", "\x1b[0K")
_ERASE_LEFT = "\x1b[1K"
_ERASE_ALL = "\x1b[2K"


class Line:
    r"""The line of a stream that is not finished yet.

    Understands ``\r``, ``\b`` and the erasing of a line (``ESC [ K``), as progress bars use them. Colours stay in the
    text but take no room. Whatever else moves the cursor is kept as it is.
    """

    def __init__(self) -> None:
        self._cells: list[str] = []  # one for each column: a character and the colours before it
        self._cursor = 0
        self._colours = ""  # for the character that comes next

    @property
    def text(self) -> str:
        """What the terminal shows on this line now."""
        return "".join(self._cells) + self._colours

    def feed(self, text: str) -> str:
        r"""Take what was printed.

        Args:
            text: Any piece of text; ``\r\n`` may be split between two of them.

        Returns:
            The lines that are finished now, each with its ``\n``.
        """
        if self._cursor == len(self._cells) and not ("\r" in text or "\b" in text or "\x1b" in text):
            finished, newline, rest = text.rpartition("\n")
            if newline:
                finished = self.cut() + finished
            self._write(rest)
            return finished + newline
        finished = ""
        for piece in _TOKEN.findall(text):
            if piece == "\n":
                finished += self.cut() + piece
            elif piece == "\r":
                self._cursor = 0
            elif piece == "\b":
                self._cursor = max(0, self._cursor - 1)
            elif len(piece) > 1 and piece[0] == "\x1b":
                self._control(piece)
            else:
                self._write(piece)
        return finished

    def cut(self) -> str:
        """Return the text of the line and begin an empty one, which continues it."""
        text = self.text
        self._cells.clear()
        self._cursor = 0
        self._colours = ""
        return text

    def _write(self, text: str) -> None:
        if text:
            cells = [self._colours + text[0], *text[1:]]
            self._colours = ""
            self._cells[self._cursor : self._cursor + len(cells)] = cells
            self._cursor += len(cells)

    def _control(self, piece: str) -> None:
        if piece in _ERASE_RIGHT:
            del self._cells[self._cursor :]
        elif piece == _ERASE_LEFT:
            width = min(self._cursor + 1, len(self._cells))
            self._cells[:width] = " " * width
        elif piece == _ERASE_ALL:
            self._cells[:] = " " * self._cursor
        else:
            self._colours += piece
