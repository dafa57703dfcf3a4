"""The state of the code that a run is made with, as git tells it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_INSTALLED = frozenset({"site-packages", "dist-packages"})
# The second form is a password with a bare slash in it: what looks like a port is none.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/\s]*@|[^/\s:@]*:(?!\d*(?:/|$))\S*@)")
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s]*(?=@)")
_SCP_PASSWORD = re.compile(r"^([^/\s:@]+):[^/\s]*(?=@)")
_REAP_S = 0.5


def collect(timeout_s: float = 2.0) -> dict[str, Any]:
    """Return what is known about the repository of the script, or else of the working directory.

    Never an error: no git, no repository, a broken one, or one that git refuses because it belongs to somebody else
    give less, or ``{}``.

    Args:
        timeout_s: How long all of it may take, in seconds. What git did not answer by then is None.

    Returns:
        ``{"path": str, "remote": str | None, "branch": str | None, "commit": str | None, "dirty": bool | None,
        "entry_point": str | None}``. `path` is the top directory; `remote` the URL of "origin", or of the first
        remote, without credentials; `branch` is None when HEAD is detached; files that git does not know do not make
        the repository dirty; `entry_point` is the script relative to `path`, None if it lies elsewhere.
    """
    deadline = time.monotonic() + timeout_s
    for directory in _candidates():
        top = _ask(deadline, directory, "rev-parse", "--show-toplevel")
        if top:
            return {
                "path": top,
                "remote": _remote(_ask(deadline, directory, "config", "--get-regexp", r"^remote\..*\.url$")),
                "branch": _ask(deadline, directory, "symbolic-ref", "--quiet", "--short", "HEAD"),
                "commit": _ask(deadline, directory, "rev-parse", "--quiet", "--verify", "HEAD"),
                "dirty": _dirty(deadline, directory),
                "entry_point": _entry_point(top),
            }
    return {}


def _script() -> Path | None:
    """The script that was started; not the launcher of an installed program, which may lie in a repository by chance."""
    script = sys.argv[0] if sys.argv else ""
    if not script.endswith(".py"):
        return None
    path = Path(os.path.realpath(script))
    return path if path.is_file() and not _INSTALLED.intersection(path.parts) else None


def _candidates() -> list[str]:
    directories = []
    with contextlib.suppress(OSError, ValueError):
        script = _script()
        if script is not None:
            directories.append(str(script.parent))
    with contextlib.suppress(OSError):  # the working directory may be gone
        directories.append(str(Path.cwd()))
    return directories


def _entry_point(top: str) -> str | None:
    try:
        script = _script()
        if script is None:
            return None
        relative = script.relative_to(os.path.realpath(top)).as_posix()
        return os.fsencode(relative).decode("utf-8", "backslashreplace")
    except (OSError, ValueError):
        return None


def _remote(urls: str | None) -> str | None:
    """Pick a remote from lines of key and URL."""
    found = dict(line.split(" ", 1) for line in reversed((urls or "").splitlines()) if " " in line)
    if not found:
        return None
    return _without_credentials(found.get("remote.origin.url", list(found.values())[-1]))


def _without_credentials(url: str) -> str:
    """Drop what may be secret; the user name stays for ssh only, where it is part of the address."""
    if "://" not in url:
        return _SCP_PASSWORD.sub(r"\1", url)
    if "ssh://" in url:
        return _PASSWORD.sub(r"\1", url)
    return re.split(r"[?#]", _CREDENTIALS.sub("", url))[0]


def _dirty(deadline: float, directory: str) -> bool | None:
    # Not `git diff --quiet`, which writes the index in spite of GIT_OPTIONAL_LOCKS.
    code, answer = _run(deadline, directory, "status", "--porcelain", "--untracked-files=no", "--no-renames")
    return bool(answer) if code == 0 else None


def _ask(deadline: float, directory: str, *args: str) -> str | None:
    code, answer = _run(deadline, directory, *args)
    return answer.removesuffix("\n") or None if code == 0 else None


def _run(deadline: float, directory: str, *args: str) -> tuple[int, str]:
    """Run git; its exit code is -1 if it could not be run, or not to its end."""
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        return -1, ""
    environment = {
        **os.environ,
        "GIT_ASKPASS": "true",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    try:
        process = subprocess.Popen(
            ["git", "-c", "core.fsmonitor=false", *args],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:  # no git, or not a program
        return -1, ""
    try:
        answer, _ = process.communicate(timeout=remaining_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return -1, ""
    return process.returncode, answer.decode("utf-8", "backslashreplace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill git and the programs that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_S)
    if process.stdout is not None:
        process.stdout.close()
