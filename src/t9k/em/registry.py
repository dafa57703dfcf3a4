"""Find the backend for a URI among those that installed packages declare.

A package adds a scheme by an entry point in the group `t9k.em.backends`: its name is the scheme, its value a class
that implements `t9k.em.backend.Backend`. The one called `*` is asked for every scheme that none has the name of.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from t9k.em.errors import UnknownScheme
from t9k.em.typos import SCHEMES, nearest_scheme
from t9k.em.uris import URI, parse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

    from t9k.em.backend import Backend

GROUP = "t9k.em.backends"
ANY = "*"


@cache
def _declared() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and a run needs no backend

    return {point.name: point for point in entry_points(group=GROUP)}


def schemes() -> list[str]:
    """Return the URI schemes that installed packages serve by name, sorted."""
    return sorted(_declared().keys() - {ANY})


def unknown_scheme(scheme: str, more: Iterable[str] = ()) -> UnknownScheme:
    """Return the error for a scheme that nothing serves, with the one that was probably meant.

    Args:
        scheme: What was given.
        more: Schemes that are served besides those of installed packages.
    """
    more = sorted(more)
    known = [*schemes(), *more]
    meant = nearest_scheme(scheme, [*(name for name in SCHEMES if name in known), *known])
    others = ", and what fsspec has a driver for" if more else ""
    return UnknownScheme(
        f"no installed backend serves {scheme}://; installed are: "
        f"{', '.join(f'{name}://' for name in schemes())}{others}"
        f"{'' if meant in (None, scheme) else f'; did you mean {meant}://?'}"
    )


def backend_class(scheme: str) -> type[Backend]:
    """Load the backend class for a scheme.

    Raises:
        UnknownScheme: No installed package serves it.
        MissingExtra: The backend needs an optional library that is not installed.
    """
    point = _declared().get(scheme) or _declared().get(ANY)
    if point is None:
        raise unknown_scheme(scheme)
    loaded: type[Backend] = point.load()
    return loaded


def open_backend(uri: str | URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Backend:
    """Make the backend that a URI or a local path names; nothing is connected yet.

    Args:
        uri: For example 'file:///data/em', '/data/em', 'memory://test'.
        api_key: For backends with accounts.
        timeout_s: How long to wait for an answer, for backends on a network.

    Raises:
        InvalidURI: The URI names no backend.
    """
    parsed = parse(uri) if isinstance(uri, str) else uri
    return backend_class(parsed.scheme).from_uri(parsed, api_key=api_key, timeout_s=timeout_s)
