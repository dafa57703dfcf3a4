"""Which hosts are this machine, and which are reached from this machine alone."""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds answer with credentials beside the link-local 169.254.169.254: Azure, Alibaba Cloud, Oracle Cloud, Amazon EC2.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")),
)

# Prefixes whose last 32 bits are an IPv4 address: NAT64 (RFC 6052, RFC 8215), IPv4-compatible ones (RFC 4291).
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")))


def address_of_host(host: str) -> Address | None:
    """Return the address that a host is written as; None for a name.

    Args:
        host: As in a URL, without brackets; also the forms that the system reads as IPv4: `127.1`, `0x7f000001`.
    """
    text = host.partition("%")[0].strip("[]")
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text)) if text[:1].isdigit() else None
    except (OSError, UnicodeError):
        return None


def is_this_machine(host: str) -> bool:
    """Return whether a host of a URL is certainly this machine, by its loopback address; no name is looked up.

    Args:
        host: Its name or address, without brackets.
    """
    name = host.lower().rstrip(".")
    address = address_of_host(name)
    if address is None:
        return name == "localhost" or name.endswith(".localhost")
    return is_loopback(address)


def is_loopback(address: Address) -> bool:
    """Return whether an address leads to this machine: the unspecified one does too."""
    return any(form.is_loopback or form.is_unspecified for form in _forms(address))


def is_link_local(address: Address) -> bool:
    """Return whether only this machine, or a service of its cloud for this machine alone, answers at an address."""
    return any(form.is_link_local or form in _METADATA for form in _forms(address))


def _forms(address: Address) -> list[Address]:
    """Return an address, and the IPv4 addresses that it stands for where a network translates it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED) and int(address) > 1:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(form for form in inner if form is not None)]
