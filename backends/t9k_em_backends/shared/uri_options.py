"""The options of a URI, checked."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from t9k.em.errors import InvalidURI
from t9k.em.typos import did_you_mean

if TYPE_CHECKING:
    from t9k.em.uris import URI

_URL = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)(:(?P<port>[0-9]{1,5}))?(/[!$%&'()*+,./0-9:;=@_a-z~-]*)?",
    re.IGNORECASE | re.ASCII,
)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def check_known(uri: URI, known: Collection[str]) -> None:
    """Refuse options that nobody reads.

    Raises:
        InvalidURI: An option is unknown.
    """
    for name in sorted(uri.options.keys() - set(known)):
        raise InvalidURI(
            f"{uri.text} takes no option {name!r}; it takes {', '.join(sorted(known))}{did_you_mean(name, known)}"
        )


def flag(uri: URI, name: str) -> bool | None:
    """Return a boolean option; None where it is not given."""
    value = uri.options.get(name)
    if value is None:
        return None
    if value.lower() not in _BOOLEANS:
        raise InvalidURI(f"{uri.text}: {name} is true or false, not {value!r}")
    return _BOOLEANS[value.lower()]


def seconds(uri: URI, name: str) -> float | None:
    """Return an option that is a time; None where it is not given."""
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
    """Return an option that is the URL of a service, '' by default."""
    value = uri.options.get(name, "")
    return service_url(value, f"{uri.text}: {name}") if value else ""


def service_url(text: str, what: str) -> str:
    """Return the URL of a service as it was configured, without slashes at its end.

    Drivers react to a malformed one in different ways: some end the thread.

    Args:
        text: What was configured.
        what: Where that was, for the error.

    Raises:
        InvalidURI: The option is no URL.
    """
    found = _URL.fullmatch(text)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        shown = "" if "@" in text else f" {text!r}"
        example = f"'https://{text}'" if _URL.fullmatch(f"https://{text}") else "'https://host:9000'"
        raise InvalidURI(f"{what}{shown} is no URL of a service; write it like {example}")
    scheme, _, rest = text.partition("://")
    return f"{scheme.lower()}://{rest}".rstrip("/")
