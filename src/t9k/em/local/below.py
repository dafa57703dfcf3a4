"""Files below the directory of a run or artifact, opened without following a link.

Whoever made the directory, or unpacked it, may have put a link there: `git.yaml -> ~/.ssh/id_rsa` would be uploaded, and
`stdout.log -> ~/.bashrc` be written to. So no component below the directory may be a link; those above it are the user's. Nothing is looked at
first and opened afterwards: each component is opened in the one before it (`openat` with `O_NOFOLLOW`), so that nobody can put a link there in
between. Where the system cannot do that (Windows) links are looked for before.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from t9k.em.errors import LocalError, NodeSymlinkError
from t9k.em.local.disk import explained, sync_dir, sync_open_dir

CAN_OPEN_AT = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")
"""Whether the system opens a file in a directory that is open."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NO_FOLLOW
_ALWAYS = _NO_FOLLOW | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe must not be waited for
_PERHAPS_LINK = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)


class Below:
    """A file or directory below the directory of a run or artifact.

    Not a path that `open` takes, so that it cannot be opened in another way. Written by hand, for a class of attrs costs every
    import a millisecond.

    Args:
        root: The directory of the run or artifact.
        key: The file in it, components joined by '/'.
    """

    __slots__ = ("key", "root")

    def __init__(self, root: str | os.PathLike[str], key: str) -> None:
        self.root = os.fspath(root)
        self.key = key

    def __str__(self) -> str:
        """Return the path, for messages."""
        return f"{self.root}/{self.key}"

    def __truediv__(self, name: str) -> Below:
        """Return a path in the directory."""
        return Below(self.root, f"{self.key}/{name}")

    @property
    def name(self) -> str:
        """The last component."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> Below | Path:
        """The directory that it lies in."""
        directory = self.key.rpartition("/")[0]
        return Below(self.root, directory) if directory else Path(self.root)


AnyPath = str | os.PathLike[str] | Below
"""A path whose last component is not followed, or where it is `Below` a directory, any component of its key."""


@contextlib.contextmanager
def located(path: AnyPath) -> Iterator[tuple[str, int | None]]:
    """Give a name, and the open directory that it is relative to; None for a path of which only the last component must be no link.

    Raises:
        NodeSymlinkError: A directory on the way is a link.
        OSError: A component of the path cannot be opened.
    """
    if not isinstance(path, Below):
        yield os.fspath(path), None
        return
    directory, _, name = path.key.rpartition("/")
    if not directory:
        yield f"{path.root}/{name}", None
        return
    if not CAN_OPEN_AT:  # pragma: no cover - Windows
        _refuse_links(path)
        yield str(path), None
        return
    fd = _open_directory(path.root, directory)
    try:
        yield name, fd
    finally:
        os.close(fd)


def _open_directory(root: str, key: str) -> int:
    """Open a directory below another one, component by component."""
    first, *others = key.split("/")
    reached = f"{root}/{first}"
    fd = -1
    try:
        fd = os.open(reached, _DIRECTORY)
        for name in others:
            reached = f"{reached}/{name}"
            above, fd = fd, os.open(name, _DIRECTORY, dir_fd=fd)
            os.close(above)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise _explained(error, reached) from error
    return fd


def _refuse_links(path: Below) -> None:
    parts = path.key.split("/")
    for count in range(1, len(parts) + 1):
        reached = "/".join([path.root, *parts[:count]])
        if os.path.islink(reached):
            raise link_error(reached)


def link_error(path: AnyPath) -> NodeSymlinkError:
    """Return the error for a link that would have to be followed."""
    return NodeSymlinkError(
        f"{path} is a symbolic link, and those in the directory of a run or artifact are not followed, for they may lead to any file of "
        "yours; remove the link, or put a copy of what it stands for in its place"
    )


def _explained(error: OSError, path: AnyPath) -> Exception:
    """Return what to raise; that something is a link was found out by opening, and is only named here."""
    if error.errno in _PERHAPS_LINK:
        with contextlib.suppress(OSError):
            if os.path.islink(str(path)):
                return link_error(path)
    return OSError(error.errno, error.strerror, str(path))


def open_file(path: AnyPath, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a regular file.

    Args:
        path: The file; a `Below` for one of a run or artifact.
        flags: As of `os.open`.
        mode: Likewise.

    Returns:
        Its descriptor.

    Raises:
        NodeSymlinkError: A link would have to be followed.
        LocalError: The path is no regular file.
        OSError: The file cannot be opened.
    """
    with located(path) as (name, directory):
        if not CAN_OPEN_AT and os.path.islink(name):  # pragma: no cover - Windows
            raise link_error(path)
        try:
            fd = os.open(name, flags | _ALWAYS, mode, dir_fd=directory)
        except OSError as error:
            raise _explained(error, path) from error
    try:
        found = os.fstat(fd).st_mode
        if stat.S_ISREG(found):
            return fd
        if stat.S_ISDIR(found):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise LocalError(f"{path} is not a regular file; move it away")
    except BaseException:
        os.close(fd)
        raise


