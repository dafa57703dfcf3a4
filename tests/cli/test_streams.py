"""The command where its standard streams are closed, full, or read by nobody: the work is done, and nothing is a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import make_run

EM = f"{sys.executable} -c 'from t9k.em.cli import main; main()'"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in which `em` is the program; the exit code is that of the first command of a pipe."""
    script = f'em() {{ {EM} "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("command", ["ls", "ls -l", "ls --json", "show", "plot", "config", "--help", "--version"])
def test_a_closed_stdout_is_an_error_without_a_traceback(command: str) -> None:
    run = make_run()
    command += f" {run.local}" * (command in ("show", "plot"))
    ran = shell(f"em {command} >&-")
    assert (ran.returncode, ran.stderr) == (1, "em: the output could not be written: stdout is closed\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("command", ["ls", "ls --json", "show", "plot", "--help"])
def test_a_full_disk_is_an_error_without_a_traceback(command: str) -> None:
    run = make_run()
    command += f" {run.local}" * (command in ("show", "plot"))
    ran = shell(f"em {command} >/dev/full")
    assert ran.returncode == 1
    assert ran.stderr.startswith("em: ")
    assert ran.stderr.endswith("No space left on device\n")
    assert ran.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("command", ["ls --json", "ls -l", "--help"])
def test_a_reader_that_has_ended_is_no_error_message(command: str) -> None:
    for _ in range(3):
        make_run()
    ran = shell(f"(sleep 0.5; em {command}; exit $?) | true")
    assert ran.stderr == ""
    assert ran.returncode == 141


def test_the_work_is_done_without_streams(tmp_path: Path) -> None:
    run = make_run()
    ran = shell(f"em upload {run.local} --backend {tmp_path}/store <&- >&- 2>&-")
    assert ran.returncode == 1, "nobody saw what it printed"
    assert (tmp_path / "store" / "alice/default/.em/h/cnn").is_dir()
