"""The options of a URI, checked."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from t9k.em.errors import InvalidURI
from t9k.em.typos import did_you_mean

if TYPE_CHECKING:
    from t9k.em.uris import URI

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def check_known(uri: URI, known: Collection[str]) -> None:
    """Refuses options that nobody reads.

    Raises:
        InvalidURI: There is one.
    """
    for name in sorted(uri.options.keys() - set(known)):
        raise InvalidURI(
            f"{uri.text} takes no option {name!r}; it takes {', '.join(sorted(known))}{did_you_mean(name, known)}"
        )


def flag(uri: URI, name: str) -> bool | None:
    """A boolean option; None where it is not given."""
    value = uri.options.get(name)
    if value is None:
        return None
    if value.lower() not in _BOOLEANS:
        raise InvalidURI(f"{uri.text}: {name} is true or false, not {value!r}")
    return _BOOLEANS[value.lower()]


def seconds(uri: URI, name: str) -> float | None:
    """An option that is a time; None where it is not given."""
    value = uri.options.get(name)
    if value is None:
        return None
    try:
        found = float(value)
    except ValueError:
        found = -1
    if not 0 < found < float("inf"):
        raise InvalidURI(f"{uri.text}: {name} is a number of seconds, not {value!r}")
    return found


def url(uri: URI, name: str) -> str:
    """An option that is the URL of a service, '' by default."""
    value = uri.options.get(name, "")
    if value and not value.startswith(("http://", "https://")):
        raise InvalidURI(f"{uri.text}: {name} {value!r} is no URL; write it like 'https://host:9000'")
    return value.rstrip("/")
