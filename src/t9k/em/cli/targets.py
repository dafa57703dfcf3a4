"""What a PLACE on the command line means: a local directory, or a path in a backend."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from t9k.em import session
from t9k.em.backend import TellsState
from t9k.em.cli.guessing import Word
from t9k.em.cli.text import count
from t9k.em.errors import (
    CorruptLocalData,
    InvalidInput,
    InvalidURI,
    NodeSymlinkError,
    NotALocalNode,
    NotFound,
    NotLoggedIn,
)
from t9k.em.local import layout
from t9k.em.names import STRATEGIES
from t9k.em.nesting import meant_inside
from t9k.em.records import ARTIFACT, FOLDER, RUN, Node
from t9k.em.typos import nearest
from t9k.em.uris import is_same_root, is_uri, parse, uri_of_node

if TYPE_CHECKING:
    from t9k.em.backend import Backend

_LOCAL_ONLY = ("./", "../", "~/", f"{layout.PRIVATE}/")
"""How no path in a backend can begin."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _set_backend(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj = value


backend_option = click.option(
    "--backend", metavar="URI", expose_value=False, callback=_set_backend, help="Where paths without a URI lie."
)


def target_options(command: _Command) -> _Command:
    """Add the options of what puts nodes into a folder: `make_folder` and `conflict_strategy`."""
    for option in (
        click.option(
            "--conflict-strategy",
            type=Word(STRATEGIES),
            default="new",
            show_default=True,
            help="For a name that is taken: leave it, fail, use the alternative name, or replace what is there.",
        ),
        click.option("--make-folder", is_flag=True, help="Make the folder and its parents where missing."),
    ):
        command = option(command)
    return command


def connect() -> Backend:
    """Return the backend that paths without a URI mean; it is opened when it is asked for first.

    Raises:
        NotLoggedIn: Neither the command line, the environment nor the T9k config names a backend.
    """
    from t9k.config import CONFIG, config_path

    saved = CONFIG["aistore_host"]
    wanted: str | None = click.get_current_context().find_root().obj or saved
    if wanted is None:
        raise NotLoggedIn(
            "no backend is chosen; log in with: em login file:///data/em, give --backend URI, or give a URI "
            "instead of a path: file:///data/em#/alice/mnist"
        )
    # The key belongs to the host that it was saved with.
    try:
        return session.login(wanted, api_key=CONFIG["api_key"] if is_same_root(wanted, saved) else None)
    except InvalidURI as error:
        if wanted == os.environ.get("EM_BACKEND"):
            where = "the environment variable EM_BACKEND"
        elif wanted == saved:
            where = f"the aistore_host of {config_path()}"
        else:
            raise
        raise type(error)(f"{where}: {error}") from error


def remote(place: str) -> tuple[Backend, str]:
    """Return the backend and absolute path of a place that is not local; a URI without a fragment means its root.

    Raises:
        NotLoggedIn: See `connect`.
        InvalidURI, InvalidName: The argument cannot be used.
    """
    if not is_uri(session.check_place(place)):
        connect()
    elif parse(place).folder is None:
        refuse_nested(place)
        place = f"{place.rstrip('#')}#/"
    return session.resolve(place)


def _expanded(place: str) -> Path:
    return Path(os.path.expanduser(place))  # noqa: PTH111 - Path's raises where nobody has such a home


def local_node(place: str) -> Path | None:
    """Return the directory of a local run or artifact, damaged ones included; None when a place is something else."""
    if is_uri(place):
        return None
    directory = _expanded(place)
    return directory if _is_node(directory) else None


def local_nodes(place: str) -> list[Path]:
    """Return the local runs and artifacts that a place means: the one, those in it, or those of a working directory.

    Returns:
        Their directories; empty when the place is no local directory, or has none.
    """
    if is_uri(place):
        return []
    directory = _expanded(place)
    if _is_node(directory):
        return [directory]
    if named := node_called(place):
        return [named]
    parents = [directory / layout.PRIVATE / f"{kind.lower()}s" for kind in (RUN, ARTIFACT)]
    return layout.nodes(directory) or [node for parent in parents for node in layout.nodes(parent)]


def node_called(name: str) -> Path | None:
    """Return the local run or artifact whose directory has a name, where new ones are made; None if no directory has it."""
    if is_uri(name) or Path(name).name != name:
        return None
    found = (layout.parent_directory(kind) / name for kind in (RUN, ARTIFACT))
    return next(filter(_is_node, found), None)


