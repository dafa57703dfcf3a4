"""Objects that are only referred to: which key one gets, what is cheap to know about it, and its bytes on request.

A URI may have been written by somebody else, and a server may redirect anywhere: `web` checks every hop.
"""

from __future__ import annotations

import hashlib
import io
import logging
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import HTTPError

from t9k.em import web
from t9k.em.errors import (
    BackendPermissionError,
    BackendUnavailable,
    EMError,
    InvalidInput,
    InvalidKey,
    InvalidURI,
    NodeSymlinkError,
    NotFound,
    SourceChanged,
)
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.disk import explained
from t9k.em.local.files import replacing, write_all
from t9k.em.local.layout import PRIVATE
from t9k.em.names import check_key
from t9k.em.records import CHUNK_BYTES, utc_text

HEAD_TIMEOUT_S = 3.0
GET_TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two pieces of an answer."""
SLOW_S = 60.0
SLOW_BYTES = 1 << 16
"""A server that sends fewer bytes in `SLOW_S` is given up."""
MAX_BYTES = 1 << 36
"""How much is taken of an object whose size was not recorded: 64 GiB."""

_MAX_HEADER_CHARS = 1024
_MAX_SIZE_DIGITS = 18

_log = logging.getLogger(__name__)


def default_key(uri: str) -> str:
    """Return the key of a reference whose user gave none: the last component of the URI's path, percent-decoded.

    Args:
        uri: A URI that `uris.check_reference` accepts.

    Raises:
        InvalidKey: The path has no last component, or one that cannot be a key.
    """
    name = unquote(urlsplit(uri).path.rpartition("/")[2])
    try:
        if name and "/" not in name:
            return check_key(name)
    except InvalidKey as error:
        raise InvalidKey(f"{error}, given as obj_path") from error
    raise InvalidKey(f"the path of {uri!r} does not end with a name; give a key for it as obj_path")


def describe(uri: str) -> dict[str, Any]:
    """Find out what is cheap to know about what a URI refers to; never an error, and at most about 3 seconds.

    Args:
        uri: A URI that `uris.check_reference` accepts.

    Returns:
        Where known, `size` in bytes, `etag` as the server gave it, and `last_modified`: as the server gave it, or for
        a file UTC like `2023-08-17T08:05:24.390002Z`. Empty for other schemes than `file`, `http` and `https`.
    """
    scheme = urlsplit(uri).scheme.lower()
    try:
        if scheme == "file":
            return _describe_file(_local_path(uri))
        if scheme in web.SCHEMES:
            end = time.monotonic() + HEAD_TIMEOUT_S
            with closing(
                web.request("HEAD", uri, timeout_s=lambda: max(0.001, end - time.monotonic()), private=web.ANY_HOST)
            ) as response:
                response.raise_for_status()
                return _describe_answer(response)
    except (EMError, OSError, ValueError) as error:  # requests raises OSErrors, and ValueErrors for odd hosts
        _log.debug("nothing is known about a reference of the scheme %s: %s", scheme, type(error).__name__)
    return {}


def fetch_reference(key: str, data: Mapping[str, Any], directory: Path) -> Path | Below:
    """Give a local file with what a reference refers to.

    A file is given where it is; what a web server has is downloaded once, in the version that was recorded.

    Args:
        key: Key of the object; errors name it, and the file is called like its last component.
        data: `uri`, and where they were recorded `size`, `etag` and `last_modified`.
        directory: Of the artifact; downloads go below its `.em/references/`.

    Raises:
        InvalidInput: The scheme is another than `file`, `http` and `https`.
        InvalidURI: The URI or a redirect leads where it must not, such as into a private network that `EM_REFERENCE_HOSTS`
            does not name.
        NotFound: The URI leads to nothing.
        SourceChanged: The bytes are not those that were recorded.
        BackendPermissionError: The server refuses.
        BackendUnavailable: The server cannot be reached, failed, or ended too early.
    """
    uri = data["uri"]
    scheme = urlsplit(uri).scheme.lower()
    if scheme == "file":
        return _find_file(key, data, _local_path(uri))
    if scheme not in web.SCHEMES:
        raise InvalidInput(
            f"object {key!r} is a reference of the scheme {scheme!r}, which is not fetched here; open its uri with fsspec"
        )
    name = check_key(key).rpartition("/")[2]
    place = Below(directory, f"{PRIVATE}/references/{hashlib.sha256(uri.encode()).hexdigest()}")
    below.make_dirs(place)
    if not _is_downloaded(place / name):
        _download(key, data, place / name)
    return place / name


def open_reference(path: Path | Below) -> BinaryIO:
    """Open what `fetch_reference` gave, for reading."""
    return io.BufferedReader(below.stream(path)) if isinstance(path, Below) else path.open("rb")


def _is_downloaded(target: Below) -> bool:
    """Return whether a file is there; a link in its place is replaced."""
    try:
        return below.is_file(target)
    except NodeSymlinkError:
        return False


# Files.


def _local_path(uri: str) -> Path:
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise InvalidURI(f"{uri!r} names no file on this machine; one looks like 'file:///data/corpus.tar'")
    return Path(path)


def _describe_file(path: Path) -> dict[str, Any]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return {}
    return {
        "size": status.st_size,
        "last_modified": utc_text(datetime.fromtimestamp(status.st_mtime, timezone.utc)),
    }


def _find_file(key: str, data: Mapping[str, Any], path: Path) -> Path:
    try:
        now = _describe_file(path)
    except OSError as error:
        raise NotFound(
            f"object {key!r} refers to {path}, which cannot be looked at: {error.strerror}; put the file back"
        ) from error
    if not now:
        raise NotFound(f"object {key!r} refers to {path}, which is no regular file; put the file back")
    for name in ("size", "last_modified"):
        if name in data and data[name] != now[name]:
            raise _changed(key, name, data[name], now[name])
    return path


def _changed(key: str, name: str, recorded: object, found: object) -> SourceChanged:
    return SourceChanged(
        f"what object {key!r} refers to has changed: its {name} was {recorded!r} and is {found!r}; "
        "put the old one back, or add the reference again"
    )


# The web.


def _describe_answer(response: requests.Response) -> dict[str, Any]:
    found: dict[str, Any] = {}
    size = _announced_size(response)
    if size is not None:
        found["size"] = size
    for name, header in (("etag", "ETag"), ("last_modified", "Last-Modified")):
        value = response.headers.get(header, "")
        if value and len(value) <= _MAX_HEADER_CHARS and value.isprintable():
            found[name] = value
    return found


def _announced_size(response: requests.Response) -> int | None:
    """Return the number of bytes that the server announces; None without an announcement."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_SIZE_DIGITS else None


