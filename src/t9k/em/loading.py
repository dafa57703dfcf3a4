"""Look at runs and artifacts that lie in a backend, and make local directories of them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import weakref
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from t9k.em.artifact import Artifact
from t9k.em.errors import (
    CorruptData,
    CorruptLocalData,
    InvalidName,
    LocalError,
    NodeSymlinkError,
    NotALocalNode,
    NotFound,
)
from t9k.em.local import below, layout
from t9k.em.local.below import Below
from t9k.em.local.copies import copy_hashed
from t9k.em.local.descent import THERE
from t9k.em.local.files import make_private_dir, sha256_of_file, sync_dir
from t9k.em.local.layout import INDEX, METADATA
from t9k.em.local.state import LocalState
from t9k.em.names import check_name, parent_and_name, random_text, split_version
from t9k.em.nodes import history
from t9k.em.records import ARTIFACT, FOLDER, RUN
from t9k.em.run import Run
from t9k.em.transfer.downloading import download_files
from t9k.em.transfer.growing import add_grown
from t9k.em.transfer.uploading import target_of

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import Node
    from t9k.em.transfer.progress import Progress

_Kept = TypeVar("_Kept", Run, Artifact)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def fetch_run(backend: Backend, path: str, progress: Progress | None = None, *, directory: Path | None = None) -> Run:
    """Download a run, all of it.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.
        progress: Receives the progress.
        directory: What it becomes; by default a new directory where runs lie. One that has the same files already is used.

    Raises:
        NotFound: The run does not exist.
        CorruptData: The node is damaged, or no run although its record says so.
        LocalError: `directory` holds something else.
    """
    return Run._open_directory(_fetch(backend, path, RUN, None, progress, directory))


def fetch_artifact(
    backend: Backend, path: str, progress: Progress | None = None, *, directory: Path | None = None
) -> Artifact:
    """Download the metadata of an artifact; its objects come when they are asked for.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.
        progress: Receives the progress.
        directory: What it becomes; by default a new directory where artifacts lie. One that has the same files already
            is used.

    Raises:
        NotFound: The artifact does not exist.
        CorruptData: The node is damaged, or no artifact although its record says so.
        LocalError: `directory` holds something else.
    """
    return Artifact._open_directory(_fetch(backend, path, ARTIFACT, (INDEX, METADATA), progress, directory))


def look_at_run(backend: Backend, path: str) -> Run:
    """Fetch a run into a temporary directory that goes with the object; something that needs a local directory makes one.

    All of the run is fetched, so that neither a `log` nor a later login needs the network.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.

    Raises:
        NotFound: The run does not exist.
        CorruptData: The node is damaged, or no run although its record says so.
    """
    return _look(Run, backend, path, None)


def look_at_artifact(backend: Backend, path: str) -> Artifact:
    """Fetch the metadata of an artifact into a temporary directory that goes with the object, see `look_at_run`.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.

    Raises:
        NotFound: The artifact does not exist.
        CorruptData: The node is damaged, or no artifact although its record says so.
    """
    return _look(Artifact, backend, path, (INDEX, METADATA))


def _look(of: type[_Kept], backend: Backend, path: str, keys: Collection[str] | None) -> _Kept:
    node = _found(backend, path, of.kind)
    make_parent = layout.parent_maker(of.kind)
    import tempfile  # noqa: PLC0415 - imports much, and few programs look at runs

    temporary = Path(tempfile.mkdtemp(prefix="em-"))
    try:
        files = temporary / _name(backend, path, node)
        read = _receive(backend, node, path, files, keys, None, durable=False)
        looked = of._open_directory(files)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    remove = weakref.finalize(looked, _remove, temporary, os.getpid())
    looked._look(files, partial(_keep, backend, read, files, make_parent, remove))
    return looked


def _remove(temporary: Path, pid: int) -> None:
    """Remove a temporary directory, but not in a child made by fork, whose parent still reads it."""
    if os.getpid() == pid:
        shutil.rmtree(temporary, ignore_errors=True)


def _keep(
    backend: Backend,
    read: Node,
    files: Path,
    make_parent: Callable[[], Path],
    remove: Callable[[], object],
    wanted: Path | None,
) -> Path:
    """Make the local directory of what was looked at.

    Raises:
        LocalError: The directory cannot be made, or another file is in its place.
    """
    parent = make_parent() if wanted is None else wanted.absolute().parent
    target = parent / files.name if wanted is None else wanted
    try:
        directory = _find_same(target, files)
        if directory is None:
            directory = _copied(files, parent, target, is_wanted=wanted is not None)
        else:
            _remember(directory, backend, read)
    except OSError as error:
        raise LocalError(f"cannot make {target}: {error.strerror or error}; choose another directory") from error
    remove()
    return directory


def _copied(files: Path, parent: Path, target: Path, *, is_wanted: bool) -> Path:
    staging = parent / f"{layout.FETCHING}{random_text(12)}"
    make_private_dir(staging, exist_ok=False)
    try:
        for path, status in below.walk(files):
            copy = Below(staging, path.key)
            if stat.S_ISDIR(status.st_mode):
                below.make_dirs(copy)
            else:
                copy_hashed(path, copy)
        return _place_at(staging, target) if is_wanted else _place(staging, parent, target.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(
    backend: Backend,
    path: str,
    kind: str,
    keys: Collection[str] | None,
    progress: Progress | None,
    wanted: Path | None,
) -> Path:
    """Download files of a node into a directory that appears when they are complete."""
    node = _found(backend, path, kind)
    name = _name(backend, path, node)
    if wanted is not None:
        layout.check_local(wanted, "the place of a download")
    parent = layout.make_parent(kind) if wanted is None else wanted.absolute().parent
    staging = parent / f"{layout.FETCHING}{random_text(12)}"
    try:
        read = _receive(backend, node, path, staging, keys, progress)
        directory = _find_same(parent / name if wanted is None else wanted, staging)
        if directory is None:
            return _place(staging, parent, name) if wanted is None else _place_at(staging, wanted)
        _remember(directory, backend, read)
        return directory
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _found(backend: Backend, path: str, kind: str) -> Node:
    node = backend.stat(path)
    if node.kind != kind:
        raise NotFound(f"{path} in {backend.uri} is a {node.kind}; {_advice(node.kind)}")
    return node


def _name(backend: Backend, path: str, node: Node) -> str:
    """Return the name of its directory.

    Raises:
        CorruptData: The name in the record cannot be one.
    """
    try:
        return check_name(node.metadata.get("alternative_name") or node.name, what="alternative name")
    except InvalidName as error:
        raise _unusable(backend, path, node.kind, error) from error


def _receive(
    backend: Backend,
    node: Node,
    path: str,
    directory: Path,
    keys: Collection[str] | None,
    progress: Progress | None,
    *,
    durable: bool = True,
) -> Node:
    """Download files of a node into a new directory, and find out whether they can be used.

    Returns:
        The generation that was read.
    """
    make_private_dir(directory, exist_ok=False)
    is_newest = split_version(path)[1] is None
    read = download_files(backend, node, directory, keys=keys, or_newest=is_newest, durable=durable, progress=progress)
    if keys is None:
        add_grown(backend, read, directory)
    try:
        (Run if node.kind == RUN else Artifact)._open_directory(directory)
    except (CorruptLocalData, InvalidName, NotALocalNode) as error:
        raise _unusable(backend, path, node.kind, error) from error
    _remember(directory, backend, read)
    return read


def _unusable(backend: Backend, path: str, kind: str, error: Exception) -> CorruptData:
    return CorruptData(f"{path} in {backend.uri} is no {kind} that can be used: {error}")


def _remember(directory: Path, backend: Backend, node: Node) -> None:
    """Note where a directory was fetched from."""
    state = LocalState(directory)
    state.set("origin", {"uri": backend.uri, "path": node.path, "generation": node.generation})
    state.descent.note(THERE, node.op, target_of(backend, parent_and_name(node.path)[0]))
    state.add_remote(history.record(history.DOWNLOAD, backend.uri, node))
    history.note_store(state, backend)


def _place(staging: Path, parent: Path, name: str) -> Path:
    """Give a fetched directory its name, or one like it when something else is there, perhaps since a moment."""
    target = parent / name
    while True:
        try:
            staging.rename(target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            target = parent / f"{name.encode()[:240].decode(errors='ignore')}-{random_text(6)}"
        else:
            sync_dir(parent)
            return target


def _place_at(staging: Path, target: Path) -> Path:
    """Give a fetched directory the name that was asked for; an empty directory may have it."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        raise LocalError(
            f"{target} is there and holds something else; choose a directory that does not exist"
        ) from error
    sync_dir(target.absolute().parent)
    return target


def _find_same(directory: Path, fetched: Path) -> Path | None:
    """Return the directory, if it has every file that was fetched, byte for byte; such a one stays as it is."""
    for path, status in below.walk(fetched):
        if path.key.partition("/")[0] == layout.PRIVATE or stat.S_ISDIR(status.st_mode):
            continue
        try:
            other = below.status(Below(directory, path.key))
            if other is None or other.st_size != status.st_size or not _hold_the_same(path, Below(directory, path.key)):
                return None
        except NodeSymlinkError:
            return None
    return directory


def _hold_the_same(one: Below, other: Below) -> bool:
    return sha256_of_file(one) == sha256_of_file(other)


def _advice(kind: str) -> str:
    return "list what is in it" if kind == FOLDER else f"load it with em.load_{kind.lower()}"
