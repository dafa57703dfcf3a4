"""Trainings as people write them leave a log that equals what their terminal showed."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from t9k.em.capture.terminal import Screen

TRAININGS = Path(__file__).parents[2] / "trainings"
WIDTH = 80


def in_terminal(program: Path, directory: Path, **environment: str) -> str:
    """What a terminal shows when a program has ended in it."""
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, program],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, "EM_SILENT": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    data = b""
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # nobody has the terminal any more
            break
        data += piece
    os.close(controller)
    assert process.wait(60) == 0, data.decode()
    rows: list[str] = []
    screen = Screen(lambda: rows.pop() if rows else None)
    rows += screen.feed(data.decode().replace("\r\n", "\n")).splitlines(keepends=True)
    return "".join(rows) + screen.text


def lines(text: str) -> list[str]:
    """The lines without what a bar tells of the time, and without the spaces with which it covers itself."""
    return [line.rstrip().partition(" [")[0] for line in text.splitlines() if line.strip()]


@pytest.mark.long
@pytest.mark.parametrize("output", ["stream", "fd"])
@pytest.mark.parametrize("name", ["by_logging", "by_print", "by_tqdm"])
def test_the_log_equals_what_the_terminal_showed(tmp_path, name, output):
    program = tmp_path / f"{name}.py"
    text = (TRAININGS / f"{name}.py").read_text()
    program.write_text(text.replace("em.create_run(", f"em.create_run(output={output!r}, "))
    shown = in_terminal(program, tmp_path)
    (log,) = tmp_path.glob(".em/runs/*/stdout.log")
    assert shown.strip()
    assert lines(log.read_text()) == lines(shown)
    assert log.stat().st_size < 2000
