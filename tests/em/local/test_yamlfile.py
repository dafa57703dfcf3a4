from __future__ import annotations

import contextlib
import enum
import math
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from t9k.em.errors import CorruptLocalData, EMError, InvalidConfig, InvalidInput
from t9k.em.local import yamlfile
from t9k.em.local.yamlwriter import MAX_DEPTH, dump

ODD = [
    *["", " ", "~", "null", "Null", "true", "NO", "off", "y", "nan", "inf", ".inf", "-.INF", ".nan"],
    *["1", "-1", "+1", "1_000", "0x1f", "0o17", "0b1", "0777", "1.", ".5", "1e3", "1e-3", "1.0e+3", "1:30", "0x"],
    *["2020-01-01", "2023-08-17T08:05:24.390002Z", "2001-12-14 21:59:43.10 -5", "=", "<<", "---", "...", "- a", "? a"],
    *["a: b", "a #b", "#a", "&a", "*a", "!a", "!!int", "%a", "@a", "`a", "|", ">", "[", "{a}", "a,b", '"', "'", "\\"],
    *["a\nb", "\n", "\r\n", "\r", "\t", "\ta", "a\t", " a", "a ", "a  b", "\x00", "\x1b[0m", "\x7f", "\x85", "\xa0"],
    *[
        "\u2028",
        "\u2029",
        "\ufeff",
        "\ufeffa",
        "\ufffe",
        "\uffff",
        "\U0001f600",
        "\U0001fffe",
        "\U0010ffff",
        "é",
        "e\u0301",
    ],
    *["训练", "a" * 600, "\U0001f600" * 600, "\n" * 1100, "k: " * 300],
]
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(ODD)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
plain_data = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)


