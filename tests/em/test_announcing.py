"""One line on stderr says where a run goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from t9k import em


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    monkeypatch.delenv("EM_SILENT")


def test_it_names_the_directory_and_the_command(capsys):
    run = em.create_run(name="a b")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"t9k.em: this run goes to {run.local}; look at it with: em show '{run.local}'\n"
    run.finish()
    assert Path(run.local, "stdout.log").read_text() == ""
    assert capsys.readouterr().err == ""


def test_it_names_the_folder(capsys, tmp_path):
    em.create_run(name="a", auto_upload=True, folder="memory://told#/alice/x", make_folder=True).finish()
    assert " and is uploaded to memory://told#/alice/x; look" in capsys.readouterr().err
    em.login(str(tmp_path / "store"))
    em.create_run(name="a", auto_upload=True, folder="x", make_folder=True).finish()
    assert f" and is uploaded to x in {(tmp_path / 'store').as_uri()}; look" in capsys.readouterr().err


def test_a_login_may_come_later(capsys):
    run = em.create_run(name="a", auto_upload=True, folder="x", make_folder=True)
    assert " and is uploaded to x, as soon as em.login was called; look" in capsys.readouterr().err
    em.login("memory://later")
    run.finish()


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_it_can_be_silenced(capsys, monkeypatch, value):
    monkeypatch.setenv("EM_SILENT", value)
    em.create_run(name="a").finish()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", ["0", "false", ""])
def test_not_silenced(capsys, monkeypatch, value):
    monkeypatch.setenv("EM_SILENT", value)
    em.create_run(name="a").finish()
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        ({"RANK": "0", "LOCAL_RANK": "0"}, 1),
        ({"RANK": "8", "LOCAL_RANK": "0"}, 0),
        ({"OMPI_COMM_WORLD_RANK": "1"}, 0),
        ({"SLURM_PROCID": "3"}, 0),
        ({"SLURM_PROCID": "0"}, 1),
        ({"LOCAL_RANK": "1"}, 0),
    ],
    ids=str,
)
def test_of_several_processes_the_first_tells(capsys, monkeypatch, environment, lines):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    em.create_run(name="a").finish()
    assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.parametrize("close", ["sys.stderr = None", "sys.stderr.close()", "import os; os.close(2)"])
def test_no_stderr_is_no_trouble(tmp_path, close):
    program = f"import sys\nfrom t9k import em\n{close}\nem.create_run(name='a').finish()\nprint('ended')"
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ended\n")


def test_an_object_in_place_of_stderr_that_cannot_be_written_to_is_no_trouble(monkeypatch):
    monkeypatch.setattr(sys, "stderr", object())
    with em.create_run(name="a") as run:
        pass
    assert run.status == "Complete"
