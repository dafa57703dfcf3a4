"""The tables of limits and threats say what the code does."""

from __future__ import annotations

import importlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest

from t9k.em.server.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "limits.md").read_text()
UNITS: dict[str, int | Fraction] = {
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "min": 60,
    "h": 3600,
    "days": 86_400,
    "%": Fraction(1, 100),
}
ROOMS = ("t9k.em.server.", "t9k.em.", "")
MODULES = (
    "http.limits",
    "settings",
    "http.room",
    "http.crowds",
    "http.connections",
    "routes.sending",
    "service",
    "http.middleware",
    "http.large_bodies",
    "serving",
)
NO_LIMITS = {
    ("settings", "DEFAULT_BODY_BYTES"),  # the option
    ("http.large_bodies", "MOST_WAITING"),  # how a large body is handed over
    ("http.large_bodies", "PARTIAL_S"),
    ("http.large_bodies", "POOLED_BYTES"),
    ("http.room", "LOOK_S"),  # how often
    ("service", "CHECKED_FOR_S"),
    ("routes.sending", "HELD_BYTES"),  # of what is bounded by SENDING_BYTES
}


def _rows(columns: int) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if len(row) == columns]


LIMITS = [row for row in _rows(4) if re.fullmatch("`(--[a-z-]+|[\\w.]+)`", row[3])]
THREATS = [row for row in _rows(4) if "test_" in row[3]]


def _amount(text: str) -> Fraction:
    """What a cell says, in bytes, seconds or pieces."""
    if text.startswith("any"):
        return Fraction(0)
    number, _, unit = text.partition(" ")
    return Fraction(number.replace(",", "")) * UNITS.get(unit.partition("/")[0].partition(" ")[0], 1)


def _set(where: str) -> Any:
    """What the code says."""
    if where.startswith("--"):
        field = where[2:].replace("-", "_")
        found = {each.name: each.default for each in attrs.fields(Settings)}
        return found[field if field in found else f"{field}_s"]
    module, _, name = where.rpartition(".")
    for room in ROOMS:
        try:
            return getattr(importlib.import_module(room + module), name)
        except (ImportError, AttributeError):
            continue
    raise AssertionError(f"there is no {where}")


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: f"{row[3].strip('`')} {row[1]}")
def test_a_limit_is_what_its_row_says(row):
    assert _set(row[3].strip("`")) == _amount(row[1])


def test_every_row_of_a_table_is_compared():
    heads = [row for row in _rows(4) if row[3] in ("where set", "tested in")]
    rules = [row for row in _rows(4) if set(row[3]) == {"-"}]
    assert len(heads) == len(rules)
    assert len(_rows(4)) == len(LIMITS) + len(THREATS) + 2 * len(heads)
    assert len(LIMITS) > 50


@pytest.mark.parametrize("module", MODULES)
def test_every_bound_of_the_server_has_its_row(module):
    told = {row[3].strip("`") for row in LIMITS}
    found = {
        name
        for name, value in vars(importlib.import_module(f"t9k.em.server.{module}")).items()
        if name.isupper()
        and not name.startswith("_")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }
    defined = (ROOT / "src/t9k/em/server" / f"{module.replace('.', '/')}.py").read_text()
    own = {name for name in found if re.search(rf"^{name}(:.*)? = ", defined, re.MULTILINE)}
    assert {name for name in own if f"{module}.{name}" not in told and (module, name) not in NO_LIMITS} == set()


def test_every_option_that_bounds_has_its_row():
    told = {row[3].strip("`")[2:].replace("-", "_") for row in LIMITS if row[3].startswith("`--")}
    bounds = {
        each.name.removesuffix("_s")
        for each in attrs.fields(Settings)
        if type(each.default) in (int, float) and each.name not in ("port", "workers")
    }
    assert told == bounds


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[3].split("`")[1])
def test_what_holds_a_threat_is_tested_where_its_row_says(row):
    for place in re.findall("`([^`]+)`", row[3]):
        file, _, name = place.partition("::")
        text = (ROOT / "tests" / file).read_text()
        assert not name or re.search(rf"def {name}\(", text), place
