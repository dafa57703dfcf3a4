"""The index of objects: one line each, valid YAML for any reader, and nothing in it is believed."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.errors import CorruptLocalData, InvalidInput, InvalidKey, RecoveredDataWarning
from t9k.em.local import objects, yamlfile
from t9k.em.names import KeySet, check_key

SHA = hashlib.sha256(b"").hexdigest()
FILE = {"size": 1, "sha256": SHA}
REFERENCE = {
    "uri": "https://host/x?v=1#é",
    "size": 3,
    "etag": 'W/"a"',
    "last_modified": "Thu, 17 Aug 2023 08:05:24 GMT",
}


def is_key(text: str) -> bool:
    try:
        check_key(text)
    except InvalidKey:
        return False
    return True


@st.composite
def many(draw) -> dict[str, dict]:
    keys, taken = KeySet(), {}
    for key in draw(st.lists(st.text(min_size=1, max_size=20).filter(is_key), max_size=5)):
        try:
            keys.add(key)
        except InvalidInput:
            continue
        taken[key] = draw(st.sampled_from([FILE, REFERENCE]))
    return taken


@given(many())
def test_comes_back_as_it_was_and_is_yaml_for_any_reader(given):
    data = objects.encode(given)
    assert objects.decode(data, "index") == given
    foreign = yaml.safe_load(data)["objects"] or []
    assert foreign == [{"key": key, **fields} for key, fields in given.items()]
    rewritten = yaml.safe_dump({"objects": foreign}).encode()
    # PyYAML leaves texts like 0E0 unquoted, which are numbers in YAML 1.2.
    if all(isinstance(record["key"], str) for record in yamlfile.load(rewritten)["objects"] or []):
        assert objects.decode(rewritten, "index") == given
    assert objects.decode(json.dumps({"objects": foreign}, ensure_ascii=False).encode(), "index") == given


def test_grows_by_a_line_and_the_later_one_counts(tmp_path):
    path = tmp_path / "index.yaml"
    objects.write(path, {"a": FILE})
    objects.append(path, {"b": REFERENCE, "a": {**FILE, "size": 2}})
    assert path.read_bytes().count(b"\n") == 4
    assert objects.decode(path.read_bytes(), "index") == {"a": {**FILE, "size": 2}, "b": REFERENCE}


@pytest.mark.parametrize("tail", [b"- {", b'- {"key": "b", "size": 1, "sha2', b"\0" * 100, b"-"])
def test_a_torn_tail_is_left_out_and_repaired(tmp_path, tail):
    path = tmp_path / "index.yaml"
    path.write_bytes(objects.encode({"a": FILE}) + tail)
    assert objects.decode(path.read_bytes(), "index") == {"a": FILE}
    with pytest.warns(RecoveredDataWarning):
        objects.append(path, {"c": FILE})
    assert objects.decode(path.read_bytes(), "index") == {"a": FILE, "c": FILE}


@pytest.mark.parametrize("data", [b"objects:\n", b"objects: []\n", b"objects: null\n", b"# x\nobjects: {}\n"])
def test_may_be_empty(data):
    assert objects.decode(data, "index") == {}


@pytest.mark.parametrize(
    "record",
    [
        None,
        "a",
        ["a"],
        {},
        {"key": "a"},
        {"key": None, **FILE},
        {"key": "../a", **FILE},
        {"key": "a", "size": True, "sha256": SHA},
        {"key": "a", "size": 1.5, "sha256": SHA},
        {"key": "a", "size": 1, "sha256": None},
        {"key": "a", "size": 1, "sha256": SHA.upper()},
        {"key": "a", "uri": "no uri"},
        {"key": ["a"], "uri": "no uri"},
        {"key": "a", "uri": None, **FILE},
        {"key": "a", "uri": "https://host/x", "size": float("nan")},
        {"key": "a", "uri": "https://host/x", "size": float("inf")},
    ],
)
def test_a_record_that_cannot_be_is_refused(record):
    line = b"- %s\n" % json.dumps(record).encode()
    for data in (objects.encode({"b": FILE}) + line, yaml.safe_dump({"objects": [record]}).encode()):
        with pytest.raises(CorruptLocalData, match="the index holds an object that cannot be: .*; put a good copy"):
            objects.decode(data, "the index")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"objects: 5\n",
        b"other: []\n",
        b"- {}\n",
        b"objects:\n- {\n- x\n",
        b"\xff",
        b"objects:\n- {key: 0x" + b"f" * 5000 + b", uri: bad}\n",  # Python refuses to print such numbers
        b"objects:\n- {nan: .nan, 1: 2}\n- [",
    ],
)
def test_what_is_no_index_is_refused(data):
    with pytest.raises(CorruptLocalData, match="the index"):
        objects.decode(data, "the index")


def test_fields_of_a_later_version_are_kept():
    data = objects.encode({"a": {**FILE, "new": {"x": [1]}}})
    assert objects.decode(data, "index") == {"a": {**FILE, "new": {"x": [1]}}}
