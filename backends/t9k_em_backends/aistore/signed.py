"""Which requests that a server signed are sent: a hostile one must not make a client ask what only the client can reach."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from t9k_em_backends.shared.hosts import Address, address_of_host, is_link_local, is_loopback, is_this_machine

if TYPE_CHECKING:
    from t9k.em.records import SignedRequest

METHODS = ("GET", "PUT")

# No Authorization, Cookie or Host, which would speak for somebody else, and nothing that changes how long the request is.
_HEADER = re.compile(
    r"content-(type|md5|length|disposition)|if-none-match|cache-control|x-(amz|goog|ms)-[a-z0-9-]+", re.ASCII
)
_VALUE = re.compile(r"[\x20-\x7e]*")


class Refused(Exception):
    """A signed request is not sent, or the store does not take it; never leaves this package."""


class ForbiddenAddress(OSError):
    """A host of a signed request is this machine, or something that only this machine reaches."""


def place_of(signed: SignedRequest) -> str:
    """Return where a signed request goes, without what makes it valid.

    Raises:
        Refused: The URL names no host.
    """
    try:
        parts = urlsplit(signed.url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise Refused("it is signed for something that is no address") from None
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def check_signed(signed: SignedRequest, method: str, server: Hosts) -> None:
    """Refuse a request that no server signs for a file.

    Args:
        signed: The request.
        method: What it has to do.
        server: Where the server is.

    Raises:
        Refused: The request does something else, goes where it must not, in the clear where the server does not, or with a header that
            is not of a store.
    """
    place = place_of(signed)
    parts = urlsplit(signed.url)
    if signed.method != method or method not in METHODS:
        raise Refused(f"it is signed for another method than {method}")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise Refused("it is signed for something that is no address of a store")
    if parts.scheme != "https" and server.is_encrypted:
        raise Refused(f"{place} is not encrypted, and the server is")
    for name, value in signed.headers.items():
        if not _HEADER.fullmatch(name.lower()) or not _VALUE.fullmatch(value):
            raise Refused(f"{place}: it is signed with a header that no store needs")
        if name.lower() == "content-length" and value != str(signed.size):
            raise Refused(f"{place}: it is signed for another length than it has")
    address = address_of_host(parts.hostname)
    if address is not None:
        try:
            server.check(address)
        except ForbiddenAddress as error:
            raise Refused(f"{place}: {error}") from None
    elif is_this_machine(parts.hostname) and not server.is_here:
        raise Refused(f"{place} is this machine, and the server is not")


def headers_of(signed: SignedRequest) -> dict[str, str]:
    """Return the headers to send; how long the body is says who sends it."""
    return {name: value for name, value in signed.headers.items() if name.lower() != "content-length"}


class Hosts:
    """Which addresses a server may send this client to.

    Args:
        url: Of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._addresses: list[Address] | None = None
        self.is_encrypted = parts.scheme == "https"

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine."""
        return is_this_machine(self._host) or any(map(is_loopback, self._of_server()))

    def check(self, address: Address) -> None:
        """Refuse this machine and its neighbourhood, unless the server is there.

        Raises:
            ForbiddenAddress: The address is on this machine or link, and the server is not.
        """
        if is_loopback(address) and not self.is_here:
            raise ForbiddenAddress(f"{address} is this machine, and the server is not")
        if is_link_local(address) and not any(map(is_link_local, self._of_server())):
            raise ForbiddenAddress(f"{address} is reached from this machine alone, and the server is not there")

    def check_text(self, address: str) -> None:
        """Check an address as the system gives it; see `check`."""
        found = address_of_host(address)
        if found is not None:
            self.check(found)

    def _of_server(self) -> list[Address]:
        if self._addresses is None:
            try:
                places = socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):  # only a proxy knows it, so that it is not here
                places = []
            found = [address_of_host(str(place[0])) for *_, place in places]
            self._addresses = [address for address in found if address is not None]
        return self._addresses
