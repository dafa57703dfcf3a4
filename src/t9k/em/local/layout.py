"""The directory of a run or artifact: where it lies, what its files are called, and which of the two it is.

::

    .em/runs/<alternative_name>/         index.yaml metadata.yaml hyperparameters.yaml platform.yaml git.yaml stdout.log
                                         packages.txt diff.patch error.yaml metrics/<type>.yaml
    .em/artifacts/<alternative_name>/    index.yaml metadata.yaml objects/<key>
    <either>/.em/                        what concerns this copy only, see `state`; never uploaded
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from t9k.em.errors import CorruptLocalData, InvalidInput, LocalError, NodeSymlinkError, NotALocalNode
from t9k.em.local.below import AnyPath, Below, is_file, status
from t9k.em.local.disk import explained
from t9k.em.local.files import make_private_dir, replacing, write_all, write_atomic
from t9k.em.local.yamlwriter import MAX_BYTES, dump
from t9k.em.names import alternative_name
from t9k.em.records import ARTIFACT, RUN
from t9k.em.typos import meant_by_path
from t9k.em.uris import is_uri

INDEX = "index.yaml"
METADATA = "metadata.yaml"
PRIVATE = ".em"
FETCHING = ".em-fetch-"
"""First characters of the name of a directory that is being fetched; one that stays after a crash may be deleted."""

HPARAMS = "hyperparameters.yaml"
PLATFORM = "platform.yaml"
GIT = "git.yaml"
LOG = "stdout.log"
PACKAGES = "packages.txt"
DIFF = "diff.patch"
ERROR = "error.yaml"
METRICS = "metrics"

OBJECTS = "objects"

_PARENTS = {RUN: ("EM_RUN_PARENT_DIR", ".em/runs"), ARTIFACT: ("EM_ARTIFACT_PARENT_DIR", ".em/artifacts")}
_TRIES = 100
_GITIGNORE = b"# What t9k.em keeps here is no business of git.\n*\n"


def parent_directory(kind: str) -> Path:
    """Return the directory in which directories of runs or artifacts are made; relative to the working directory unless configured otherwise.

    Args:
        kind: 'Run' or 'Artifact'.

    Raises:
        LocalError: The environment variable names a store, or was meant to.
    """
    variable, default = _PARENTS[kind]
    named = os.environ.get(variable)
    if not named:
        return Path(default)
    check_local(named, f"the environment variable {variable}")
    return Path(named)


def check_local(path: str | os.PathLike[str], what: str) -> None:
    """Refuse a URI where a local path is needed, which would become a directory called 's3:'.

    Args:
        path: What was given.
        what: How an error calls it.

    Raises:
        LocalError: The text is a URI, or was meant to be one.
    """
    text = os.fspath(path)
    if not is_uri(text) and meant_by_path(text) is None:
        return
    local = text.partition("://")[2] if text.lower().startswith("file:///") else ".em/runs"
    raise LocalError(
        f"{what} must be a directory of this machine, not a URI; write it like {local!r}, and upload what is there to a store"
    )


@contextlib.contextmanager
def new_directory(kind: str, name: str, wanted: str | None = None) -> Iterator[Path]:
    """Make the directory of a new run or artifact, never one that is there already; an error in the block removes it.

    Args:
        kind: 'Run' or 'Artifact'.
        name: The name it was given.
        wanted: The alternative name it should have; None to make one up. It becomes the name of the directory.

    Raises:
        LocalError: The directory cannot be made, or `wanted` exists.
    """
    directory = _make_directory(make_parent(kind), name, wanted)
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def make_parent(kind: str) -> Path:
    """Make the directory in which those of runs or artifacts are made, and give it.

    A `.em` that this makes has a `.gitignore`, so that a repository around it stays clean. Where a directory was chosen by the environment,
    the user decides about git, and where `.em` is there already somebody may have decided.

    Args:
        kind: 'Run' or 'Artifact'.

    Raises:
        LocalError: The directory cannot be made.
    """
    return _make_parent_at(parent_directory(kind), is_chosen=_is_chosen(kind))


def parent_maker(kind: str) -> Callable[[], Path]:
    """Return what does the same as `make_parent` does now, whatever the working directory and the environment are then.

    Args:
        kind: 'Run' or 'Artifact'.

    Raises:
        LocalError: The environment variable names a store, or was meant to.
    """
    parent = Path(os.path.abspath(parent_directory(kind)))
    return partial(_make_parent_at, parent, is_chosen=_is_chosen(kind))


def _is_chosen(kind: str) -> bool:
    return bool(os.environ.get(_PARENTS[kind][0]))


def _make_parent_at(parent: Path, *, is_chosen: bool) -> Path:
    if os.path.isdir(parent):
        return parent
    try:
        if is_chosen:
            make_private_dir(parent, exist_ok=True)
        else:
            with contextlib.suppress(FileExistsError):
                make_private_dir(parent.parent, exist_ok=False)
                write_text(parent.parent / ".gitignore", _GITIGNORE)
            make_private_dir(parent, exist_ok=True)
    except FileExistsError as error:
        raise LocalError(f"cannot make {parent}: a file is in its place; choose another directory") from error
    except OSError as error:
        raise LocalError(f"cannot make {parent}: {error.strerror}; choose another directory") from error
    return parent


def _make_directory(parent: Path, name: str, wanted: str | None) -> Path:
    for _ in range(_TRIES):
        directory = parent / (wanted or alternative_name(name))
        try:
            make_private_dir(directory, exist_ok=False)
        except FileExistsError as error:
            if wanted:
                raise LocalError(f"{directory} is there already; load it, or move it away") from error
        except OSError as error:
            raise LocalError(f"cannot make {directory}: {error.strerror}; choose another directory") from error
        else:
            return directory
    raise LocalError(f"no free name for {name!r} in {parent}; look at what is in it")


def read_mapping(path: Below, what: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty one for a file that is missing.

    Raises:
        CorruptLocalData: The file holds no mapping.
        NodeSymlinkError: The path is a link.
    """
    if status(path) is None:
        return {}
    from t9k.em.local import yamlfile  # noqa: PLC0415 - YAML is slow to import, and a new run reads none

    data = yamlfile.load(path, what=what)
    if not isinstance(data, dict):
        raise CorruptLocalData(f"{path} holds no mapping; put a good copy in its place")
    return data


