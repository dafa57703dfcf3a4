"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re

import pytest

from t9k.em.patterns import lazily


def test_a_lazy_pattern_matches_what_a_compiled_one_does():
    lazy, compiled = lazily(r"(\w+)=(\d+)", re.IGNORECASE), re.compile(r"(\w+)=(\d+)", re.IGNORECASE)
    for _ in range(2):
        assert lazy.sub(r"\2=\1", "lr=3, Ab=12") == compiled.sub(r"\2=\1", "lr=3, Ab=12")
        assert lazy.fullmatch("lr=x") is None
    assert (lazy.pattern, lazy.flags) == (compiled.pattern, compiled.flags)


def test_a_lazy_pattern_of_bytes_finds_bytes():
    assert lazily(rb"\d+").findall(b"1 and 22") == [b"1", b"22"]


def test_a_lazy_pattern_is_compiled_when_first_used():
    broken = lazily("(")
    with pytest.raises(re.error):
        broken.match("(")
