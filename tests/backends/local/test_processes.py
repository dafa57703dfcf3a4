"""Sixteen real processes upload one name at once to a directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.backends.racing import check, race

from t9k.em.names import STRATEGIES
from t9k_em_backends.local import LocalBackend, LocalStore

PROCESSES = 16
ROUNDS = 3


@pytest.mark.long
def test_sixteen_processes_and_one_name(tmp_path: Path) -> None:
    turns, root = list(STRATEGIES) * ROUNDS, tmp_path / "store"
    told = race([root.as_uri()] * PROCESSES, tmp_path / "meeting", turns)
    check(LocalBackend(LocalStore(root), "file:///store"), turns, told)
