"""Read what a run that goes on has logged since it was published."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from t9k.em.backend import Grows
from t9k.em.errors import Diverged, NotFound
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.layout import LOG, METRICS
from t9k.em.names import check_key
from t9k.em.records import RUN, Node, parse_utc

if TYPE_CHECKING:
    from t9k.em.backend import Backend

MAX_KEYS = 1000


def add_grown(backend: Backend, node: Node, directory: Path, *, metrics_only: bool = False) -> None:
    """Add to the files of a run that goes on, which were downloaded, the whole lines that were appended to them since.

    Args:
        backend: Where the run is.
        node: The generation that was downloaded.
        directory: Where its files are.
        metrics_only: Whether to leave out what it printed.

    Raises:
        BackendError: Appended bytes cannot be read.
        InvalidKey: A key cannot be one; the backend is damaged or hostile.
    """
    if not _goes_on(node) or not isinstance(backend, Grows):
        return
    for key in sorted({segment.key for segment in backend.grown(node)})[:MAX_KEYS]:
        if not (check_key(key).startswith(f"{METRICS}/") or (key == LOG and not metrics_only)):
            continue
        with _appending(directory, key) as file:
            start = file.seek(0, os.SEEK_END)
            for lines in _whole_lines(backend.read_grown(node, key, start)):
                file.write(lines)


def catch_up(backend: Backend, path: str, identity: str, directory: Path) -> None:
    """Add to a copy of a run what was logged elsewhere since the copy was loaded, so that an upload of the copy does not hide that.

    Args:
        backend: Where the run is.
        path: Absolute path of the run.
        identity: Its id; another node is left alone.
        directory: Of the copy.

    Raises:
        Diverged: Both have logged something of their own.
        BackendError: Appended bytes cannot be read.
    """
    try:
        node = backend.stat(path)
    except NotFound:
        return
    if node.id != identity or not _goes_on(node) or not isinstance(backend, Grows):
        return
    ends: dict[str, int] = {}
    for segment in backend.grown(node):
        ends[segment.key] = max(ends.get(segment.key, 0), segment.start + segment.size)
    published = {file.key: file.size for file in backend.files(node)}
    for key in sorted(ends)[:MAX_KEYS]:
        if check_key(key).startswith(f"{METRICS}/"):
            _catch_up(backend, node, key, published.get(key, 0), directory)


def _appending(directory: Path, key: str) -> io.BufferedRandom:
    """Open a file of a run to read it and to append to it; it and its directory are made."""
    path = Below(directory, key)
    if isinstance(path.parent, Below):
        below.make_dirs(path.parent)
    return io.BufferedRandom(below.stream(path, os.O_RDWR | os.O_APPEND | os.O_CREAT))


def _catch_up(backend: Grows, node: Node, key: str, published: int, directory: Path) -> None:
    with _appending(directory, key) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(published)
        for chunk in backend.read_grown(node, key, published, max(size, published)):
            if file.read(len(chunk)) != bytes(chunk)[: max(0, size - published)]:
                raise Diverged(
                    f"{node.path} goes on elsewhere, and both that and this copy have logged to {key}: load the newest with "
                    f"em.load_run({node.path!r}) and go on there; conflict_strategy='replace' overwrites it"
                )
        for lines in _whole_lines(backend.read_grown(node, key, max(size, published))):
            file.write(lines)


def last_sign(backend: Backend, node: Node) -> float | None:
    """Return the time of the last sign of a run in progress, POSIX time in seconds; None for an unknown time.

    By the store's clock, or where nothing was appended yet by that of who uploaded it.

    Args:
        backend: Where the run is.
        node: Its newest generation.

    Raises:
        BackendError: The backend cannot be reached.
    """
    if not _goes_on(node) or not isinstance(backend, Grows):
        return None
    return max((segment.modified for segment in backend.grown(node)), default=_published(node))


def _published(node: Node) -> float | None:
    try:
        return parse_utc(node.modified).timestamp()
    except ValueError:  # of a store that keeps no such time
        return None


def _goes_on(node: Node) -> bool:
    return node.kind == RUN and node.metadata.get("status") == "Running"


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        data = rest + bytes(chunk)
        end = data.rfind(b"\n") + 1
        yield data[:end]
        rest = data[end:]
