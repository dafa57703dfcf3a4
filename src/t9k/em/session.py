"""The backend that `login` chose for this process, and what a folder argument means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from t9k.config_file import saved_store
from t9k.em.backend import MakesRoot, MarksStore
from t9k.em.errors import InvalidInput, NotFound, NotLoggedIn
from t9k.em.names import absolute
from t9k.em.nesting import meant_inside
from t9k.em.registry import open_backend
from t9k.em.uris import URI, check_path_text, is_uri, parse, root_of

if TYPE_CHECKING:
    from t9k.em.backend import Backend

DEFAULT_FOLDER = "default"

_HOW = (
    "call em.login('file:///data/em'), or em.login() for the one that the command 'em login' saved, "
    "or give a URI instead of a path"
)

_current: Backend | None = None
_current_root = ""
_by_uri: dict[str, Backend] = {}


def login(
    uri: str, *, api_key: str | None = None, timeout_s: float | None = None, is_accepted: bool = False
) -> Backend:
    """Open a backend and make it the one that paths without a URI mean.

    The store that `em login` has seen there is expected there.

    Args:
        uri: URI or local path of the backend.
        api_key: For backends with accounts.
        timeout_s: Seconds to wait for an answer.
        is_accepted: Whether any store is taken that is there, and its root is made with all above it.

    Raises:
        StoreGone: The directory in which its root would lie is not there.
    """
    global _current, _current_root  # the session is one per process, as the API reference has it
    backend = open_backend(uri, api_key=api_key, timeout_s=timeout_s)
    if not is_accepted:
        _expect_saved(backend, uri)
    elif isinstance(backend, MakesRoot):
        backend.make_root()
    backend.open()
    logout()
    _current, _current_root = backend, root_of(parse(uri))
    return backend


def logout() -> None:
    """Close the session's backend; without one nothing happens."""
    global _current  # noqa: PLW0603 - see login
    if _current is not None:
        _current.close()
    _current = None


def current() -> Backend:
    """Return the backend that `login` chose.

    Raises:
        NotLoggedIn: No backend was chosen.
    """
    if _current is None:
        raise NotLoggedIn(f"no backend is chosen; {_HOW}")
    return _current


def is_current(backend: Backend) -> bool:
    """Return whether a backend is the one that `login` chose."""
    return backend is _current


def backend_at(uri: str) -> Backend:
    """Return the backend with a URI: the session's if it is that, else one that is kept for later calls.

    Raises:
        InvalidURI: The URI names no backend.
    """
    if _current is not None and _current.uri == uri:
        return _current
    return _kept(parse(uri))


def resolve(place: str) -> tuple[Backend, str]:
    """Find the backend and the absolute path that a folder or node argument means.

    Args:
        place: A path in the session's backend, or a URI whose fragment is a path in another backend, which is used
            for this call only. Relative paths lie under `/<user>/`. A URI without a fragment means the default folder.

    Raises:
        NotLoggedIn: The argument is a path, and no backend was chosen.
        InvalidURI, InvalidName: The argument cannot be used.
    """
    place = check_place(place)
    if not is_uri(place):
        backend = current()
        return backend, _below_user(backend, place)
    uri = parse(place)
    backend = _kept(uri)
    return backend, _below_user(backend, DEFAULT_FOLDER if uri.folder is None else uri.folder)


def _below_user(backend: Backend, path: str) -> str:
    """Return the absolute path; who the user is, which nobody may know, is asked for relative ones only."""
    return absolute(path, "" if path.startswith("/") else backend.whoami())


def root(place: str) -> str:
    """Return the URI, with options, by which another process opens the backend that `resolve` finds for a place.

    Raises:
        NotLoggedIn, InvalidURI: See `resolve`.
    """
    if is_uri(place):
        return root_of(parse(place))
    current()
    return _current_root


def text_of_place(place: str | os.PathLike[str]) -> str:
    """Return a folder, path or URI that a caller gave, as text.

    Raises:
        InvalidInput: The argument is neither text nor a path.
    """
    text = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(text, str):
        raise InvalidInput(f"{place!r} is no folder, path or URI; give a str like 'cv/mnist' or 'file:///data/em'")
    return text


def check_place(place: str | os.PathLike[str]) -> str:
    """Return a folder or node argument as text, unless it was meant to be a URI but is not one.

    Raises:
        InvalidInput: The argument is neither text nor a path.
        InvalidURI: The text looks like a URI, but is not one.
    """
    text = text_of_place(place)
    return text if is_uri(text) else check_path_text(text)


def locate(path: str) -> tuple[Backend, str]:
    """Find the backend and absolute path that the path of a node means, for one that is no local directory.

    Raises:
        NotLoggedIn: The argument is a path, and no backend was chosen.
        NotFound: The argument is the URI of a whole store.
    """
    if is_uri(path):
        if (uri := parse(path)).folder is None:
            if around := meant_inside(uri):
                raise NotFound(f"{path} is inside the store {around[0]}; did you mean {around[1]}?")
            raise NotFound(
                f"{path} names a store and no node in it; add '#' and its path, like '#/alice/default/mnist'"
            )
    elif check_path_text(path) and _current is None:
        raise NotLoggedIn(f"{path!r} is no local directory of that kind, and no backend is chosen; {_HOW}")
    return resolve(path)


def _kept(uri: URI) -> Backend:
    if _current is not None and root_of(uri) == _current_root:  # which may have been given a key
        return _current
    key = f"{uri.text}?{sorted(uri.options.items())}"
    if key not in _by_uri:
        backend = open_backend(uri)
        _expect_saved(backend, uri.text)
        _by_uri[key] = backend
    return _by_uri[key]


def _expect_saved(backend: Backend, uri: str) -> None:
    """Let a backend refuse every other store than the one that the T9k config has seen there."""
    if isinstance(backend, MarksStore) and (saved := saved_store(uri)):
        backend.expect_store(saved, is_accepted=True)
