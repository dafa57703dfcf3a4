"""Several places for one command, and globs, which are resolved in the backend; one that fails does not stop the others."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from t9k.em.cli import targets
from t9k.em.cli.app import OK, PARTIAL, explain
from t9k.em.cli.output import note
from t9k.em.cli.text import clean
from t9k.em.errors import EMError, NotFound
from t9k.em.names import join, split_version
from t9k.em.records import FOLDER
from t9k.em.typos import nearest
from t9k.em.uris import is_uri

if TYPE_CHECKING:
    from t9k.em.backend import Backend

_MAGIC = "*?["
_SHOWN = 8


def is_glob(place: str) -> bool:
    """Return whether a place may stand for several; of a URI only the path in the store does."""
    return any(sign in (place.partition("#")[2] if is_uri(place) else place) for sign in _MAGIC)


def expand(given: Iterable[str], *, local: bool, folders: bool = False) -> list[str]:
    """Return places, with those that globs stand for in their place, each once and in the order of their names.

    Args:
        given: Places; `*`, `?` and `[...]` stand for parts of one name, never for a slash.
        local: Whether globs are looked for among local directories first.
        folders: Whether globs find folders too.

    Raises:
        NotFound: A glob finds nothing.
    """
    found: dict[str, None] = {}
    for place in given:
        found |= dict.fromkeys(_expand(place, local=local, folders=folders) if is_glob(place) else [place])
    return list(found)


def do_each(given: Sequence[str], work: Callable[[str], object]) -> int:
    """Do something with each of several places; a failure is reported and does not stop the others.

    Args:
        given: The places.
        work: What is done with one; of a single one, an error comes out as it is.

    Returns:
        The exit code.
    """
    if len(given) == 1:
        work(given[0])
        return OK
    failed = 0
    for place in given:
        try:
            work(place)
        except BrokenPipeError:
            raise
        except (EMError, OSError) as error:
            failed += 1
            note(f"em: {clean(place)}: {explain(error)}")
    if failed:
        note(f"em: {failed} of {len(given)} failed, see above")
    return PARTIAL if failed else OK


def _expand(place: str, *, local: bool, folders: bool) -> list[str]:
    if local and not is_uri(place):
        here = [path for path in sorted(glob.glob(place)) if targets.local_node(path)]  # noqa: PTH207 - keeps './'
        if here:
            return here
    backend, path = targets.located(place)
    bare, generation = split_version(path)
    root = place.partition("#")[0] if is_uri(place) else None
    version = "" if generation is None else f"@{generation}"
    paths = [f"{found}{version}" for found in _matching(backend, bare, folders=folders)]
    return [found if root is None else f"{root}#{quote(found, safe='/@')}" for found in paths]


def _matching(backend: Backend, pattern: str, *, folders: bool) -> list[str]:
    """Return the paths that a pattern stands for, by name; at least one."""
    level = ["/"]
    kinds: dict[str, str] = {}
    names = pattern.strip("/").split("/")
    for position, name in enumerate(names):
        is_last = position == len(names) - 1
        if not is_glob(name):
            level = [join(folder, name) for folder in level]
            continue
        below = []
        for folder in level:
            if len(level) == 1:
                backend.stat(folder)  # which says what is missing
            if position and not _is_folder(backend, folder):
                continue
            there = list(backend.list(folder))
            kinds |= {node.path: node.kind for node in there}
            below.append((folder, there))
        level = [
            node.path
            for _, there in below
            for node in sorted(there, key=lambda node: node.name)
            if (fnmatch.fnmatchcase(node.name, name) or node.name == name)
            and (node.kind == FOLDER if not is_last else folders or node.kind != FOLDER)
        ]
        if not level:
            raise _nothing(backend, pattern, name, [node.name for _, there in below for node in there])
    if not is_glob(names[-1]):
        level = [path for path in level if _exists(backend, path)]
        if not level:
            raise _nothing(backend, pattern, names[-1], [])
    return level


def _is_folder(backend: Backend, path: str) -> bool:
    try:
        return backend.stat(path).kind == FOLDER
    except NotFound:
        return False


def _exists(backend: Backend, path: str) -> bool:
    try:
        backend.stat(path)
    except NotFound:
        return False
    return True


def _nothing(backend: Backend, pattern: str, name: str, there: Sequence[str]) -> NotFound:
    targets.require_store(backend)
    close = nearest("".join(sign for sign in name if sign not in "*?[]"), there)
    shown = ", ".join(sorted(there)[:_SHOWN]) + (", ..." if len(there) > _SHOWN else "")
    if close is not None:
        advice = f"; did you mean {close!r}?" + (f" There are {shown}" if len(there) > 1 else "")
    else:
        advice = f"; there are {shown}" if there else "; em ls lists what is there"
    return NotFound(f"nothing in {backend.uri} matches {pattern}{advice}")
