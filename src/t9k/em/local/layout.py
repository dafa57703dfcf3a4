"""The directory of a run or artifact: where it lies, what its files are called, and which of the two it is.

::

    .em/runs/<alternative_name>/         index.yaml metadata.yaml hyperparameters.yaml platform.yaml git.yaml stdout.log
                                         metrics/<type>.yaml
    .em/artifacts/<alternative_name>/    index.yaml metadata.yaml objects/<key>
    <either>/.em/                        what concerns this copy only, see `state`; never uploaded
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from t9k.em.errors import CorruptLocalData, LocalError, NotALocalNode
from t9k.em.local.files import make_private_dir, write_atomic
from t9k.em.local.yamlwriter import dump
from t9k.em.names import alternative_name
from t9k.em.records import ARTIFACT, RUN

INDEX = "index.yaml"
METADATA = "metadata.yaml"
PRIVATE = ".em"

HPARAMS = "hyperparameters.yaml"
PLATFORM = "platform.yaml"
GIT = "git.yaml"
LOG = "stdout.log"
METRICS = "metrics"

OBJECTS = "objects"

_PARENTS = {RUN: ("EM_RUN_PARENT_DIR", ".em/runs"), ARTIFACT: ("EM_ARTIFACT_PARENT_DIR", ".em/artifacts")}
_TRIES = 100


def parent_directory(kind: str) -> Path:
    """Where the directories of runs or artifacts are made; relative to the working directory unless told otherwise.

    Args:
        kind: 'Run' or 'Artifact'.
    """
    variable, default = _PARENTS[kind]
    return Path(os.environ.get(variable) or default)


def make_directory(kind: str, name: str, wanted: str | None = None) -> tuple[Path, str]:
    """Makes the directory of a new run or artifact, never one that is there already.

    Args:
        kind: 'Run' or 'Artifact'.
        name: The name it was given.
        wanted: The alternative name it should have; None to make one up.

    Returns:
        The directory, and the alternative name, which is the name of the directory.

    Raises:
        LocalError: It cannot be made, or `wanted` exists.
    """
    parent = parent_directory(kind)
    for _ in range(_TRIES):
        unique = wanted or alternative_name(name)
        try:
            make_private_dir(parent / unique, exist_ok=False)
        except FileExistsError as error:
            if wanted or not parent.is_dir():
                raise LocalError(f"{parent / unique} is there already; load it, or move it away") from error
        except OSError as error:
            raise LocalError(f"cannot make {parent / unique}: {error.strerror}; choose another directory") from error
        else:
            return parent / unique, unique
    raise LocalError(f"no free name for {name!r} in {parent}; look at what is in it")


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping; an empty one for a file that is missing.

    Raises:
        CorruptLocalData: It holds something else.
    """
    if not path.exists():
        return {}
    from t9k.em.local import yamlfile  # noqa: PLC0415 - YAML is slow to import, and a new run reads none

    data = yamlfile.load(path, what=what)
    if not isinstance(data, dict):
        raise CorruptLocalData(f"{path} holds no mapping; put a good copy in its place")
    return data


def write_mapping(path: Path, data: dict[str, Any]) -> None:
    """Replaces a YAML file with a mapping, whole and durably."""
    write_atomic(path, dump(data))


def kind_of(directory: Path) -> str | None:
    """Whether a directory is that of a run or an artifact; None for neither."""
    if not (directory / METADATA).is_file():
        return None
    kind = read_mapping(directory / METADATA, "metadata").get("type")
    return kind if kind in _PARENTS else None


def read_metadata(directory: Path, kind: str) -> dict[str, Any]:
    """Reads the metadata of a run or artifact.

    Raises:
        NotALocalNode: The directory is not that of such a node.
        CorruptLocalData: The file cannot be understood.
    """
    if kind_of(directory) != kind:
        raise NotALocalNode(f"{directory} is not the directory of {_article(kind)}; it has no {METADATA} that says so")
    return read_mapping(directory / METADATA, "metadata")


def _article(kind: str) -> str:
    return "a run" if kind == RUN else "an artifact"