def _download(key: str, data: Mapping[str, Any], target: Below) -> None:
    try:
        _fetch(key, data, target)
    except (requests.RequestException, HTTPError, UnicodeError) as error:
        kind = type(error).__name__
    else:
        return
    # Out here it has neither cause nor context, which some programs pickle: their texts repeat the address, and after a
    # redirect that may be a signed one.
    raise BackendUnavailable(
        f"object {key!r} could not be fetched from {_host(data['uri'])} ({kind}); check the network and try again"
    )


def _fetch(key: str, data: Mapping[str, Any], target: Below) -> None:
    private = web.PrivateHosts.from_environment()
    with closing(web.request("GET", data["uri"], timeout_s=lambda: GET_TIMEOUT_S, private=private)) as response:
        _check_status(key, response)
        found = _describe_answer(response)
        for name in ("size", "etag"):
            if name in data and name in found and data[name] != found[name]:
                raise _changed(key, name, data[name], found[name])
        announced = found.get("size")
        expected = data.get("size", announced)
        with explained("write", target), replacing(target) as fd:
            size = _write(key, fd, response.raw.stream(CHUNK_BYTES, decode_content=False), expected)
            if announced is not None and size < announced:
                raise BackendUnavailable(f"the answer for object {key!r} ended after {size} bytes; try again")
            if expected is not None and size != expected:
                raise _changed(key, "size", expected, size)


def _write(key: str, fd: int, chunks: Iterable[bytes], limit: int | None) -> int:
    """Write the bytes that arrive, and stop soon after the limit is passed.

    Returns:
        The number of bytes written.
    """
    size = checked_size = 0
    checked_s = time.monotonic()
    for chunk in chunks:
        size += len(chunk)
        write_all(fd, chunk)
        if limit is not None and size > limit:
            break
        if size > MAX_BYTES and limit is None:
            raise BackendUnavailable(
                f"the answer for object {key!r} does not end after {size} bytes; download it yourself"
            )
        now = time.monotonic()
        if now - checked_s > SLOW_S:
            if size - checked_size < SLOW_BYTES:
                raise BackendUnavailable(
                    f"the server sends object {key!r} too slowly to be waited for; try again later"
                )
            checked_s, checked_size = now, size
    return size


def _check_status(key: str, response: requests.Response) -> None:
    code = response.status_code
    where = f"{_host(response.url)} answered {code} for object {key!r}"
    if code in (requests.codes.not_found, requests.codes.gone):
        raise NotFound(f"{where}: it is not there any more; find another copy and add the reference again")
    if code in (requests.codes.unauthorized, requests.codes.forbidden):
        raise BackendPermissionError(f"{where}: it wants to know who asks; download it yourself and use add_file")
    if code != requests.codes.ok:
        raise BackendUnavailable(f"{where}; try again later")


def _host(uri: str) -> str:
    """Return the part of an address that errors may repeat: not its query, which may be signed."""
    return urlsplit(uri).hostname or "the server"
