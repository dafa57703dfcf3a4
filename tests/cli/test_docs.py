"""The command lines in the documentation are ones that `em` understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from t9k.em.cli.app import app

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_LINES = [
    line.removeprefix("$ ")
    for page in _PAGES
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("$ em ")
]


def test_there_are_examples() -> None:
    assert len(_LINES) > 20


@pytest.mark.parametrize("line", _LINES)
def test_an_example_has_a_command_and_options_that_exist(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words[: next((index for index, word in enumerate(words) if word in ("|", "<", ">")), len(words))]
    with app.make_context("em", list(words)) as ctx:
        name, command, rest = app.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert name is not None
        assert command is not None
        with click.Context(command, info_name=name, parent=ctx) as inner:
            command.parse_args(inner, rest)
