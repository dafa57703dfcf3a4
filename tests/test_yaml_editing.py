"""Editing YAML: the data is what was asked for, and no other character changes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from t9k.yaml_editing import edit

TEXT = """\
# my servers
current-context:   b   # where I am

contexts:
  - name: a
    server: 'https://a'   # slow
    prefixes: { aistore: /x,   asset-hub: "/y" }

  # at work
  - auth:
      # expires in March
      apikey: one   # mine
    mode: 0644
    name: b
    enabled: yes
    store: ab12

  # the last
  - name: c
    auth: &key {token: t}
# the end
version: 3
"""


def changed(change: str) -> str:
    """Apply a change, in Python, to the data of TEXT."""
    data = yaml.safe_load(TEXT)
    exec(change, {"data": data, "a": data["contexts"][0], "b": data["contexts"][1], "c": data["contexts"][2]})
    text = edit(TEXT.encode(), data)
    assert yaml.safe_load(text) == data
    return text


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        ("a['server'] = 'https://b'", "'https://a'", "'https://b'"),
        ("a['prefixes']['asset-hub'] = '/z'", '"/y"', '"/z"'),
        ("del a['prefixes']['aistore']", "aistore: /x,   ", ""),
        ("del a['prefixes']['asset-hub']", ',   asset-hub: "/y" ', " "),
        ("a['prefixes'] = {}", '{ aistore: /x,   asset-hub: "/y" }', "{}"),
        ("a['prefixes']['more'] = 'm'", '"/y" }', '"/y", more: m }'),
        ("b['auth']['apikey'] = 'two'", "apikey: one ", "apikey: two "),
        ("b['auth']['apikey'] = '12'", "apikey: one ", "apikey: '12' "),
        (
            "b['auth'] = {}",
            "auth:\n      # expires in March\n      apikey: one   # mine\n",
            "auth: {}\n      # expires in March\n",
        ),
        ("b['auth']['api_key'] = 'x'", "# mine\n", "# mine\n      api_key: x\n"),
        ("del b['store']", "    store: ab12\n", ""),
        ("del b['auth']", "auth:\n      # expires in March\n      apikey: one   # mine\n    mode", "mode"),
        ("b['prefixes'] = {'aistore': '/x'}", "ab12\n", "ab12\n    prefixes:\n      aistore: /x\n"),
        ("del c['auth']", "    auth: &key {token: t}\n", ""),
        ("data['contexts'].append({'name': 'd'})", "{token: t}\n", "{token: t}\n  - name: d\n"),
        ("data['current-context'] = 'a'", "   b ", "   a "),
        ("data['more'] = 1", "version: 3\n", "version: 3\nmore: 1\n"),
        ("pass", "", ""),
    ],
)
def test_nothing_but_the_change_changes(change: str, old: str, new: str) -> None:
    assert changed(change) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "new", "expected"),
    [
        ("", {"a": 1}, "a: 1\n"),
        ("# only\n", {"a": 1}, "# only\na: 1\n"),
        ("# no end", {"a": 1}, "# no end\na: 1\n"),
        ("a: 1", {"a": 1, "b": 2}, "a: 1\nb: 2\n"),
        ("a: 1\r\n# c\r\n", {"a": 1, "b": {"c": 2}}, "a: 1\r\nb:\r\n  c: 2\r\n# c\r\n"),
        ("\ufeffa: 1 # c\n", {"a": 2}, "\ufeffa: 2 # c\n"),
        ("a:   # none\nb: 1\n", {"a": "x", "b": 1}, "a: x   # none\nb: 1\n"),
        ("a: [] # c\n", {"a": [{"b": 1}]}, "a: [{b: 1}] # c\n"),
        ("a: {} # c\n", {"a": {"b": 1}}, "a: {b: 1} # c\n"),
        ("a: [{b: 1}] # c\n", {"a": [{"b": 1}, {"b": 2}]}, "a: [{b: 1}, {b: 2}] # c\n"),
        ("{a: 1, b: 2} # c\n", {"a": 1}, "{a: 1} # c\n"),
        ("a: é # ü\n", {"a": "ö"}, "a: ö # ü\n"),
        ("a: b\n  c # d\n", {"a": "e"}, "a: e # d\n"),
    ],
)
def test_forms(text: str, new: dict[str, Any], expected: str) -> None:
    assert edit(text.encode(), new) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {k: 1}\nb: *x\n",
        "d: &x {k: 1}\na: {<<: *x}\nb: {k: 1}\n",
        "a: {k: 2}\na: {k: 1}\nb: {k: 1}\n",
        "- a\n",
        "a: |\n  text\nb: {k: 1}\n",
    ],
)
def test_what_cannot_be_changed_in_place_is_written_anew(text: str) -> None:
    new = {"a": {"k": 3}, "b": {"k": 1}}
    assert yaml.safe_load(edit(text.encode(), new)) == new


def test_other_encodings_are_written_anew() -> None:
    assert edit("a: 1 # c\n".encode("utf-16"), {"a": 2}) == "a: 2\n"


keys = st.sampled_from(["a", "b", "key c", "1", "yes", "#", "é"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text("ab #:'\"-\n{}é\\\t", max_size=6), st.text("é😀", max_size=4)
)
data = st.dictionaries(
    keys,
    st.recursive(
        scalars,
        lambda inner: st.one_of(st.dictionaries(keys, inner, max_size=4), st.lists(inner, max_size=3)),
        max_leaves=8,
    ),
    max_size=4,
)


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(old=data, new=data, flow=st.sampled_from([None, True, False]), style=st.sampled_from([None, "'", '"']))
def test_any_change_gives_the_data(
    old: dict[str, Any], new: dict[str, Any], flow: bool | None, style: str | None
) -> None:
    text = yaml.safe_dump(old, default_flow_style=flow, default_style=style, allow_unicode=True, sort_keys=False)
    assert yaml.safe_load(edit(text.encode(), new)) == new
    assert edit(text.encode(), old) == text
