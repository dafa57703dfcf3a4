"""Which proxy the environment names for a URL; decided here alone, so that every driver goes the same way.

The libraries below read `HTTP_PROXY` and `NO_PROXY` each in its own way: one knows networks, another `*.host`, a third
ports. Here an entry of `NO_PROXY` is whatever one of them takes: `*`, a host with all below it (`lab`, `.lab`, `*.lab`), an
address, a network (`10.0.0.0/8`, `fd00::/8`), any of the first two with a port behind a colon.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from t9k.em.errors import BackendError
from t9k_em_backends.shared.hosts import is_this_machine

_PORTS = {"http": 80, "https": 443}
_WITH_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>\d+)")


def proxy_for(url: str) -> str:
    """Return the URL of the proxy by which a URL is reached; '' for none. It may hold a password.

    Args:
        url: What is asked for.

    Raises:
        BackendError: The environment names a proxy of a kind that not all drivers can use.
    """
    from urllib.request import getproxies_environment  # noqa: PLC0415 - slow to import, and local stores need none

    named = getproxies_environment()
    scheme = urlsplit(url).scheme
    kind = next((kind for kind in (scheme, "all") if named.get(kind)), None)
    if kind is None or passes_by(url, named.get("no", "")):
        return ""
    proxy = named[kind] if "://" in named[kind] else f"http://{named[kind]}"
    if not _is_usable(proxy):
        variable = f"{kind.upper()}_PROXY"
        raise BackendError(
            f"{variable} in the environment is no proxy that can be used; write it like http://proxy:3128, or name "
            f"{urlsplit(url).hostname} in NO_PROXY"
        )
    return proxy


def passes_by(url: str, no_proxy: str) -> bool:
    """Return whether a URL is reached without a proxy: on this machine, or because `NO_PROXY` says so.

    A proxy would look for `localhost` on its own machine, and be given what is meant for a service on this one.

    Args:
        url: What is asked for.
        no_proxy: The entries, separated by commas or spaces.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return is_this_machine(host) or any(
        _names(entry, host, port) for entry in no_proxy.lower().replace(",", " ").split()
    )


def _names(entry: str, host: str, port: int) -> bool:
    with_port = _WITH_PORT.fullmatch(entry)
    if with_port is not None:
        if int(with_port["port"]) != port:
            return False
        entry = with_port["host"]
    if entry == "*":
        return True
    address = _address(host)
    if address is not None:
        network = _network(entry)
        return network is not None and address in network
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the addresses that an entry means; one that is a single address is a network of one."""
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _is_usable(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
