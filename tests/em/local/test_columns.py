"""Metrics as a table hold what the reader of lines gives, whatever is in the file."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from t9k.em.errors import RecoveredDataWarning
from t9k.em.local import metricreader, metrics
from t9k.em.local.metricreader import column_name
from t9k.em.records import parse_utc

pa = pytest.importorskip("pyarrow")
from t9k.em.local import columns  # noqa: E402 - needs pyarrow

TIME = "2023-08-17T08:05:24.390002Z"


def line(value: dict[str, Any], step: int = 1, epoch: float | None = None, timestamp: str = TIME) -> bytes:
    return metrics.encode(value, step, epoch, timestamp)


def rows(table: Any) -> list[dict[str, Any]]:
    """What a table says, in the form of `metrics.read`; NaN as text, so that it equals itself."""
    found = []
    for row in table.to_pylist():
        sequence = {name: row.pop(name) for name in ("timestamp", "step", "epoch")}
        sequence |= {name: same(sequence[name]) for name in ("step", "epoch") if sequence[name] is not None}
        value = {name: same(number) for name, number in row.items() if name != "type" and number is not None}
        found.append({"value": value, "sequence": {name: item for name, item in sequence.items() if item is not None}})
    return found


def expected(path: Path) -> list[dict[str, Any]]:
    """What a table should say."""
    entries = metrics.read(path)
    found = []
    for entry in entries:
        place = entry["sequence"]
        sequence: dict[str, Any] = {name: same(place[name]) for name in ("step", "epoch") if name in place}
        with contextlib.suppress(KeyError, ValueError):
            sequence["timestamp"] = parse_utc(str(place["timestamp"]))
        value = {column_name(name): same(number) for name, number in entry["value"].items()}
        found.append({"value": value, "sequence": sequence})
    return found


def same(number: Any) -> Any:
    try:
        return "NaN" if math.isnan(number) else float(number)
    except OverflowError:
        return math.copysign(math.inf, number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.yaml"


def read(path: Path) -> Any:
    return columns.read_table({"train": path})


def told(read: Any, path: Path) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return read(path), [str(warning.message) for warning in caught]


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5) | st.sampled_from(
    ["loss", "step", "value.step", "NaN", "type", "null"]
)
numbers = st.floats() | st.integers(-(2**70), 2**70) | st.booleans() | st.integers(-5, 5)
encoded = st.builds(
    line,
    st.dictionaries(names, numbers, max_size=4),
    st.integers(-(2**64), 2**64) | st.integers(0, 9),
    st.none() | st.integers(0, 9) | st.floats(0, 9),
)
odd = st.sampled_from(
    [
        b"\n",
        b"- {\n",
        b" " + line({"loss": 1}),
        line({"loss": 1})[2:],
        line({"loss": 1})[:-1] + b" \n",
        line({"loss": 1})[:-1] + line({"loss": 2}),
        line({"loss": 1})[:-20] + line({"loss": 2}),
        b"- " + line({"loss": 1}),
        b"- {" + line({"loss": 1}),
        b"\0" * 9 + b"\n",
        line({"loss": 1}, timestamp="yesterday"),
        line({"loss": 1}, timestamp="2023-13-17T08:05:24.390002Z"),
        line({"loss": 1}, timestamp="0000-01-17T08:05:24.390002Z"),
        line({"loss": 1}, timestamp="2023-08-17 08:05:24.390002Z"),
        line({"loss": 1}, timestamp="NaN"),
        b'- {"value": {"loss": 01}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": NaN, "x": -Infinity}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": null}, "sequence": {"step": 1}}\n',
        b'- {"value": {"loss": true}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": 1, "loss": 2}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": "high"}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": [1]}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"\\ud800": 1, "\\\\ud800": 2, "\\u0000": 3}, "sequence": {"step": 1, "timestamp": "'
        + TIME.encode()
        + b'"}}\n',
        b'- {"value": {"\xff": 1}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": 1}, "sequence": {"step": 1}}\n',
        b'- {"value": {"loss": 1}, "sequence": {"step": 1.0, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": 1}, "sequence": {"step": 1, "epoch": null, "timestamp": "' + TIME.encode() + b'"}}\n',
        b'- {"value": {"loss": 1}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'", "more": 5}}\n',
        b'- {"value": {"loss": 1}, "sequence": {"step": 1, "timestamp": "' + TIME.encode() + b'"}, "more": [1\n',
        b"- {}\n",
        b"# a comment\n",
        json.dumps({"loss": 1}).encode() + b"\n",
    ]
)


@given(st.lists(encoded | odd, max_size=12), st.integers(0, 40))
@example([line({"loss": math.nan}), line({"loss": 2.0}), line({"acc": -math.inf})], 0)
@example([line({"loss": 1.234567891e-301}), line({"loss": math.nan})], 0)
def test_a_table_equals_the_lines_of_any_file(tmp_path_factory, lines, cut):
    path = tmp_path_factory.mktemp("m") / "train.yaml"
    data = b"".join(lines)
    path.write_bytes(data[: len(data) - cut])
    table, warned = told(read, path)
    entries, warned_by_lines = told(expected, path)
    assert rows(table) == entries
    assert warned == warned_by_lines
    assert table.column_names[:4] == ["type", "step", "epoch", "timestamp"]


@given(st.lists(st.lists(encoded | odd, max_size=5).map(b"".join), max_size=6))
def test_blocks_change_nothing(tmp_path_factory, blocks):
    path = tmp_path_factory.mktemp("m") / "train.yaml"
    path.write_bytes(b"".join(blocks))
    entries, warned_by_lines = told(expected, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_BLOCK_BYTES", 200)
        table, warned = told(read, path)
    assert rows(table) == entries
    assert warned == warned_by_lines


@given(st.lists(encoded | odd, max_size=12), st.integers(0, 40))
@example([line({"loss": math.nan}), line({"loss": -math.inf}, 2, 3)], 0)
@example(
    [
        b'- {"value": {"a": 1}, "sequence": {"step": 1}},{"x": [1\n',
        b'- {"y": 2}], "value": {}, "sequence": {"step": 1}}\n',
    ],
    0,
)
def test_lines_that_are_parsed_at_once_are_what_each_is(tmp_path_factory, lines, cut):
    path = tmp_path_factory.mktemp("m") / "train.yaml"
    data = b"".join(lines)
    path.write_bytes(data[: len(data) - cut])
    at_once = told(metrics.read, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metricreader, "_parse_usual", lambda block: None)
        each = told(metrics.read, path)
    assert repr(at_once) == repr(each)  # NaN is not equal to itself


def test_what_arrow_reads_by_itself_is_the_usual(path, monkeypatch):
    """Otherwise the fast way would be none, and nothing else would tell."""
    monkeypatch.setattr(columns, "_from_entries", None)
    values = [{"loss": 1.5e-30, "seen": 3}, {"loss": math.nan}, {"loss": math.inf, "é": 1}, {}, {"loss": -math.inf}]
    path.write_bytes(b"".join(line(value, step, step if step % 2 else None) for step, value in enumerate(values)))
    assert rows(read(path)) == expected(path)


def test_types_of_columns(path):
    path.write_bytes(line({"i": 1, "f": 1, "big": 2**63}) + line({"i": 2**53 + 1, "f": 0.5, "huge": 10**300}))
    table = read(path)
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds == {
        "type": "dictionary<values=string, indices=int32, ordered=0>",
        "step": "int64",
        "epoch": "int64",
        "timestamp": "timestamp[us, tz=UTC]",
        "i": "int64",
        "f": "double",
        "big": "double",
        "huge": "double",
    }
    assert table["i"].to_pylist() == [1, 2**53 + 1]
    assert table["big"].to_pylist() == [2.0**63, None]


def test_types_follow_each_other_and_share_columns(tmp_path):
    files = {kind: tmp_path / f"{kind}.yaml" for kind in ("train", "val", "empty")}
    files["train"].write_bytes(line({"loss": 1}, 1) + line({"loss": 2}, 2))
    files["val"].write_bytes(line({"loss": 0.5, "acc": 1}, 1))
    files["empty"].write_bytes(b"")
    table = columns.read_table(files)
    assert table["type"].to_pylist() == ["train", "train", "val"]
    assert table["loss"].to_pylist() == [1.0, 2.0, 0.5]
    assert table["acc"].to_pylist() == [None, None, 1]


def test_no_files_make_an_empty_table():
    assert columns.read_table({}).num_rows == 0
    assert columns.read_table({}).column_names == ["type", "step", "epoch", "timestamp"]


@pytest.mark.parametrize(
    "dump", [yaml.safe_dump, lambda data: yaml.safe_dump(data, default_flow_style=True, width=9999)]
)
def test_a_file_of_another_yaml_tool(path, dump):
    entries = [{"value": {"loss": 0.5, "n": 1}, "sequence": {"step": step, "timestamp": TIME}} for step in range(3)]
    path.write_text(dump(entries))
    assert rows(read(path)) == expected(path)
    assert read(path).num_rows == 3


def test_damage_between_good_blocks_is_told_with_its_line(path, monkeypatch):
    monkeypatch.setattr(columns, "_BLOCK_BYTES", 1000)
    path.write_bytes(b"".join(line({"x": step}, step) for step in range(50)) + b"- {]}\n" + line({"x": 50}, 50) * 50)
    with pytest.warns(RecoveredDataWarning, match="left out line 51"):
        assert read(path).num_rows == 100
