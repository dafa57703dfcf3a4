"""What was changed in a repository and not committed, as a patch."""

from __future__ import annotations

import re
import time
from typing import Any

from t9k.em.capture import gitcommand
from t9k.em.masking import mask_code

MAX_BYTES = 1 << 20
MAX_UNTRACKED = 100
CUT = "..."
"""Last of the names of untracked files where there are more."""

# Nothing of the user's configuration changes what is written, and no program but git writes it.
_PLAIN = (
    *("--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--no-renames", "--submodule=short"),
    *("--unified=3", "--src-prefix=a/", "--dst-prefix=b/", "--ws-error-highlight=none", "-O/dev/null"),
)
_UNTRACKED = ("ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z")
_UNTRACKED_BYTES = 1 << 16
# Of a file whose time changed and whose content did not.
_EMPTY_PART = re.compile(rb"^diff --git [^\n]*\n(?=diff --git |\Z)", re.MULTILINE)
_PART = b"\ndiff --git "


def untracked(deadline: float, top: str) -> list[str] | None:
    """Return what git neither knows nor ignores; of a directory full of such files the name of the directory.

    Args:
        deadline: Until when it may take, by `time.monotonic`.
        top: Top directory of the repository.

    Returns:
        At most 100 paths relative to `top`, then '...' if there are more; None if git did not tell.
    """
    answer = gitcommand.run(deadline, top, *_UNTRACKED, limit_bytes=_UNTRACKED_BYTES)
    if answer.code != 0 and not answer.output:
        return None
    names = answer.output.decode("utf-8", "backslashreplace").split("\0")[:-1]
    is_cut = answer.is_cut or len(names) > MAX_UNTRACKED
    return names[:MAX_UNTRACKED] + [CUT] * is_cut


def patch(git: dict[str, Any], timeout_s: float = 10.0) -> bytes:
    r"""Return the uncommitted changes, staged or not, as `git apply` takes them; untracked files are not among them.

    The index is not written, and no external diff, textconv, hook or pager is run. What looks like a key or a password is masked.

    Args:
        git: What `git.collect` found.
        timeout_s: How long it may take, in seconds.

    Returns:
        Lines that begin with "#" and say what this is and what is not in it, then the patch, at most 1 MiB, whole files where
        possible. Of a binary file only that it differs. Empty if nothing was changed.
    """
    top = git.get("path")
    if not top or git.get("dirty") is False:
        return b""
    deadline = time.monotonic() + timeout_s
    # A repository without a commit is compared with nothing.
    base = git.get("commit") or gitcommand.ask(deadline, top, "hash-object", "-t", "tree", "/dev/null")
    if base is None:
        return b""
    # Otherwise the index would be refreshed, and written.
    settings = ("-c", "diff.autoRefreshIndex=false")
    answer = gitcommand.run(deadline, top, *settings, "diff", *_PLAIN, base, "--", limit_bytes=MAX_BYTES)
    is_late = answer.is_cut and len(answer.output) < MAX_BYTES
    if answer.code != 0 and not answer.is_cut:
        return b""
    text = _whole_files(answer.output) if answer.is_cut else answer.output
    masked = mask_code(_EMPTY_PART.sub(b"", text).decode("utf-8", "surrogateescape"))
    body = masked.encode("utf-8", "surrogateescape")
    if not body and not answer.is_cut:
        return b""
    notes = [f"Changes in {top} that were not committed, against {git.get('commit') or 'nothing'}."]
    if is_late:
        notes.append(f"There may be more: git took longer than {timeout_s:g} s.")
    elif answer.is_cut:
        notes.append(f"There is more: only the first {MAX_BYTES >> 20} MiB are kept.")
    if body != _EMPTY_PART.sub(b"", text):
        notes.append("What looks like a key or a password is ***.")
    head = "".join(f"# {note}\n" for note in notes).encode("utf-8", "backslashreplace")
    return head + body


def _whole_files(cut: bytes) -> bytes:
    """Return the files that are whole in a truncated patch; whole lines if no file is."""
    end = cut.rfind(_PART)
    return cut[: end + 1] if end >= 0 else cut[: cut.rfind(b"\n") + 1]
