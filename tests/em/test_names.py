"""Names, keys and paths: what is refused on every system, and what counts as the same name."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timezone
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from t9k.em import names
from t9k.em.errors import InvalidKey, InvalidName, InvalidStrategy, KeyCollision
from t9k.em.names import KeySet, absolute, check_key, check_name, encode_component, fold

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
HOSTILE = st.text(st.sampled_from("./\\:@~%?*[]# \0\n\r\t\x7f\x85\ud800aAcCoOnN1$é\u0301\u212a😀"))

NEVER = [
    "",
    ".",
    "..",
    "a/b",
    "a\\b",
    "..\\x",
    "a\0",
    "a\n",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\ud800",
    "end.",
    "end ",
    "...",
    "x" * 256,
]
NEVER += ["CON", "con.txt", "Aux", "NUL ", "nul .txt", "COM1", "lpt9.log", "COM¹", "CONIN$", "conout$", "é" * 128]
NAMES_ONLY = [".em", ".EM", "a@3", "x@12345678", "C:", "c:x", "20230817T080524.390002Z-4e48t2abcd"]
ALWAYS = [
    "a",
    "#",
    "%2F",
    "?x",
    "a b",
    " a",
    "+",
    "*",
    "[x]",
    "~",
    "::",
    "😀",
    "-rf",
    "$HOME",
    "a.b",
    ".hidden",
    "com",
    "con1",
    "x" * 255,
]


class TestNames:
    @pytest.mark.parametrize("name", NEVER + NAMES_ONLY)
    def test_that_some_system_cannot_have_are_refused(self, name):
        assert not names.is_name(name)
        with pytest.raises(InvalidName, match="choose another name"):
            check_name(name)

    @pytest.mark.parametrize("name", [None, 1, b"a", ["a"]])
    def test_that_are_no_text_are_refused(self, name):
        with pytest.raises(InvalidName, match="the thing must be a str, not"):
            check_name(name, what="the thing")

    @pytest.mark.parametrize("name", [*ALWAYS, "a@b", "@1x", "em", "20230817"])
    def test_odd_but_legal_ones_are_taken_as_they_are(self, name):
        assert names.is_name(name)
        assert check_name(name) == name

    @given(HOSTILE)
    def test_that_are_accepted_are_one_harmless_component(self, name):
        if names.is_name(name):
            assert not set(name) & set("/\\\0\n")
            assert name not in {"", ".", ".."}
            assert name.encode().decode() == name


class TestKeys:
    @pytest.mark.parametrize("flawed", [*NEVER, "C:", "c:x"])
    @pytest.mark.parametrize("place", ["{}", "a/{}", "{}/a", "a/{}/b"])
    def test_with_a_component_that_some_system_cannot_have_are_refused(self, flawed, place):
        key = place.format(flawed)
        if flawed == "a/b":
            assert check_key(key) == key
            return
        with pytest.raises(InvalidKey, match="use a relative path like 'weights/model.pt'"):
            check_key(key)

    @pytest.mark.parametrize(
        "key",
        [
            "../../etc/passwd",
            "a/../b",
            "a//b",
            "/etc/passwd",
            "a/",
            "//host/x",
            "..\\x",
            "C:\\x",
            "D:foo",
            "a/D:foo",
            "\\\\h\\s",
            ".em/x",
            ".EM/x",
            ".em",
            "a/CON",
            "x/" * 600 + "x",
            None,
            7,
            b"a",
        ],
    )
    def test_that_climb_or_are_reserved_are_refused(self, key):
        with pytest.raises(InvalidKey, match="object key"):
            check_key(key)

    @pytest.mark.parametrize("key", [*ALWAYS, "a/.em/b", "a@3", "a/b c/#/%2F", "~/x", "e\u0301"])
    def test_odd_but_legal_ones_are_taken_as_they_are(self, key):
        assert check_key(key) == key

    @given(st.lists(HOSTILE, min_size=1, max_size=4).map("/".join))
    def test_that_are_accepted_stay_inside_by_the_rules_of_any_system(self, key):
        try:
            check_key(key)
        except InvalidKey:
            return
        for component in key.split("/"):
            assert component not in {"", ".", ".."}
            assert not set(component) & set("\\\0\r\n\t")
            assert not re.match("[A-Za-z]:", component)
            assert component[-1] not in ". "
        assert key.encode().decode() == key

    @given(st.text(st.sampled_from("aonmcuxplt1.-_/@: ~\n\u017f\u0130"), min_size=1))
    @example("aux.txt/x")
    @example("x/Com1")
    @example("x/")
    @example("x\n")
    @example("a//b")
    @example(".em/x")
    @example("x" * 256)
    def test_those_that_are_accepted_at_a_glance_are_found_harmless_by_a_closer_look(self, key):
        try:
            check_key(key)
        except InvalidKey:
            return
        with mock.patch.object(names, "_SIMPLE_KEY", re.compile("(?!)")):
            assert check_key(key) == key


class TestFolding:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Model", "model"),
            ("é", "e\u0301"),
            ("É", "e\u0301"),
            ("\u212a", "k"),
            ("Å", "\u212b"),
            ("straße", "STRASSE"),
            ("Σ", "ς"),
        ],
    )
    def test_names_that_differ_by_case_or_unicode_form_are_alike(self, one, other):
        assert fold(one) == fold(other)

    @given(TEXTS)
    def test_is_idempotent_and_knows_no_unicode_form(self, text):
        assert fold(fold(text)) == fold(text)
        assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text)) == fold(text)

    def test_tells_others_apart(self):
        assert len({fold(name) for name in ALWAYS}) == len(ALWAYS)


class TestKeySet:
    @pytest.mark.parametrize(
        ("keys", "advice"),
        [
            (["a", "a"], "the same key"),
            (["a/Model", "a/model"], "the same key"),
            (["A/x", "a/X"], "the same key"),
            (["é", "e\u0301"], "the same key"),
            (["a", "a/b"], "would have to be a directory"),
            (["a/b", "a"], "would have to be a directory"),
            (["a/b/c", "A/B"], "would have to be a directory"),
            (["A", "a/b/c"], "would have to be a directory"),
        ],
    )
    def test_refuses_what_some_file_system_takes_for_one(self, keys, advice):
        with pytest.raises(KeyCollision, match=f"{advice}.*; rename one"):
            names.check_collisions(keys)

    def test_takes_the_same_spelling_again_if_told_to(self):
        keys = KeySet(["a/b"])
        keys.add("a/b", again=True)
        with pytest.raises(KeyCollision):
            keys.add("a/B", again=True)

    def test_is_as_it_was_after_a_refusal(self):
        keys = KeySet(["a/b"])
        with pytest.raises(KeyCollision):
            keys.add("a/b")
        with pytest.raises(KeyCollision):
            keys.add("a")
        keys.add("a/c")
        keys.add("c")

    @given(st.lists(st.text("aAbB/", min_size=1, max_size=5), max_size=8))
    def test_what_it_takes_fits_into_a_file_system_without_case(self, candidates):
        keys, taken = KeySet(), []
        for key in candidates:
            try:
                check_key(key)
                keys.add(key)
            except (InvalidKey, KeyCollision):
                continue
            taken.append(key.lower())
        assert len(set(taken)) == len(taken)
        assert not any(other.startswith(f"{key}/") for key in taken for other in taken)


class TestEncoding:
    @given(TEXTS)
    def test_gives_one_portable_component(self, text):
        encoded = encode_component(text)
        assert len(encoded) <= 200
        assert re.fullmatch(r"[A-Za-z0-9_.~%-]*", encoded)

    @given(st.lists(TEXTS | st.text("ab%-/", min_size=150, max_size=300), unique=True, max_size=5))
    def test_tells_all_apart(self, texts):
        assert len({encode_component(text) for text in texts}) == len(texts)

    def test_of_a_long_text_ends_with_what_no_encoding_yields(self):
        assert re.fullmatch(r"x{160}%-[0-9a-f]{32}", encode_component("x" * 201))


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("default", "/alice/default"),
            ("cv/mnist/", "/alice/cv/mnist"),
            ("/bob/x", "/bob/x"),
            ("", "/alice"),
            ("/", "/"),
            ("x@3", "/alice/x@3"),
            ("/bob/x@03", "/bob/x@3"),
            ("a b/#", "/alice/a b/#"),
        ],
    )
    def test_relative_ones_lie_under_the_user(self, path, expected):
        assert absolute(path, "alice") == expected

    @pytest.mark.parametrize(
        "path", ["a//b", "//a", "../x", "/bob/../alice", "a/./b", "a\\b", "a\nb", "x@3/y", ".em/h", "a//"]
    )
    def test_that_are_none_are_refused(self, path):
        with pytest.raises(InvalidName, match="component"):
            absolute(path, "alice")

    def test_have_a_parent_and_a_name(self):
        assert names.parent_and_name("/a") == ("/", "a")
        assert names.parent_and_name("/a/b") == ("/a", "b")
        assert names.join("/", "a") == "/a"
        assert names.join("/a", "b") == "/a/b"

    @pytest.mark.parametrize(
        ("path", "expected"),
        [("/a@3", ("/a", 3)), ("/a", ("/a", None)), ("/a@b", ("/a@b", None)), ("/a@123456789", ("/a@123456789", None))],
    )
    def test_may_end_with_a_version(self, path, expected):
        assert names.split_version(path) == expected


class TestMadeUpNames:
    def test_alternative_names_tell_time_and_never_repeat(self):
        moment = datetime(2022, 8, 23, 19, 47, 28).astimezone()
        made = {names.alternative_name("cnn_keras", moment) for _ in range(100)}
        assert len(made) == 100
        assert all(re.fullmatch(r"cnn_keras_220823_194728_[a-z0-9]{6}", name) for name in made)

    @given(TEXTS.filter(names.is_name) | st.text("é😀x", min_size=60, max_size=127).filter(names.is_name))
    def test_alternative_names_are_names(self, name):
        assert names.is_name(names.alternative_name(name))

    def test_ops_sort_by_time_and_are_recognized(self):
        early = names.new_op(datetime(2022, 8, 23, 19, 47, 28, 5, tzinfo=timezone.utc))
        late = names.new_op()
        assert early < late
        assert early.startswith("20220823T194728.000005Z-")
        assert names.is_op(early)
        assert names.is_op(late)
        assert not names.is_op(f"{late}x")


@pytest.mark.parametrize("strategy", ["", "New", "overwrite", None, 1])
def test_an_unknown_strategy_is_answered_with_those_there_are(strategy):
    with pytest.raises(InvalidStrategy, match="use one of 'skip', 'error', 'new', 'replace'"):
        names.check_strategy(strategy)
