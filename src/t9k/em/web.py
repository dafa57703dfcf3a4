"""Requests to web servers that somebody else named: every hop is checked, and the address that was checked is the one connected to.

The URI of a reference may have been written by anybody, and its server may redirect anywhere. Only `http` and `https` are
spoken. Addresses at which clouds keep credentials are never asked, and those of private networks only as far as the
caller allows them.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import socket
from collections.abc import Callable, Collection, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs
import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from t9k.em.errors import BackendUnavailable, InvalidInput, InvalidURI

MAX_REDIRECTS = 5
HOSTS_VARIABLE = "EM_REFERENCE_HOSTS"
SCHEMES = ("http", "https")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Sizes and ETags are those of the plain bytes only if the server does not compress them.
_HEADERS = {"Accept-Encoding": "identity"}

# Where clouds answer with credentials beside the link-local 169.254.169.254: Azure's wire server, Alibaba Cloud, Oracle
# Cloud, and the IPv6 address of Amazon EC2.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")),
)
# Prefixes whose last 32 bits are an IPv4 address: NAT64 (RFC 6052, RFC 8215) and the deprecated IPv4-compatible ones (RFC 4291).
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")))


class PrivateHosts:
    """The hosts in private networks that may be asked.

    Args:
        text: Names, which may hold `*`, addresses and networks, separated by commas: 'files.example, *.lab.example, 10.0.0.0/8'.

    Raises:
        InvalidInput: An entry with a '/' is no network.
    """

    def __init__(self, text: str) -> None:
        entries = [entry.strip().lower().strip("[]") for entry in text.split(",") if entry.strip()]
        try:
            self._networks = [ipaddress.ip_network(entry, strict=False) for entry in entries if "/" in entry]
        except ValueError as error:
            raise InvalidInput(f"{HOSTS_VARIABLE}: {error}; a network looks like 10.0.0.0/8") from error
        self._hosts = [entry for entry in entries if "/" not in entry]

    @classmethod
    def from_environment(cls) -> PrivateHosts:
        """Read `EM_REFERENCE_HOSTS`.

        Raises:
            InvalidInput: An entry of the variable is no network.
        """
        return cls(os.environ.get(HOSTS_VARIABLE, ""))

    def allow(self, host: str, address: Address) -> bool:
        """Return whether a host may be asked at one of its addresses."""
        names = (host.lower(), str(address))
        return any(fnmatch.fnmatchcase(name, entry) for name in names for entry in self._hosts) or any(
            address in network for network in self._networks if network.version == address.version
        )


class _AnyHost(PrivateHosts):
    """Every host, but for those that are never asked: for an address that the user of this process typed."""

    def __init__(self) -> None:
        super().__init__("")

    def allow(self, host: str, address: Address) -> bool:
        del host, address
        return True


ANY_HOST = _AnyHost()


def request(
    method: str, uri: str, *, timeout_s: Callable[[], float | tuple[float, float]], private: PrivateHosts
) -> requests.Response:
    """Send a request and follow redirects, each checked; the body of the answer is still to be read.

    Neither credentials (`.netrc`, those in an address) nor cookies are sent. Proxies and certificates are those that the
    environment names for `requests`.

    Args:
        method: HEAD or GET.
        uri: Where to begin.
        timeout_s: Asked before every hop: seconds to connect and between two pieces of the answer, or one number for both.
        private: The hosts in private networks that may be asked. After a hop in the internet, none is.

    Raises:
        InvalidURI: The URI or a redirect leads where it must not, or there are too many redirects.
        BackendUnavailable: The host is unknown, or the server compresses what it was asked to send as it is.
        requests.RequestException: The server cannot be reached, or failed.
    """
    was_public = False
    for _ in range(MAX_REDIRECTS + 1):
        hop = _Hop.check(uri, private, was_public=was_public)
        was_public = was_public or hop.is_public
        response = hop.ask(method, timeout_s())
        location = requests.Session().get_redirect_target(response)
        if location is None:
            if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
                response.close()
                raise BackendUnavailable(
                    f"{hop.host} compresses what it was asked to send as it is; download it yourself and use add_file"
                )
            return response
        response.close()
        uri = _join(uri, location)
    raise InvalidURI(f"the server redirects more than {MAX_REDIRECTS} times; refer to where the object really is")


@attrs.frozen(kw_only=True)
class _Hop:
    """One request that may be sent.

    Attributes:
        uri: Its address.
        host: The name in the address.
        addresses: Those of the host, all checked; empty when only a proxy knows them.
        is_public: Whether it is in the internet.
    """

    uri: str
    host: str
    addresses: Collection[Address]
    is_public: bool

    @classmethod
    def check(cls, uri: str, private: PrivateHosts, *, was_public: bool) -> _Hop:
        """Resolve a host and refuse an address that must not be asked.

        Args:
            uri: The address.
            private: The hosts in private networks that may be asked.
            was_public: Whether a hop before this one was in the internet.
        """
        parts = urlsplit(uri)
        host = parts.hostname
        if parts.scheme.lower() not in SCHEMES or not host:
            raise InvalidURI("the server redirects to something that is neither http nor https; it is not followed")
        addresses = _resolve(uri, host)
        seen = [form for address in addresses for form in _forms(address)]
        if any(form.is_link_local or form in _METADATA for form in seen):
            raise InvalidURI(
                f"{host} is a link-local address or one of a cloud's metadata, which is never asked for an object"
            )
        closed = [form for form in seen if not form.is_global or form.is_multicast]
        if closed and was_public:
            raise InvalidURI(f"the server redirects to the private address {host}; it is not followed")
        refused = next((form for form in closed if not private.allow(host, form)), None)
        if refused is not None:
            raise InvalidURI(
                f"{host} is in a private network, which references may not reach unless you allow it; "
                f"if you trust who wrote the reference, set {HOSTS_VARIABLE}={host} and try again"
            )
        return cls(uri=uri, host=host, addresses=addresses, is_public=not closed)

    def ask(self, method: str, timeout_s: float | tuple[float, float]) -> requests.Response:
        """Send the request: by a proxy of the environment if there is one, else to the addresses that were checked, in turn.

        What listens on this machine is asked without a proxy.
        """
        with _Session() as session:
            session.auth = _send_no_credentials
            settings: dict[str, Any] = dict(
                session.merge_environment_settings(self.uri, {}, stream=True, verify=None, cert=None)
            )
            session.trust_env = False
            options: dict[str, Any] = settings | {"timeout": timeout_s, "allow_redirects": False, "headers": _HEADERS}
            is_here = any(form.is_loopback for address in self.addresses for form in _forms(address))
            if is_here:
                options["proxies"] = {}
            elif select_proxy(self.uri, settings["proxies"]) or not self.addresses:
                return session.request(method, self.uri, **options)
            *others, last = dict.fromkeys(self.addresses)
            for address in others:
                try:
                    return self._ask_at(address, session, method, options)
                except requests.ConnectionError:
                    continue
            return self._ask_at(last, session, method, options)

    def _ask_at(
        self, address: Address, session: requests.Session, method: str, options: dict[str, Any]
    ) -> requests.Response:
        """Connect to one address and speak to it as to the host, in TLS too, so that nothing resolves the name again."""
        parts = urlsplit(self.uri)
        literal = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004 - of IPv6
        port = f":{parts.port}" if parts.port is not None else ""
        name = f"[{self.host}]" if ":" in self.host else self.host
        session.mount("https://", _NamedHost(self.host))
        headers = options["headers"] | {"Host": f"{name}{port}"}
        response = session.request(
            method, parts._replace(netloc=f"{literal}{port}").geturl(), **options | {"headers": headers}
        )
        response.url = self.uri
        return response


class _Session(requests.Session):
    """Sees no redirects: requests would look at their targets, and read their bodies whatever the size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No target."""


class _NamedHost(HTTPAdapter):
    """Check the certificate for a name, while the address is a number."""

    def __init__(self, host: str) -> None:
        self._host = host
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, server_hostname=self._host, assert_hostname=self._host)


def _send_no_credentials(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand where credentials would, so that neither `.netrc` nor the address gives any."""
    return prepared


def _resolve(uri: str, host: str) -> list[Address]:
    """Return the addresses of a host; none when only a proxy knows them."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if select_proxy(uri, get_environ_proxies(uri)):
            return []
        raise BackendUnavailable(f"the host {host} is unknown; check the network and the address") from error
    return [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


def _forms(address: Address) -> Iterator[Address]:
    """Yield an address, and the IPv4 addresses that it stands for where a network translates it."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED) and int(address) > 1:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    yield from filter(None, inner)


def _join(uri: str, location: str) -> str:
    try:
        return urljoin(uri, location)
    except ValueError as error:
        raise InvalidURI("the server redirects to something that is no address; it is not followed") from error