def same(one, other) -> bool:
    """Equal, with types, order, the sign of zero, and NaN equal to itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return one == other


class TestRoundTrip:
    @given(plain_data)
    def test_of_any_plain_data(self, data):
        assert same(yamlfile.load(dump(data)), data)

    @given(plain_data)
    @example(ODD)
    def test_through_readers_of_yaml_1_1(self, data):
        assert same(yaml.load(dump(data), yaml.SafeLoader), data)
        assert same(yaml.load(dump(data), yaml.CSafeLoader), data)

    @pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
    def test_of_odd_strings_as_item_value_and_key(self, text):
        data = [text, {text: text, "x": [text]}, {"a": {text: {"b": text}}}]
        assert same(yamlfile.load(dump(data)), data)

    @given(st.dictionaries(st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False), st.integers()))
    def test_of_keys_that_are_no_strings(self, data):
        assert same(yamlfile.load(dump(data)), data)

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_of_text_that_looks_like_yaml(self, text):
        """Whatever a text means, reading it ends in data that survives, or in our error."""
        try:
            data = yamlfile.load(text)
        except CorruptLocalData:
            return
        assert same(yamlfile.load(dump(data)), data)

    @given(st.binary())
    def test_of_bytes_that_are_anything(self, data):
        with contextlib.suppress(CorruptLocalData):
            yamlfile.load(data, aliases=True)

    def test_without_the_c_library(self, monkeypatch):
        monkeypatch.setattr(yamlfile, "_LOADER", yaml.SafeLoader)
        data = [text for text in ODD if text != "\ufeffa"]
        assert same(yamlfile.load(dump({"a": data})), {"a": data})
        with pytest.raises(CorruptLocalData, match="line 1: .*control characters|not allowed"):
            yamlfile.load("\x00")

    def test_of_the_deepest_structure(self):
        data: list = []
        for _ in range(MAX_DEPTH - 1):
            data = [data]
        assert yamlfile.load(dump(data)) == data
        with pytest.raises(InvalidInput, match="within one another"):
            dump([data])
        with pytest.raises(CorruptLocalData, match="within one another"):
            yamlfile.load("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


class TestDump:
    def test_looks_as_people_write_it(self):
        data = {
            "name": "cnn keras",
            "训练": "ü",
            "lr": 1e-05,
            "time": "2023-08-17T08:05:24.390002Z",
            "layers": [{"size": 1, "more": [[1, 2], []]}, (3, {})],
            "nothing": None,
        }
        assert dump(data).decode() == (
            "name: cnn keras\n"
            "训练: ü\n"
            "lr: 1.0e-05\n"
            'time: "2023-08-17T08:05:24.390002Z"\n'
            "layers:\n"
            "  - size: 1\n"
            "    more:\n"
            "      - - 1\n"
            "        - 2\n"
            "      - []\n"
            "  - - 3\n"
            "    - {}\n"
            "nothing: null\n"
        )

    def test_shared_parts_are_written_out(self):
        part = {"a": 1}
        assert yamlfile.load(dump([part, part])) == [part, part]

    def test_subclasses_of_plain_types(self):
        class Color(enum.IntEnum):
            RED = 1

        class Text(str):
            __slots__ = ()

        assert dump([Color.RED, np.float64(0.5), Text("a")]) == b"- 1\n- 0.5\n- a\n"

    @pytest.mark.parametrize(
        "data", [{1, 2}, b"x", object(), "\ud800", {("a",): 1}, pytest.param(10**5000, id="huge"), np.float32(1), 1j]
    )
    def test_refuses_what_yaml_cannot_hold(self, data):
        with pytest.raises(InvalidInput):
            dump([data])

    def test_refuses_what_holds_itself(self):
        data: dict = {}
        data["a"] = [data]
        with pytest.raises(InvalidInput, match="inside itself"):
            dump(data)


class TestLoad:
    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ("", None),
            ("# only a comment", None),
            ("lr: 1e-3", {"lr": 0.001}),
            ("[1E5, .5, 1., -1.5e-3, +.inf, -.Inf]", [1e5, 0.5, 1.0, -0.0015, math.inf, -math.inf]),
            ("[0x1F, 0o17, 0b11, 1_000, 0777, -3, -0x2]", [31, 15, 3, 1000, 777, -3, -2]),
            ("[yes, No, ON, off, true, FALSE, y, n]", [True, False, True, False, True, False, "y", "n"]),
            ("[~, null, NULL, '']", [None, None, None, ""]),
            ("when: 2020-01-01\nat: 12:30:45", {"when": "2020-01-01", "at": "12:30:45"}),
            ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
            ("[!!str 1, !!int '2', !!float 3, !!null '', !!bool on]", ["1", 2, 3.0, None, True]),
            ("a: ! 12\nb: !!map {}\nc: !!seq []\nd: '1'", {"a": "12", "b": {}, "c": [], "d": "1"}),
            ("text: |\n  one\n  two\nfolded: >\n  one\n  two\n", {"text": "one\ntwo\n", "folded": "one two\n"}),
            (b"\xef\xbb\xbfa: 1", {"a": 1}),
            ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
            ("{1: a, 2.5: b, ~: c, x: &unused d}", {1: "a", 2.5: "b", None: "c", "x": "d"}),
            ("? a\n: 1\n? b", {"a": 1, "b": None}),
        ],
    )
    def test_values(self, text, data):
        assert same(yamlfile.load(text), data)

    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            ("a: 1\nb: 2\na: 3", 3, "'a' occurs twice"),
            ("1: a\n1.0: b", 2, "occurs twice"),
            ("a: !!python/object/apply:os.system [id]", 1, "not allowed, only plain data"),
            ("a:\n  !!python/name:os.system", 2, "not allowed, only plain data"),
            ("!!binary aGk=", 1, "not allowed"),
            ("!!timestamp 2020-01-01", 1, "not allowed"),
            ("!!set {a}", 1, "not allowed"),
            ("!own {a: 1}", 1, "not allowed"),
            ("!!map [1]", 1, "not allowed"),
            ("!!int x", 1, "does not fit"),
            ("!!float x", 1, "does not fit"),
            ("a: &x 1\nb: *x", 2, r"the alias \*x is not allowed"),
            ("a: [1\nb: 2", 2, "expected"),
            ("\n\t- a", 2, "token"),
            ("a: 1\n---\nb: 2", 2, "second document"),
            ("[a]: 1", 1, "key must be"),
            ("? {a: 1}\n: 1", 1, "key must be"),
            ("a: " + "9" * 5000, 1, "not a number that can be read"),
            ("a: 0x_", 1, "not a number that can be read"),
            ("a: 1\x00", 1, "control characters"),
            (b"a: 1\nb: \xff", 2, "not UTF-8"),
            ("a: '\ud800'", 1, "not UTF-8"),
            (b"\xff\xfea\x00", 1, "not UTF-8"),
        ],
    )
    def test_refusals_name_line_and_reason(self, text, line, reason):
        with pytest.raises(CorruptLocalData, match=rf"^YAML, line {line}: .*{reason}.*; correct it"):
            yamlfile.load(text)

    def test_the_file_and_the_callers_error(self, tmp_path):
        path = tmp_path / "run.yaml"
        path.write_text("lr: 1e-3\nlr: 2")
        with pytest.raises(InvalidConfig, match=rf"^run config {path}, line 2: the key 'lr' occurs twice"):
            yamlfile.load(path, what="run config", error=InvalidConfig)
        path.write_text("lr: 1e-3\n")
        assert yamlfile.load(path) == {"lr": 0.001}
        with pytest.raises(FileNotFoundError):
            yamlfile.load(tmp_path / "missing")

    def test_size_is_limited(self, tmp_path):
        path = tmp_path / "large.yaml"
        with path.open("wb") as file:
            file.truncate(yamlfile.MAX_BYTES + 1)
        for source in (path, "a" * (yamlfile.MAX_BYTES + 1)):
            with pytest.raises(CorruptLocalData, match="larger than"):
                yamlfile.load(source)
        assert yamlfile.load("12", max_bytes=2) == 12
        with pytest.raises(CorruptLocalData, match="larger than 2 bytes"):
            yamlfile.load("123", max_bytes=2)


class TestAliases:
    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ("a: &x {p: [1]}\nb: *x", {"a": {"p": [1]}, "b": {"p": [1]}}),
            ("a: &x 1\nb: [*x, *x]", {"a": 1, "b": [1, 1]}),
            ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
            ("&k a: 1\n? [*k]\n", None),
            ("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
            ("a: &x {p: 1, q: 2}\nb:\n  q: 3\n  <<: *x", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
            ("- &x {p: 1}\n- &y {p: 2, q: 3}\n- <<: [*x, *y]", [{"p": 1}, {"p": 2, "q": 3}, {"p": 1, "q": 3}]),
            ("- <<: {p: 1}\n- '<<': {p: 1}", [{"p": 1}, {"<<": {"p": 1}}]),
            ("- &x 1\n- &x 2\n- *x", [1, 2, 2]),
        ],
    )
    def test_and_merge_keys(self, text, data):
        if data is None:
            with pytest.raises(EMError, match="key must be"):
                yamlfile.load(text, aliases=True)
        else:
            assert yamlfile.load(text, aliases=True) == data

    def test_stand_for_copies(self):
        data = yamlfile.load("a: &x [1]\nb: *x", aliases=True)
        data["a"].append(2)
        assert data["b"] == [1]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a: *x", "does not stand for anything"),
            ("a: &x [*x]", "does not stand for anything"),
            ("a: &x {<<: *x}", "does not stand for anything"),
            ("<<: 1", "takes a mapping"),
            ("<<: [{a: 1}, 2]", "takes a mapping"),
            ("<<: {a: 1}\n<<: {b: 1}", "occurs twice"),
            ("- &x [1]\n- {*x : 1}", "key must be"),
        ],
    )
    def test_refusals(self, text, reason):
        with pytest.raises(CorruptLocalData, match=reason):
            yamlfile.load(text, aliases=True)

    @pytest.mark.parametrize("form", ["[{}]", "{{<<: [{}]}}", "{{a: 1, <<: [{}], b: [{}]}}"])
    def test_bombs_are_defused(self, form):
        lines = ["- &x0 {a: 1, b: 2}"]
        for level in range(1, 40):
            inner = ", ".join([f"*x{level - 1}"] * 9)
            lines.append(f"- &x{level} " + form.format(*[inner] * form.count("{}")))
        with pytest.raises(CorruptLocalData, match="more than 100000 nodes"):
            yamlfile.load("\n".join(lines), aliases=True)


def test_writing_does_not_import_yaml():
    code = "import sys; from t9k.em.local import yamlwriter, metrics, files; sys.exit('yaml' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))})