def stream(path: AnyPath, flags: int = os.O_RDONLY) -> io.FileIO:
    """Open a regular file as an unbuffered stream.

    Args:
        path: See `open_file`.
        flags: Likewise.

    Raises:
        LocalError, OSError: Likewise.
    """
    return io.FileIO(open_file(path, flags), "r+" if flags & os.O_RDWR else "r")


def read(path: AnyPath, most: int = -1) -> bytes:
    """Return the bytes of a file.

    Args:
        path: See `open_file`.
        most: How many at most; negative for all.
    """
    with stream(path) as file:
        return file.read(most) if most >= 0 else file.readall()


def status(path: AnyPath) -> os.stat_result | None:
    """Return the status of a file or directory; None if it does not exist.

    Raises:
        NodeSymlinkError: The path is a link, or leads through a link.
        OSError: The path cannot be examined.
    """
    try:
        with located(path) as (name, directory):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(found.st_mode):
        raise link_error(path)
    return found


def is_file(path: AnyPath) -> bool:
    """Return whether there is a regular file.

    Raises:
        NodeSymlinkError: See `status`.
    """
    found = status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_dir(path: AnyPath) -> bool:
    """Return whether there is a directory.

    Raises:
        NodeSymlinkError: See `status`.
    """
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def walk(root: str | os.PathLike[str]) -> Iterator[tuple[Below, os.stat_result]]:
    """Give all files and directories below one, each directory before what it holds, in order; links are given, never followed.

    What goes meanwhile is passed over.

    Args:
        root: The directory of a run or artifact.
    """
    pending = [(os.fspath(root), "")]
    while pending:
        directory, key = pending.pop()
        try:
            if key and CAN_OPEN_AT:
                found = _listed(_open_directory(directory, key))
            else:
                with os.scandir(f"{directory}/{key}" if key else directory) as entries:
                    found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
        except (FileNotFoundError, NotADirectoryError, NodeSymlinkError):
            continue
        below_here = []
        for name, status_there in sorted(found.items()):
            each = Below(directory, f"{key}/{name}" if key else name)
            yield each, status_there
            if stat.S_ISDIR(status_there.st_mode):
                below_here.append((directory, each.key))
        pending += reversed(below_here)


def _listed(fd: int) -> dict[str, os.stat_result]:
    """Return what is in an open directory, and close it."""
    found = {}
    try:
        for name in os.listdir(fd):
            with contextlib.suppress(FileNotFoundError):
                found[name] = os.stat(name, dir_fd=fd, follow_symlinks=False)
    finally:
        os.close(fd)
    return found


def names(path: Below) -> list[str]:
    """Return the names in a directory, in no order.

    Raises:
        NodeSymlinkError: See `status`.
        OSError: The directory cannot be read.
    """
    if not CAN_OPEN_AT:  # pragma: no cover - Windows
        _refuse_links(path)
        return os.listdir(str(path))
    fd = _open_directory(path.root, path.key)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def remove(path: AnyPath) -> None:
    """Remove a file, or a link itself, if it exists.

    Raises:
        NodeSymlinkError: A directory on the way is a link.
        OSError: The file cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError), located(path) as (name, directory):
        os.unlink(name, dir_fd=directory)


def move(source: Below, target: Below) -> None:
    """Give a file another name, in place of what has it; a link there is replaced.

    Raises:
        NodeSymlinkError: A directory on the way is a link.
        OSError: The file cannot be moved.
    """
    with located(source) as (name, directory), located(target) as (other, there):
        os.replace(name, other, src_dir_fd=directory, dst_dir_fd=there)


def make_dirs(path: Below, *, durable: bool = True) -> None:
    """Make a directory and those above it that are missing, below the root, which exists (0700).

    Args:
        path: The directory.
        durable: Whether those that are made have to survive a power cut.

    Raises:
        NodeSymlinkError: A component is a link.
        FileExistsError: A file has the name of a component.
        LocalError: Disk full, over quota, no permission or read-only.
        OSError: Any other failure.
    """
    with contextlib.suppress(PermissionError):  # which the making explains
        if is_dir(path):
            return
    parts = path.key.split("/")
    for count in range(1, len(parts) + 1):
        each = Below(path.root, "/".join(parts[:count]))
        with explained("make", each), located(each) as (name, directory):
            try:
                os.mkdir(name, 0o700, dir_fd=directory)
            except FileExistsError as error:
                if not is_dir(each):
                    raise FileExistsError(errno.EEXIST, error.strerror, str(each)) from None
            else:
                if durable:
                    sync_dir(path.root) if directory is None else sync_open_dir(directory)


def sync_parent(path: AnyPath) -> None:
    """Make the name of a file survive a power cut.

    Raises:
        NodeSymlinkError: A directory on the way is a link.
        LocalError, OSError: The disk refuses or failed.
    """
    with located(path) as (name, directory):
        sync_dir(os.path.dirname(name) or os.curdir) if directory is None else sync_open_dir(directory)
