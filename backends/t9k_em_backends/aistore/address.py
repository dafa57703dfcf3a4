"""Where a server is, and which API keys can be one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import frozen

from t9k.em.errors import InvalidURI
from t9k_em_backends.shared.hosts import is_this_machine
from t9k_em_backends.shared.uri_options import check_known, flag, seconds

if TYPE_CHECKING:
    from t9k.em.uris import URI

DEFAULT_TIMEOUT_S = 60.0

_KEY = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OPTIONS = ("direct", "insecure", "timeout")


@frozen(kw_only=True)
class Address:
    """What the URI of a server says.

    Attributes:
        url: Its URL, without options; paths of the API come after it.
        uri: What opens it again.
        timeout_s: How long to wait for data, in seconds.
        direct: Whether large files may go straight to the store behind the server.
    """

    url: str
    uri: str
    timeout_s: float
    direct: bool


def address_of(uri: URI, timeout_s: float | None) -> Address:
    """Read the URI of a server.

    Args:
        uri: The URI.
        timeout_s: Of the caller; it wins over the one in the URI.

    Raises:
        InvalidURI: The URI names no host or an unknown option, or the API key would travel in plain text.
    """
    check_known(uri, _OPTIONS)
    insecure = flag(uri, "insecure") or False
    parts = urlsplit(uri.text)
    try:
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidURI(f"{uri.text}: the port is no number up to 65535; write it like https://host:8443") from error
    if not host or any(part.isspace() for part in uri.text):
        raise InvalidURI(f"{uri.text} names no host; write it like https://host/t9k/aistore/server")
    if uri.scheme == "http" and not insecure and not is_this_machine(host):
        raise InvalidURI(
            f"{uri.text} is not encrypted, and everybody on the way could read the API key; use https://, or add "
            "'?insecure=true' where the network is trusted"
        )
    if timeout_s is None:
        timeout_s = seconds(uri, "timeout")
    elif not 0 < timeout_s < float("inf"):
        raise InvalidURI(f"{uri.text}: the timeout is a number of seconds, not {timeout_s!r}")
    return Address(
        url=uri.text,
        uri=f"{uri.text}?insecure=true" if insecure else uri.text,
        timeout_s=DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s,
        direct=flag(uri, "direct") is not False,
    )


def is_key(text: str) -> bool:
    """Return whether a text has the form of an API key."""
    return _KEY.fullmatch(text) is not None
