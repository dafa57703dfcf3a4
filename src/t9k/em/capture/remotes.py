"""The address of a git remote without what may be secret, in every form that git takes and in those that people mistype."""

from __future__ import annotations

import re

from t9k.em.masking import MASK, mask_keys

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_HELPER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)::(?P<address>.*)", re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_QUERY = re.compile(r"[?#]")
_PORT = re.compile(r"[^/\s:@]*:\d*(/|$)")
_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
"""What a user of a system may be called; a token is longer, or of a known form."""

_HEX = re.compile(r"[0-9a-fA-F]{20,}")


def without_credentials(url: str) -> str:
    """Return the address of a remote without passwords, tokens and queries; the user stays for ssh only, where it is part of the address.

    Args:
        url: As the configuration has it: a URL, `user@host:path`, a path, or `helper::address`.
    """
    helper = _HELPER.fullmatch(url)
    if helper is not None:
        # What `ext` and other programs are given is a command line, which may hold anything.
        address = without_credentials(helper["address"]) if _URL.match(helper["address"]) else MASK
        return f"{helper['name']}::{address}"
    found = _URL.fullmatch(url)
    if found is not None:
        return mask_keys(f"{found['scheme']}://{_of_url(found['scheme'].lower(), found['rest'])}")
    return mask_keys(_of_scp(url))


def _of_url(scheme: str, rest: str) -> str:
    if scheme == "file" and rest.startswith("/"):
        return _QUERY.split(rest)[0]
    login, host = _split(rest)
    host = _QUERY.split(host)[0]
    user = login.partition(":")[0] if scheme.rpartition("+")[2] in ("ssh", "sftp", "scp") else ""
    return f"{user}@{host}" if _is_login(user) else host


def _split(rest: str) -> tuple[str, str]:
    """Return the text before the host, and the text behind it. A password may hold a bare `/`, `?` or `@`; then nothing is taken for a port."""
    authority = rest.partition("/")[0]
    if "@" in authority:
        login, _, host = authority.rpartition("@")
        return login, host + rest[len(authority) :]
    if ":" in authority and "@" in rest and not _PORT.match(rest):
        login, _, host = rest.rpartition("@")
        return login, host
    return "", rest


def _of_scp(url: str) -> str:
    """Of `user@host:path`, or a path on this machine."""
    if _DRIVE.match(url) or url.startswith(("/", ".", "~")) or "@" not in url:
        return url
    colon, at = url.find(":"), url.find("@")
    if 0 <= colon < at:  # a password; no host of a remote has an @ behind its colon unless there is one
        login, _, place = url.rpartition("@")
        user = login.partition(":")[0]
    else:
        user, _, place = url.partition("@")
        if "@" in place.partition(":")[0]:
            place = place.partition(":")[0].rpartition("@")[2] + place[place.find(":") :] * (":" in place)
    place = _QUERY.split(place)[0]
    return f"{user}@{place}" if _is_login(user) else place


def _is_login(user: str) -> bool:
    return bool(_LOGIN.fullmatch(user)) and not _HEX.fullmatch(user) and mask_keys(user) == user
