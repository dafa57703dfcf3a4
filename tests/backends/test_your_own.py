"""The store, its use and its test module of `docs/backends/your-own.md`, as they stand there.

Each block of `python` is a test by itself, in any order and process; those of `py` need the store and run here.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs/backends/your-own.md"


STORE, EXAMPLE, TESTS = re.findall(
    r"^```py(?:thon)?\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


def _run(*blocks: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


_CASES = {name: value for name, value in _run(STORE, TESTS).items() if name.startswith("Test")}
globals().update(_CASES)


def test_the_page_tests_both_ports_and_their_histories():
    assert sorted(_CASES) == [
        "TestSQLiteBackend",
        "TestSQLiteBackendHistory",
        "TestSQLiteStore",
        "TestSQLiteStoreHistory",
    ]


def test_the_example_of_the_page_uploads_to_the_store_of_the_page(capsys):
    _run(STORE, EXAMPLE)
    assert capsys.readouterr().out == "/alice/default/model ['index.yaml', 'metadata.yaml']\n"
