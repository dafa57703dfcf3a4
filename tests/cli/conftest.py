"""Runs `em` inside this process, or as a program of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("plotext")

from click.testing import CliRunner

from t9k import em as em_
from t9k.em.artifact import Artifact
from t9k.em.cli.app import app
from t9k.em.run import Run


@frozen
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Em = Callable[..., Ran]


@pytest.fixture
def em(monkeypatch: pytest.MonkeyPatch) -> Em:
    """Runs a command line and gives its exit code, stdout and stderr."""
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: object, stdin: str | None = None) -> Ran:
        result = CliRunner().invoke(
            app, [str(arg) for arg in args], input=stdin, catch_exceptions=False, prog_name="em"
        )
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `em` as a program."""

    def run(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from t9k.em.cli import main; main()", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets rich believe that it prints to a terminal of 80 columns with 16 colors."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


@pytest.fixture
def logged_in(em: Em, store: str) -> str:
    assert em("login", store).code == 0
    return store


def make_run(name: str = "cnn", values: tuple[float, ...] = (0.5, 0.25), **options: Any) -> Run:
    """A finished run whose training loss had these values."""
    with em_.create_run(name=name, hparams={"lr": 0.1, "opt": {"name": "sgd"}}, **options) as run:
        for step, value in enumerate(values, 1):
            run.log("train", {"loss": value}, step=step, epoch=step)
        run.log("test", {"accuracy": 0.75}, step=len(values))
    return run


def make_artifact(name: str = "model", files: dict[str, bytes] | None = None) -> Artifact:
    artifact = em_.create_artifact(name, labels=["a", "b"], description="what it is")
    for key, data in (files or {"weights.bin": b"weights"}).items():
        source = Path("source")
        source.write_bytes(data)
        artifact.add_file(str(source), key)
    os.remove("source")
    return artifact
