from __future__ import annotations

import pytest

from t9k.em.cli.curves import Curve
from t9k.em.cli.drawing import draw


def curve(name: str, *values: float) -> Curve:
    return Curve(run=name, place=name, type="train", metric="loss", points=list(enumerate(values)))


def test_more_curves_than_colors_can_be_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    draw([curve(f"run-{number}", number, number + 1) for number in range(9)])
    out = capsys.readouterr().out
    assert all(f"run-{number}" in out for number in range(9))


def test_no_line_is_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    draw([curve("r", 1, 2, 3)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40
