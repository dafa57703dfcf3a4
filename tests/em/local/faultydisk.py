"""Disks that are full or read-only, and processes that may not write: faults for the tests of `t9k.em.local`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory, or skip the test with the reason."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    path.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a file system: {mount.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(directory: Path, leave_bytes: int = 0) -> None:
    """Take all space of the file system below `directory`, or all but about `leave_bytes`."""
    with (directory / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    if leave_bytes:
        os.truncate(directory / "filler", (directory / "filler").stat().st_size - leave_bytes)


def run_unprivileged(code: str, *args: object) -> str:
    """Run Python code as a user who owns nothing, and return what it printed; as oneself if one is not root."""
    prelude = (
        "import os, sys, warnings\n"
        "from pathlib import Path\n"
        "from t9k.em import errors\n"
        "from t9k.em.local import copies, files, metrics, yamlfile\n"
        "os.setuid(65534) if os.getuid() == 0 else None\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", prelude + code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
