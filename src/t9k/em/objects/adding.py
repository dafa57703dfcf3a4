"""Copy files and directories into an artifact: which key each gets, and that all or none of them arrive."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from t9k.em.errors import LocalError, NodeSymlinkError, SymlinkError
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.copies import copied
from t9k.em.local.layout import OBJECTS, PRIVATE
from t9k.em.names import random_text
from t9k.em.parallel import in_parallel

Add = Callable[[Mapping[str, Mapping[str, Any]], Callable[[], object]], object]
"""Gets `size` and `sha256` by key, and what puts the copies into their places: nobody else may do so with those keys meanwhile."""

_ROUNDS = 10
_PAUSE_S = 0.02


def object_path(path: str, obj_path: str | None) -> str:
    """Return the key, or the start of the keys, that something gets: `obj_path`, or below it if that ends with a slash.

    Args:
        path: Of the file or directory; its last component counts.
        obj_path: As the user gave it; None for the last component alone.
    """
    name = os.path.basename(os.path.abspath(path))  # noqa: PTH100, PTH119 - `resolve` would follow links
    if obj_path is None:
        return name
    return obj_path + name if obj_path.endswith("/") else obj_path


def import_file(source: Path, key: str, directory: Path, add: Add | None = None, *, within: str = "") -> dict[str, Any]:
    """Copy one file into an artifact, durably.

    Args:
        source: The file; it may be a symbolic link to one.
        key: A valid key.
        directory: Of the artifact.
        add: See `Add`; None if the copy may take its place at once.
        within: A directory in it, with a slash at the end, which gets the copy instead.

    Returns:
        `size` in bytes and `sha256`.
    """
    target = _make_way(directory, key, within)
    with contextlib.ExitStack() as stack:
        try:
            size, sha256 = stack.enter_context(copied(source, target, follow_symlinks=True))
        except OSError as error:
            raise LocalError(f"cannot add {source}: {error.strerror or error}; give the path of a file") from error
        data = {"size": size, "sha256": sha256}
        if add is not None:
            add({key: data}, stack.close)
    return data


def find_files(source: Path, prefix: str, *, follow_symlinks: bool = False) -> dict[str, Path]:
    """Find all files below a directory, without directories `.em` of this library.

    Args:
        source: The directory.
        prefix: What the keys start with, without a slash at the end.
        follow_symlinks: Whether links are followed that lead out of the directory; those that stay inside always are.

    Returns:
        The files by key.
    """
    if not source.is_dir():
        raise LocalError(f"cannot add {source}: it is no directory; give the path of a directory, or use add_file")
    found = _walk(source, follow_symlinks=follow_symlinks)
    return {f"{prefix}/{relative}": path for relative, path in sorted(found)}


def import_dir(
    source: Path,
    prefix: str,
    directory: Path,
    add: Add,
    *,
    follow_symlinks: bool = False,
    reserve: Callable[[Iterable[str]], object] = list,
) -> dict[str, dict[str, Any]]:
    """Copy a directory into an artifact, durably; after an error it is as it was.

    The directory may be written to meanwhile. When a file went before it was copied, the directory is looked at again: what
    came is copied too, and what is there no longer is left out. After some rounds of that, the copies are what they are.

    Args:
        source: The directory.
        prefix: What the keys start with, without a slash at the end.
        directory: Of the artifact.
        add: See `Add`.
        follow_symlinks: See `find_files`.
        reserve: Called with the keys before anything is copied to them; raises if they cannot be.

    Returns:
        `size` in bytes and `sha256` by key.
    """
    files = _find_settled(source, prefix, follow_symlinks=follow_symlinks)
    reserve(files)
    staging = Below(directory, f"{PRIVATE}/staging/{random_text(12)}")
    below.make_dirs(staging, durable=False)
    try:
        copies: dict[str, dict[str, Any]] = {}
        for _ in range(_ROUNDS):
            copies = {key: copy for key, copy in copies.items() if key in files}
            missing = [(key, path) for key, path in files.items() if key not in copies]
            found = in_parallel(lambda item: _import_if_there(item[1], item[0], staging), missing, "add")
            copies |= {key: copy for (key, _), copy in zip(missing, found, strict=True) if copy is not None}
            if None not in found:
                break
            files = _find_settled(source, prefix, follow_symlinks=follow_symlinks)
            reserve(files)
        targets = {key: _make_way(directory, key) for key in sorted(copies)}
        added = {key: copies[key] for key in targets}

        def place() -> None:
            for key, target in targets.items():
                below.move(staging / f"{OBJECTS}/{key}", target)
            for target in {target.parent: target for target in targets.values()}.values():
                below.sync_parent(target)

        add(added, place)
    finally:
        shutil.rmtree(str(staging))
    return added


def _find_settled(source: Path, prefix: str, *, follow_symlinks: bool) -> dict[str, Path]:
    """See `find_files`; a link that leads nowhere may be about to lead to the next checkpoint."""
    for _ in range(_ROUNDS):
        try:
            return find_files(source, prefix, follow_symlinks=follow_symlinks)
        except SymlinkError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            time.sleep(_PAUSE_S)
    return find_files(source, prefix, follow_symlinks=follow_symlinks)


def _import_if_there(source: Path, key: str, staging: Below) -> dict[str, Any] | None:
    """Copy one file; None if it went meanwhile."""
    try:
        return import_file(source, key, Path(staging.root), within=f"{staging.key}/")
    except (LocalError, SymlinkError) as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return None
        raise


def _make_way(directory: Path, key: str, within: str = "") -> Below:
    """Return the path of an object in an artifact, in a directory that exists."""
    target = Below(directory, f"{within}{OBJECTS}/{key}")
    try:
        below.make_dirs(Below(directory, target.key.rpartition("/")[0]))
        if _is_dir(target):
            raise FileExistsError(errno.EEXIST, "Directory exists", str(target))
    except FileExistsError as error:
        raise LocalError(f"{error.filename} is in the way of object {key!r}; move it away") from error
    return target


def _is_dir(target: Below) -> bool:
    """Return whether a directory is in the place of an object; a link there is replaced."""
    try:
        return below.is_dir(target)
    except NodeSymlinkError:
        return False


def _walk(source: Path, *, follow_symlinks: bool) -> Iterator[tuple[str, Path]]:
    """All files below a directory with their paths relative to it; what goes meanwhile is passed over."""
    root = Path(os.path.realpath(source))
    pending: list[tuple[str, Path, tuple[Path, ...]]] = [("", source, (root,))]
    while pending:
        relative, directory, chain = pending.pop()
        try:
            with os.scandir(directory) as entries:
                found = list(entries)
        except OSError as error:
            if directory != source and isinstance(error, (FileNotFoundError, NotADirectoryError)):
                continue
            raise LocalError(f"cannot read {directory}: {error.strerror}; check its permissions") from error
        for entry in found:
            path = Path(entry.path)
            try:
                mode = _mode(entry, chain, follow_symlinks=follow_symlinks)
            except (FileNotFoundError, SymlinkError) as error:
                if isinstance(error, SymlinkError) and os.path.lexists(path):
                    raise
                continue  # a file that has the name by now came after the listing
            name = f"{relative}{entry.name}"
            if stat.S_ISDIR(mode) and _holds_runs_or_artifacts(path):
                continue  # perhaps this very one
            if stat.S_ISDIR(mode):
                pending.append((f"{name}/", path, (*chain, Path(os.path.realpath(path)))))
            elif stat.S_ISREG(mode):
                yield name, path
            else:
                raise LocalError(f"{path} is neither a file nor a directory; leave it out of the directory")


def _mode(entry: os.DirEntry[str], chain: tuple[Path, ...], *, follow_symlinks: bool) -> int:
    if entry.is_symlink():
        return _followed(Path(entry.path), chain, anywhere=follow_symlinks)
    return entry.stat(follow_symlinks=False).st_mode


def _holds_runs_or_artifacts(path: Path) -> bool:
    return path.name == PRIVATE and any((path / name).exists() for name in ("runs", "artifacts", "state.yaml"))


def _followed(link: Path, chain: tuple[Path, ...], *, anywhere: bool) -> int:
    """Return the mode of what a link leads to, if that may be followed.

    Args:
        link: The link.
        chain: The real directories that were walked through on the way to it, the root first.
        anywhere: Whether it may lead out of the root.
    """
    real = Path(os.path.realpath(link))
    if not anywhere and chain[0] not in (real, *real.parents):
        raise SymlinkError(
            f"{link} is a symbolic link out of {chain[0]}; copy what it stands for, or remove it, or pass follow_symlinks=True"
        )
    try:
        mode = real.stat().st_mode
    except OSError as error:
        raise SymlinkError(f"{link} is a symbolic link that leads nowhere or in a circle; remove it") from error
    if stat.S_ISDIR(mode) and real in chain:
        raise SymlinkError(f"{link} is a symbolic link to a directory above itself; remove it")
    return mode