def write_mapping(path: Below, data: dict[str, Any]) -> bytes:
    """Replace a YAML file with a mapping, whole and durably.

    Returns:
        What the file holds now.

    Raises:
        InvalidInput: YAML cannot hold it; the file is as it was.
        LocalError: The file would be larger than `read_mapping` takes, or the disk is full or refuses; the file is as it was.
    """
    text = dump(data)
    if len(text) > MAX_BYTES:
        raise LocalError(f"{path} would take {len(text)} bytes, of at most {MAX_BYTES}; keep large data in an artifact")
    write_atomic(path, text)
    return text


def write_text(path: AnyPath, data: bytes) -> None:
    """Replace a file of text, whole; what can be collected again need not survive a power cut.

    Raises:
        LocalError: The disk is full or refuses; the file is as it was.
    """
    with explained("write", path), replacing(path, durable=False) as fd:
        write_all(fd, data)


def kind_of(directory: Path) -> str | None:
    """Return whether a directory is that of a run or an artifact; None for neither.

    Raises:
        CorruptLocalData: Its metadata cannot be understood.
        NodeSymlinkError: Its metadata is a link.
    """
    path = Below(directory, METADATA)
    if "\0" in path.root or not is_file(path):  # what was meant to be a path may hold anything
        return None
    kind = read_mapping(path, "metadata").get("type")
    return kind if isinstance(kind, str) and kind in _PARENTS else None


def read_metadata(directory: Path, kind: str) -> dict[str, Any]:
    """Read the metadata of a run or artifact.

    Raises:
        NotALocalNode: The directory is not that of such a node.
        CorruptLocalData: The file cannot be understood.
    """
    if kind_of(directory) != kind:
        raise NotALocalNode(f"{directory} is not the directory of {_article(kind)}; it has no {METADATA} that says so")
    return read_mapping(Below(directory, METADATA), "metadata")


@contextlib.contextmanager
def understanding(directory: Path) -> Iterator[None]:
    """For the reading of a directory's files: what a caller must not give, a file must not hold either.

    Raises:
        CorruptLocalData: The block raised `InvalidInput`.
    """
    try:
        yield
    except LocalError:  # a link is both
        raise
    except InvalidInput as error:
        raise CorruptLocalData(
            f"what {directory} holds cannot be: {error}; put good copies of its files there"
        ) from error


def nodes(parent: Path) -> list[Path]:
    """Return the directories in a directory that look like runs or artifacts, damaged ones included, by name."""
    found = [path for path in sorted(parent.glob("*")) if not path.name.startswith(FETCHING)]
    return [path for path in found if is_node(path)]


def is_node(directory: Path) -> bool:
    """Return whether a directory looks like that of a run or artifact, damaged ones and such with a link for metadata included."""
    path = Below(directory, METADATA)
    try:
        return "\0" not in path.root and is_file(path)
    except NodeSymlinkError:
        return True


def _article(kind: str) -> str:
    return "a run" if kind == RUN else "an artifact"
