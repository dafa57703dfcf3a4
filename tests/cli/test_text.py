from __future__ import annotations

import json

import pytest

from t9k.em.cli.text import clean, clean_lines, count, flatten, number, size, to_json, when


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain name", "plain name"),
        ("größe 模型 🤖 👩‍🚀", "größe 模型 🤖 👩‍🚀"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("title\x1b]0;x\x07", "title\\x1b]0;x\\x07"),
        ("two\nlines\r\tthere", "two\\nlines\\r\\tthere"),
        ("c1\x9b31m", "c1\\x9b31m"),
        ("bidi\u202etxt.exe", "bidi\\u202etxt.exe"),
        ("lone\udc80", "lone\\udc80"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),
        (None, "None"),
        (3, "3"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(value: object, shown: str) -> None:
    assert clean(value) == shown


def test_line_breaks_may_stay() -> None:
    assert clean_lines("a\n\x1bb") == "a\n\\x1bb"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        (True, "True"),
        (0.123456789, "0.12346"),
        (1e-9, "1e-09"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1234567890123, "1.2346e+12"),
        (10**400, "huge"),
        pytest.param(-(10**5000), "-huge", id="too many digits for Python"),
    ],
)
def test_numbers_take_about_five_digits(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (2 * 10**18, "2000.0 PB"),
    ],
)
def test_sizes_are_decimal(value: int, shown: str) -> None:
    assert size(value) == shown


def test_one_thing_has_no_s() -> None:
    assert (count(1, "file"), count(1200, "file")) == ("1 file", "1,200 files")


def test_times_are_local_and_anything_else_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(when("2023-08-17T08:05:24.390002Z")) == len("2023-08-17 08:05")
    assert when("2023-08-17T08:05:24.390002Z", seconds=True).endswith(":24")
    assert when("yester\x1bday") == "yester\\x1bday"
    assert when(None) == "None"


def test_nested_mappings_become_dotted_keys() -> None:
    assert flatten({"a": 1, "b": {"c": {"d": [1]}, "e": {}}}) == {"a": 1, "b.c.d": [1], "b.e": {}}


def test_json_holds_what_json_lacks_as_the_metrics_files_do() -> None:
    data = {"a": float("nan"), "b": [float("inf"), -float("inf")], "c": ("x", None, True), 1: {2}, "d": 1.5}
    assert json.loads(to_json(data)) == {
        "a": "NaN",
        "b": ["Infinity", "-Infinity"],
        "c": ["x", None, True],
        "1": "{2}",
        "d": 1.5,
    }


def test_json_comes_back_whole_without_controls_in_it() -> None:
    data = {"\x1b[31m": "\x9b\u202e\udc80🤖\n\U000e0041"}
    text = to_json(data)
    assert json.loads(text) == data
    assert not any(control in text for control in "\x1b\x9b\u202e\udc80\U000e0041")
    assert "🤖" in text
