from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.capture.terminal import MOST_ROWS, Screen


def shown(*pieces: str) -> tuple[str, str]:
    line = Screen()
    finished = "".join(line.feed(piece) for piece in pieces)
    return finished, line.text


def terminal(*pieces: str) -> list[str]:
    """What a screen shows whose finished rows can be taken back."""
    rows: list[str] = []
    screen = Screen(lambda: rows.pop() if rows else None)
    for piece in pieces:
        rows += screen.feed(piece).splitlines(keepends=True)
    return ("".join(rows) + screen.text).split("\n")


@pytest.mark.parametrize(
    ("pieces", "finished", "pending"),
    [
        (["a\nb\nc"], "a\nb\n", "c"),
        (["a", "b", "\n"], "ab\n", ""),
        (["one\r\ntwo\r\n"], "one\ntwo\n", ""),
        (["one\r", "\ntwo"], "one\n", "two"),
        (["10%\r", "50%\r", "100%", "\n"], "100%\n", ""),
        (["long text\rshort"], "", "shorttext"),
        (["abc\rX"], "", "Xbc"),
        (["abc\r"], "", "abc"),
        (["abc\b\bX"], "", "aXc"),
        (["\b\bX"], "", "X"),
        (["abc\r\x1b[Kx"], "", "x"),
        (["abc\x1b[0Kx"], "", "abcx"),
        (["abc\x1b[2K\rx"], "", "x  "),
        (["abcd\b\b\x1b[1K"], "", "   d"),
        (["ab\x1b[1K"], "", "  "),
        (["\x1b[31mred\x1b[0m\n"], "\x1b[31mred\x1b[0m\n", ""),
        (["\x1b[31mred\x1b[0m", "\rblue"], "", "\x1b[0mblue"),
        (["abc\r\x1b[1;32mX\x1b[0m"], "", "\x1b[1;32mXbc\x1b[0m"),
        (["a\x1b[", "1", "Kb"], "", " b"),
        (["\x1b[?25la\x1b[?25h\x1b"], "", "a"),
        (["\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link"], "", "a\x1b]8;;http://x\x1b\\link"),
        (["ab\x1b[2Dx\x1b[5Gy"], "", "xb  y"),
        (["\x1b[3Cx"], "", "   x"),
        (["训练\r完"], "", "完练"),
        (["", "\n", ""], "\n", ""),
        (["a\rb\nc"], "b\n", "c"),
    ],
)
def test_a_line_is_what_the_terminal_shows(pieces, finished, pending):
    assert shown(*pieces) == (finished, pending)


@given(st.text(st.sampled_from("ab\r\n\b")), st.integers(0, 20))
def test_it_does_not_matter_where_the_text_is_split(text, at):
    assert shown(text) == shown(text[:at], text[at:]) == shown(*text)


@given(st.text(st.characters(exclude_characters="\r\b\x1b")))
def test_plain_text_is_kept_as_it_is(text):
    assert "".join(shown(text)) == text


def test_a_cut_line_goes_on():
    line = Screen()
    line.feed("abc")
    assert line.cut() == "abc"
    assert line.text == ""
    assert line.feed("def\n") == "def\n"


@pytest.mark.parametrize(
    ("pieces", "rows"),
    [
        (["one\ntwo\n\x1b[2Aone!"], ["one!", "two", ""]),
        (["a\nb\nc\n", "\x1b[1A\x1b[2Kx\n"], ["a", "b", "x", ""]),
        (["a\nb\x1b[1Ac"], ["ac", "b"]),
        (
            ["bar0", "\n\rbar1\x1b[A", "\rbar0 50%", "\n\rbar1 50%\x1b[A", "\n\n", "done\n"],
            ["bar0 50%", "bar1 50%", "done", ""],
        ),
        (["a\nb\nc\x1b[2A\x1b[J"], ["a"]),
        (["a\nb\nc\x1b[1F\x1b[Kx"], ["a", "x", "c"]),
        (["a\nb\x1b[Ac\x1b[Bd"], ["ac", "b d"]),
        (["\x1b[99Ax"], ["x"]),
    ],
)
def test_the_cursor_may_go_back_up(pieces, rows):
    assert terminal(*pieces) == rows
    assert terminal("".join(pieces)) == rows
    assert terminal(*"".join(pieces)) == rows


def test_where_nothing_can_be_taken_back_the_first_row_is_written_over():
    assert shown("a\n", "\x1b[Ab\n") == ("a\n", "b\n")


def test_what_a_cursor_may_reach_is_bounded():
    rows = [f"{number}\n" for number in range(10 * MOST_ROWS)]
    screen = Screen(lambda: rows.pop() if rows else None)
    screen.feed("\x1b[1000000A")
    assert len(rows) == 9 * MOST_ROWS
    assert len(screen.text) < 10 * MOST_ROWS


def test_rows_above_the_cursor_are_finished_when_something_is_printed_below():
    screen = Screen()
    screen.feed("a\nb\x1b[A\n\nc")
    assert screen.settle() == "b\n"
    assert screen.text == "c"


@given(
    st.lists(
        st.sampled_from(
            ["a", "bc", "\n", "\r", "\b", "\x1b[A", "\x1b[2A", "\x1b[K", "\x1b[2K", "\x1b[J", "\x1b[C", "\x1b[B"]
        ),
        max_size=30,
    )
)
def test_it_shows_what_a_terminal_shows(pieces):
    """Compared with a plain grid, which never finishes anything."""
    grid: list[list[str]] = [[]]
    row = column = 0
    for piece in pieces:
        if piece == "\n":
            row, column = row + 1, 0
            grid += [[]] if row == len(grid) else []
        elif piece == "\r":
            column = 0
        elif piece == "\b":
            column = max(0, column - 1)
        elif piece.endswith("A"):
            row = max(0, row - (2 if "2" in piece else 1))
        elif piece == "\x1b[B":
            row = min(len(grid) - 1, row + 1)
        elif piece == "\x1b[C":
            column += 1
        elif piece in ("\x1b[K", "\x1b[J"):
            del grid[row][column:]
            grid = grid[: row + 1] if piece == "\x1b[J" else grid
        elif piece == "\x1b[2K":
            grid[row] = [" "] * column
        else:
            grid[row] += [" "] * (column - len(grid[row]))
            grid[row][column : column + len(piece)] = piece
            column += len(piece)
    assert [line.rstrip() for line in terminal(*pieces)] == ["".join(line).rstrip() for line in grid]


def test_colours_without_text_take_no_room():
    screen = Screen()
    for _ in range(1000):
        screen.feed("\x1b[31m\x1b[1m\x1b[0m")
    screen.feed("\x1b[32m" * 1000)
    assert len(screen.text) < 200
