from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.capture.terminal import Line


def shown(*pieces: str) -> tuple[str, str]:
    line = Line()
    finished = "".join(line.feed(piece) for piece in pieces)
    return finished, line.text


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
        (["\x1b[A\x1b"], "", "\x1b[A\x1b"),
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
    line = Line()
    line.feed("abc")
    assert line.cut() == "abc"
    assert line.text == ""
    assert line.feed("def\n") == "def\n"
