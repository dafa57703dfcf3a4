"""Copies that share their blocks with the original until one of them changes."""

from __future__ import annotations

import os
import sys

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)


def reflink(source_fd: int, target_fd: int) -> bool:
    """Make an empty file share all blocks of another; False, with the target empty, where that cannot be done.

    btrfs, XFS and some others can, within one file system.
    """
    if sys.platform != "linux":  # pragma: no cover - depends on the system
        return False
    import fcntl  # noqa: PLC0415 - Unix only

    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError:
        # Whatever the reason (EOPNOTSUPP, EXDEV, EINVAL, ENOTTY, ...), the plain copy finds out what matters.
        os.ftruncate(target_fd, 0)
        return False
    return True
