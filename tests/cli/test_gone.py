"""Runs that say Running although nobody records them any more."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from t9k import em
from t9k.em.cli.app import app


def em_command(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout + done.stderr


@pytest.fixture
def killed() -> Path:
    program = "import os, signal\nfrom t9k import em\nem.create_run(name='r')\nos.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", program], check=False)
    (directory,) = Path(".em/runs").iterdir()
    return directory


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_killed_run_is_marked_with_what_to_do(killed):
    assert "Running, gone" in em_command("ls", "-l")
    assert "finish(status='Failed')" in em_command("ls", "-l")
    assert "its process is gone" in em_command("show", str(killed))
    assert json.loads(em_command("ls", "--json"))[0]["gone"] is True
    em.load_run(str(killed)).finish(status="Failed")
    assert "Running, gone" not in em_command("ls", "-l")


def test_a_run_of_this_process_is_not_marked():
    run = em.create_run(name="r")
    assert "gone" not in json.loads(em_command("ls", "--json"))[0]
    run.finish()


def test_the_error_is_shown():
    with pytest.raises(ValueError, match="too large"), em.create_run(name="r") as run:
        raise ValueError("the loss is too large")
    assert "the loss is too large" in em_command("show", run.local)


@pytest.fixture
def there(tmp_path) -> str:
    folder = f"file://{tmp_path}/store#/alice/f"
    run = em.create_run(name="r")
    run.upload(folder, make_folder=True)
    run.finish()
    return folder


def test_a_run_in_a_store_that_is_silent_for_long_is_marked_with_what_to_do(there, monkeypatch):
    assert "silent" not in em_command("ls", "-l", there)
    assert "not heard of" not in em_command("show", f"{there}/r")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    shown = em_command("ls", "-l", there)
    assert "Running, silent" in shown
    assert "em upload it from there" in shown
    assert "not heard of for long" in em_command("show", f"{there}/r")


def test_a_run_in_a_store_that_has_ended_is_not_silent(tmp_path, monkeypatch):
    folder = f"file://{tmp_path}/store#/alice/f"
    run = em.create_run(name="r")
    run.finish()
    run.upload(folder, make_folder=True)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert "silent" not in em_command("ls", "-l", folder)