def kind_of(directory: Path) -> str | None:
    """Return whether a local directory is a run or an artifact; None for a damaged one."""
    try:
        return layout.kind_of(directory)
    except (CorruptLocalData, NodeSymlinkError):
        return None


def counted(directories: Sequence[Path]) -> str:
    """Return the number of local runs and artifacts: '2 runs and 1 artifact'."""
    kinds = Counter((kind_of(directory) or "damaged one").lower() for directory in directories)
    return " and ".join(count(number, kind) for kind, number in kinds.items())


def refuse_nested(uri: str) -> None:
    """Keep a command that writes from making a store inside another one, where '#' was forgotten.

    Args:
        uri: Of the root of a store.

    Raises:
        InvalidURI: The path is a folder of another local store.
    """
    root = parse(uri)
    around = meant_inside(root)
    if around is not None:
        raise InvalidURI(f"{root.text} is inside the store {around[0]}; did you mean {around[1]}?")


def require_store(backend: Backend) -> None:
    """Make sure that an empty place is a store, and not a place that nothing was ever kept in.

    Args:
        backend: Where nothing was found; the one that `em login` saved may be empty.

    Raises:
        NotFound: The place is no store.
    """
    if not isinstance(backend, TellsState) or backend.is_there():
        return
    root = parse(backend.uri)
    is_gone = root.scheme == "file" and not Path(root.path).is_dir()
    is_given = not session.is_current(backend) or click.get_current_context().find_root().obj is not None
    if is_gone or is_given:
        state = "no such directory" if is_gone else "nothing was ever uploaded there"
        raise NotFound(
            f"there is no store at {backend.uri}: {state}; check its URI, whose path in the store stands behind '#'"
        )


def require_local(place: str) -> list[Path]:
    """Like `local_nodes`, for what has to be local.

    Raises:
        NotALocalNode: The path is no local run or artifact.
    """
    found = local_nodes(place)
    if not found:
        what = "has no run or artifact" if _expanded(place).is_dir() else "is no directory"
        raise NotALocalNode(f"{place} {what}; give a directory like .em/runs or one in it; em ls lists what is here")
    return found


def located(place: str) -> tuple[Backend, str]:
    """Like `remote`, for a place that was looked for here and not found.

    Raises:
        NotALocalNode: The argument can only be a local path.
        NotLoggedIn: See `connect`.
    """
    if place in (".", "..") or place.startswith(_LOCAL_ONLY):
        raise _not_local(place)
    is_directory = not is_uri(place) and place != "/" and Path(place).is_dir()
    try:
        backend, path = remote(place)
        if is_directory:  # it may be called like a folder in the backend, such as /root
            backend.stat(path)
    except NotFound as error:
        raise _not_local(place) from error
    except NotLoggedIn as error:
        if is_directory:
            raise _not_local(place) from error
        raise NotLoggedIn(f"{place!r} is no local run or artifact{_near_here(place)}, and {error}") from error
    return backend, path


def node_at(backend: Backend, path: str, instead: str) -> Node:
    """Return the run or artifact at a path in a backend.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.
        instead: What to do with a folder.

    Raises:
        NotFound: No node has this path.
        InvalidInput: The path is a folder.
    """
    node = backend.stat(path)
    if node.kind == FOLDER:
        # The root is a folder even where there is no bucket.
        if node.generation == 0 and not backend.list(node.path):
            require_store(backend)
        raise InvalidInput(f"{path} in {backend.uri} is a folder; {instead}")
    return node


def node_uri(backend: Backend, node: Node) -> str:
    """Return the URI of a node, with its generation."""
    return uri_of_node(backend.uri, node.path, node.generation)


def _near_here(place: str) -> str:
    """Return the local run or artifact that was probably meant, for a message; '' where none is alike."""
    if is_uri(place):
        return ""
    nodes = {node.name: node for node in (*layout.nodes(_expanded(place).parent), *local_nodes("."))}
    close = nearest(Path(place).name, nodes)
    return "" if close is None else f" (did you mean {nodes[close]}?)"


def _not_local(place: str) -> NotALocalNode:
    guess = _near_here(place)
    return NotALocalNode(
        f"{place} is no run or artifact, and holds none{guess}; em ls lists those that are here, "
        "and a store is listed by its URI, file:///..."
    )


def _is_node(directory: Path) -> bool:
    return layout.is_node(directory)
