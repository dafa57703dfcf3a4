"""URIs of backends: `scheme://place?options#folder`, or a plain local path.

The part before `?` and `#` names the root of a store, options go to its backend, and the fragment (RFC 3986, 3.5) is
a path inside the store: `file:///data/em#/alice/mnist`. A plain path is the root of a local store, taken literally.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from attrs import field, frozen

from t9k.em.errors import InvalidURI, SecretInURI
from t9k.em.masking import mask_keys
from t9k.em.patterns import lazily
from t9k.em.typos import meant_by_path, meant_by_store

__all__ = ["URI", "check_path_text", "check_reference", "is_same_root", "is_uri", "parse", "root_of", "uri_of_node"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_WEB = ("http", "https")
_FORMS = "'file:///data/em', 's3://bucket/root' or 'https://host/path'"
_HIDDEN = "what was given"
_SECRET_OPTION = lazily(
    r"(secret|password|passwd|passphrase|passcode|passwort|token|bearer|jwt|credentials?|signature|keyid"
    r"|(api|access|secret|account|private|shared|auth|session|storage|master|signing|encryption)[_-]?key)(\[\])?$"
    r"|(^|[_-])(key|sig|sas|pwd|pass|pw|cred|creds|auth|authorization|cookie)(\[\])?$",
    re.IGNORECASE,
)


@frozen(kw_only=True)
class URI:
    """A URI in its parts.

    Attributes:
        scheme: Lower case.
        text: The root of the store as a URI, without options and fragment; equal for equal roots of one scheme.
        netloc: What stands between `//` and the next slash: bucket, host, or name.
        path: The rest, percent-decoded for `file`; '' or starts with '/'.
        options: The query as a mapping.
        folder: The fragment, percent-decoded; None without one.
    """

    scheme: str
    text: str
    netloc: str
    path: str
    options: Mapping[str, str] = field(factory=dict)
    folder: str | None = None


def is_uri(text: str) -> bool:
    """Return whether a text has a scheme, so that it is not a path."""
    return _SCHEME.match(text) is not None


def parse(text: str) -> URI:
    """Take a URI or a plain local path apart.

    Raises:
        InvalidURI: The text is neither a URI nor a path.
        SecretInURI: The URI holds credentials; the message does not.
    """
    if not text or not _is_clean(text):
        raise InvalidURI(f"{_shown(text)} is no backend; use a URI like 'file:///data/em' or a local path")
    if not is_uri(text):
        _refuse_typo(text, meant_by_store(text), f"a local directory of that name is './{text.strip()}'")
        return _local(Path(os.path.abspath(os.path.expanduser(text))))  # noqa: PTH100, PTH111 - literally, links and all
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InvalidURI("the URI of the backend has an unusable host") from error
    scheme = parts.scheme.lower()
    _refuse_secrets(scheme, parts.netloc, parts.query)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    folder = unquote(parts.fragment) if parts.fragment else None
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InvalidURI(
                f"{text!r} names a host; a local path has three slashes: 'file:///{parts.netloc}{parts.path}'"
            )
        if not parts.path:
            raise InvalidURI(f"{text!r} has no path; write it like 'file:///data/em'")
        path = unquote(parts.path)
        if not _is_clean(path):
            raise InvalidURI(f"{text!r} has control characters in its path; write it like 'file:///data/em'")
        _refuse_spaces(scheme, path)
        local = _local(Path(f"/{os.path.normpath(path).lstrip('/')}"))  # POSIX leaves two slashes at the beginning
        return URI(scheme=scheme, text=local.text, netloc="", path=local.path, options=options, folder=folder)
    path = parts.path.rstrip("/")
    if not parts.netloc and not path:
        raise InvalidURI(f"{text!r} names no place; write it like '{scheme}://name/root'")
    _refuse_spaces(scheme, f"{parts.netloc}{path}")
    root = f"{scheme}://{parts.netloc}{path}"
    return URI(scheme=scheme, text=root, netloc=parts.netloc, path=path, options=options, folder=folder)


def check_path_text(text: str) -> str:
    """Return the path of a folder or node in a backend, unless it was meant to be a URI.

    Args:
        text: What has no scheme, see `is_uri`; whether it can be a path is checked elsewhere.

    Raises:
        InvalidURI: The text looks like a URI, but is not one.
    """
    _refuse_typo(text, meant_by_path(text), "the path of a folder of that name begins with '/' and your name")
    return text


def _refuse_typo(text: str, meant: str | None, instead: str) -> None:
    """Raise for a text that was meant to be a URI."""
    if meant is None:
        return
    if _shown(text) == _HIDDEN:  # nor may what was meant be repeated
        form = f"URI that begins with '{meant.partition('://')[0]}://'" if is_uri(meant) else f"URI like {_FORMS}"
        raise InvalidURI(
            f"{_HIDDEN} looks like a URI, but is not one; use a {form}, or a local path that begins with './'"
        )
    asked = f"did you mean {meant!r}?" if meant else f"use a URI like {_FORMS}"
    if text != text.strip():
        raise InvalidURI(f"{text!r} begins or ends with a space; {asked}")
    raise InvalidURI(f"{text!r} looks like a URI, but is not one; {asked} ({instead})")


def _refuse_spaces(scheme: str, place: str) -> None:
    if place != place.rstrip():
        raise InvalidURI(f"the URI {scheme}://... ends with a space; leave it out, or write it as %20")


def root_of(uri: URI) -> str:
    """Return the root of a store as a URI with its options, in an order of their own; it never holds a secret."""
    options = urlencode(sorted(uri.options.items()))
    return f"{uri.text}?{options}" if options else uri.text


def uri_of_node(uri: str, path: str, generation: int | None = None) -> str:
    """Return the URI of a node in a store, as every command and `load_run` take it.

    Args:
        uri: URI of the store.
        path: Absolute path of the node.
        generation: The version; None for the newest.
    """
    version = f"@{generation}" if generation else ""
    return f"{uri}#{quote(path, safe='/@')}{version}"


def is_same_root(one: str | None, other: str | None) -> bool:
    """Return whether two URIs or local paths certainly name the same root; options and fragments do not count.

    Args:
        one: A URI or path; None, and what is no URI, names nothing.
        other: Another one.
    """
    if one is None or other is None:
        return False
    try:
        roots = [_normal(parse(text)) for text in (one, other)]
    except InvalidURI:
        return False
    return roots[0] == roots[1]


def _normal(uri: URI) -> tuple[str, str, str]:
    """Return a text that is equal for equal roots: the host of a server has no case, and a default port is left out."""
    if uri.scheme not in _WEB:
        return uri.scheme, uri.netloc, uri.text
    default = ":443" if uri.scheme == "https" else ":80"
    return uri.scheme, uri.netloc.lower().removesuffix(default), uri.path


def _local(path: Path) -> URI:
    return URI(scheme="file", text=f"file://{quote(str(path))}", netloc="", path=str(path))


def _refuse_secrets(scheme: str, netloc: str, query: str) -> None:
    userinfo, at, host = netloc.rpartition("@")
    options = parse_qsl(query.replace(";", "&"), keep_blank_values=True)  # some drivers take either
    secret_options = [name for name, _ in options if _SECRET_OPTION.search(name)]
    if at and (":" in unquote(userinfo) or scheme in _WEB):
        raise SecretInURI(f"the URI {scheme}://...@{host} holds a password; {_where(scheme)}")
    if any(mask_keys(text) != text for option in options for text in option):
        raise SecretInURI(f"the URI {scheme}://{host}/... holds in its options what looks like a key; {_where(scheme)}")
    if secret_options:
        raise SecretInURI(f"the URI {scheme}://{host}/... holds the option {secret_options[0]!r}; {_where(scheme)}")


_PLACES = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login",
    "http": "em login, which asks for it and keeps it in the T9k config",
    "https": "em login, which asks for it and keeps it in the T9k config",
}


def _where(scheme: str) -> str:
    """Return the advice where a secret belongs."""
    place = _PLACES.get(scheme)
    here = f"; here that is {place}" if place else ""
    return f"leave it out and use the environment, a profile or the T9k config, which never end up in a log{here}"


def check_reference(uri: object) -> str:
    """Return the URI of a referenced object, if it can be one.

    Raises:
        InvalidURI: The text is no URI with a scheme, or holds control characters.
        SecretInURI: The URI holds credentials; the message does not.
    """
    if not isinstance(uri, str) or not is_uri(uri) or not _is_clean(uri):
        raise InvalidURI(f"{_shown(uri)} is no URI of an object; use one like 'https://host/file' or 's3://bucket/key'")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidURI("the URI of the object has an unusable host") from error
    _refuse_secrets(parts.scheme.lower(), parts.netloc, parts.query)
    return uri


def _is_clean(text: str) -> bool:
    """Return whether a text has no control characters and no lone surrogates, which no URI or path may hold."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _shown(text: object) -> str:
    """Return a text as an error may repeat it: not where it may hold a secret."""
    return repr(text) if isinstance(text, str) and not {"@", "?"} & set(text) else _HIDDEN
