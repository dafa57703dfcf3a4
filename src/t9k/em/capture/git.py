"""The state of the code that a run is made with, as git tells it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from t9k.em import settings
from t9k.em.capture import changes
from t9k.em.capture.gitcommand import ask, run
from t9k.em.capture.remotes import without_credentials

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def collect(timeout_s: float = 2.0) -> dict[str, Any]:
    """Return what is known about the repository of the script, or else of the working directory.

    Never an error: no git, no repository, a broken one, or one that git refuses because it belongs to somebody else
    give less, or ``{}``.

    Args:
        timeout_s: How long all of it may take, in seconds. What git did not answer by then is None.

    Returns:
        ``{"path": str, "remote": str | None, "branch": str | None, "commit": str | None, "dirty": bool | None,
        "untracked": list[str] | None, "entry_point": str | None}``. `path` is the top directory; `remote` the URL of "origin", or of the first
        remote, without credentials; `branch` is None when HEAD is detached; files that git does not know do not make
        the repository dirty, see `changes.untracked`; they are not listed with `EM_CAPTURE_DIFF=0`; `entry_point` is the script relative to `path`, None if it lies elsewhere.
    """
    deadline = time.monotonic() + timeout_s
    for directory in _candidates():
        top = ask(deadline, directory, "rev-parse", "--show-toplevel")
        if top:
            return {
                "path": top,
                "remote": _remote(ask(deadline, directory, "config", "--get-regexp", r"^remote\..*\.url$")),
                "branch": ask(deadline, directory, "symbolic-ref", "--quiet", "--short", "HEAD"),
                "commit": ask(deadline, directory, "rev-parse", "--quiet", "--verify", "HEAD"),
                "dirty": _dirty(deadline, directory),
                "untracked": changes.untracked(deadline, top) if settings.captures_diff() else None,
                "entry_point": _entry_point(top),
            }
    return {}


def _script() -> Path | None:
    """Return the script that was started; not the launcher of an installed program, which may lie in a repository by chance."""
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
    return without_credentials(found.get("remote.origin.url", list(found.values())[-1]))


def _dirty(deadline: float, directory: str) -> bool | None:
    # Not `git diff --quiet`, which writes the index in spite of GIT_OPTIONAL_LOCKS.
    answer = run(deadline, directory, "status", "--porcelain", "--untracked-files=no", "--no-renames")
    return bool(answer.output) if answer.code == 0 else None
