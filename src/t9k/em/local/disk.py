"""What every writer to the local disk needs: errors that say what to do, and names that survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from t9k.em.errors import LocalError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_SPACE = "free some space there, or choose another directory"
_NO_PERMISSION = "check who owns it and its permissions, or choose another directory"
_ADVICE = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "the file system is read-only, choose another directory",
}


def explain(error: OSError, action: str, path: object) -> Exception:
    """Return what to raise from an error of the operating system.

    Args:
        error: The error.
        action: What was tried, to follow "cannot", for example "write".
        path: The file or directory that it was tried on.

    Returns:
        A `LocalError` with advice if the disk is full or refuses, `error` itself otherwise.
    """
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return error
    return LocalError(f"cannot {action} {path}: {error.strerror}; {advice}")


@contextlib.contextmanager
def explained(action: str, path: object) -> Iterator[None]:
    """Raise `LocalError` with advice where the block meets a full disk or a refusal.

    Args:
        action: What the block does, to follow "cannot".
        path: The file or directory that it does it to.

    Raises:
        LocalError: No space, over quota, no permission, or read-only.
        OSError: Any other error of the operating system, unchanged.
    """
    try:
        yield
    except OSError as error:
        reason = explain(error, action, path)
        if reason is error:
            raise
        raise reason from error


def sync_dir(path: str | os.PathLike[str]) -> None:
    """Make the names in a directory survive a power cut, where the system can.

    Args:
        path: The directory.

    Raises:
        LocalError: No permission.
        OSError: The disk failed.
    """
    if os.name == "nt":  # pragma: no cover - Windows cannot open a directory
        return
    with explained("sync", path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync_open_dir(fd)
        finally:
            os.close(fd)


def sync_open_dir(fd: int) -> None:
    """Make the names in a directory that is open survive a power cut, where the system can.

    Args:
        fd: Its descriptor.

    Raises:
        OSError: The disk failed.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
