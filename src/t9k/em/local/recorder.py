"""Which process records a run, so that others can tell whether the run still goes on: `<directory>/.em/recorder.yaml`, never uploaded."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from t9k.em.errors import LocalError
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.files import overwrite
from t9k.em.local.layout import PRIVATE, kind_of, read_mapping, read_metadata
from t9k.em.local.yamlwriter import dump
from t9k.em.records import RUN

NAME = "recorder.yaml"


def note(directory: Path) -> None:
    """Note that this process records the run in a directory; whoever reads a part of the note knows nothing by it.

    Raises:
        LocalError, OSError: The disk refuses.
    """
    first = (_known(directory) or {}).get("directory")
    private = Below(directory, PRIVATE)
    below.make_dirs(private, durable=False)
    process = {**_machine(), "pid": os.getpid(), "started": _started(os.getpid())}
    overwrite(private / NAME, dump({**process, "directory": first or directory.name}))


def original_of(directory: Path) -> Path | None:
    """Return the directory of the same run, beside this one, of which this one is a copy by hand, as by `cp -r`.

    Args:
        directory: Of a run.

    Returns:
        The directory in which the run was recorded first; None if that is this one or is no longer there.

    Raises:
        CorruptLocalData: The metadata of one of them cannot be understood.
    """
    first = (_known(directory) or {}).get("directory")
    if not isinstance(first, str) or first == directory.name or first != os.path.basename(first):
        return None
    original = directory.parent / first
    if kind_of(original) != RUN:
        return None
    is_same = read_metadata(original, RUN).get("id") == read_metadata(directory, RUN).get("id")
    return original if is_same else None


def is_alive(directory: Path) -> bool | None:
    """Return whether the process that records a run is still there; None where that cannot be known, as from another machine."""
    known = _known(directory)
    if known is None:
        return None
    pid, machine = known.get("pid"), _machine()
    if type(pid) is not int or pid <= 0 or known.get("host") != machine["host"]:
        return None
    if known.get("boot") != machine["boot"]:
        return False if known.get("boot") and machine["boot"] else None  # the machine was started anew since
    if known.get("pids") != machine["pids"]:
        return None  # in another container, where the numbers mean other processes
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # it is somebody else's
    started = _started(pid)
    return started is None or known.get("started") in (None, started)


def is_this_process(directory: Path) -> bool:
    """Return whether this process records the run in a directory, as far as is noted."""
    known = _known(directory)
    process = {**_machine(), "pid": os.getpid(), "started": _started(os.getpid())}
    return known is not None and {**known, **process} == known


def _known(directory: Path) -> dict[str, Any] | None:
    """Return the note about the recording process; None for one that cannot be understood."""
    try:
        return read_mapping(Below(directory, PRIVATE) / NAME, "record of the process")
    except (LocalError, OSError):
        return None


@cache
def _machine() -> dict[str, Any]:
    return {"host": platform.node(), "boot": _read("/proc/sys/kernel/random/boot_id"), "pids": _namespace()}


def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """Return the start of a process, in ticks since the machine started: a process number that was used again has another start."""
    stat = _read(f"/proc/{pid}/stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()  # what is in brackets may hold spaces
    return int(fields[19])


def _read(path: str) -> str | None:
    # Without a file object, which asks the system more than the file does: each `create_run` comes here.
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.read(fd, 1 << 14).decode(errors="replace").strip()
        finally:
            os.close(fd)
    except OSError:
        return None
