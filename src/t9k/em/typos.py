"""Guess what was meant: by a text that looks like a URI but is not one, and by an unknown word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from t9k.em.patterns import lazily

SCHEMES = (
    *("file", "s3", "gs", "https", "http", "memory", "abfs", "abfss", "az", "adl", "gcs", "s3a", "s3n"),
    *("webdav", "dav", "sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs", "hf", "oss", "cos", "r2", "dbfs", "dvc"),
)
"""What people write before '://' when they mean a store, the usual ones first; not all of them are served."""

_LOOKS_ALIKE = 0.6
_LOOKS_ALIKE_SCHEME = 0.75
_ARN = lazily(r"arn:[\w-]*:s3:[^:]*:[^:]*:(?P<rest>.*)", re.DOTALL | re.IGNORECASE)
_DRIVE = lazily(r"[A-Za-z]:(?=[\\/]|$)|[A-Za-z]:(?!/)")
_PORT = lazily(r"\d{1,5}$")
_CHAIN = lazily(r"(?:[\w.+-]+::)+(?P<last>.*)", re.DOTALL)
_PREFIX = lazily(r"(?P<word>[^/:#?]*):+(?P<rest>.*)", re.DOTALL)
_SLASHES = lazily(r"(?P<word>[^/:#?]+)//(?P<rest>.*)", re.DOTALL)
_HOST = lazily(
    r"(localhost|(\d{1,3}\.){3}\d{1,3}"
    r"|www\.[\w.-]+|([a-z0-9-]+\.)+(com|org|net|edu|gov|io|ai|cn|de|eu|uk|fr|jp|dev|cloud|local|internal|lan))$",
    re.IGNORECASE,
)


def nearest(word: str, known: Iterable[str], cutoff: float = _LOOKS_ALIKE) -> str | None:
    """Return the known word that another is most like, whatever their case; None when it is like none.

    Args:
        word: What somebody wrote.
        known: What there is.
        cutoff: How alike they have to be: 1 for equal, 0 for anything.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - costs every importer otherwise, and errors are rare

    by_fold = {name.casefold(): name for name in known}
    folded = word.casefold()
    if folded in by_fold:
        return by_fold[folded]
    found = get_close_matches(folded, by_fold, 1, cutoff)
    if found:
        return by_fold[found[0]]
    begun = [name for name in by_fold if len(folded) > 1 and name.startswith(folded)]
    return by_fold[begun[0]] if len(begun) == 1 else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: "; did you mean 'x'?", or '' when nothing is like it."""
    found = nearest(word, known) if isinstance(word, str) else None
    return "" if found is None else f"; did you mean {found!r}?"


def nearest_scheme(scheme: str, known: Iterable[str] = SCHEMES) -> str | None:
    """Return the scheme that was probably meant; None when none is alike."""
    folded = scheme.strip().casefold()
    bare = re.sub(r"[^a-z0-9]", "", folded)
    known = list(known)
    for word in (folded, bare, *reversed(re.split(r"[^a-z0-9]+", folded))):
        if word in known:
            return word
    return nearest(bare, known, _LOOKS_ALIKE_SCHEME if len(bare) > 2 else 0.5)  # noqa: PLR2004 - 's4' is half of 's3'


def meant_by_store(text: str) -> str | None:
    """Return the URI that a text without a scheme was probably meant to be; None for what is plainly a path.

    A path of a local store is plain when it begins with '/' (one), './', '../', '~' or a drive, or when its first
    component could be nothing else.

    Args:
        text: What was given instead of a URI.

    Returns:
        A URI; '' where it looks like one and cannot be guessed.
    """
    bare = text.strip()
    if bare != text:
        return bare
    if text.startswith("//"):
        host = text.lstrip("/")
        return f"https://{host}"
    if _DRIVE.match(text):
        return None
    first = text.partition("/")[0]
    if ":" in first:
        return _meant_by_colon(text)
    double = _meant_by_slashes(text)
    if double is not None:
        return double
    return f"https://{text}" if _HOST.match(first) and not text.startswith(".") else None


def meant_by_path(text: str) -> str | None:
    """Return the URI that a path in a backend was probably meant to be; None for what may be a path.

    Names of nodes may hold colons and dots, as in 'lr:0.1/cnn', so less is suspicious than in `meant_by_store`.

    Args:
        text: What was given instead of a URI.

    Returns:
        A URI; '' where it looks like one and cannot be guessed.
    """
    bare = text.strip()
    first, slash, after = bare.partition("/")
    if not first or _DRIVE.match(bare):
        return None
    if ":" in first:
        word, _, rest = first.partition(":")
        is_host = bool(_PORT.match(rest) and _HOST.match(word))
        is_scheme = word.casefold() in (*SCHEMES, "arn") or (
            not rest and bool(slash) and (after.startswith("/") or nearest_scheme(word) is not None)
        )
        return _meant_by_colon(bare) if is_host or is_scheme or "::" in first else None
    return _meant_by_slashes(bare)


def _meant_by_colon(text: str) -> str:
    """Return the probable meaning of a text whose first component has a colon."""
    arn = _ARN.match(text)
    if arn:
        return f"s3://{arn['rest']}"
    chain = _CHAIN.fullmatch(text)
    if chain and "://" in chain["last"]:
        return chain["last"]
    first = text.partition("/")[0]
    host, _, port = first.rpartition(":")
    if host and ":" not in host and _PORT.match(port):
        return f"http://{text}"
    parts = _PREFIX.fullmatch(text)
    scheme = nearest_scheme(parts["word"]) if parts else None
    return "" if parts is None or scheme is None else _uri(scheme, parts["rest"])


def _meant_by_slashes(text: str) -> str | None:
    """Return the probable meaning of 's3//bucket'; None where the first of several components is no scheme."""
    parts = _SLASHES.fullmatch(text)
    if parts is None:
        return None
    word = parts["word"].casefold()
    is_web = re.fullmatch(r"h?t+t*ps?", word) is not None
    if word not in SCHEMES and not is_web:
        return None
    return _uri(word if word in SCHEMES else nearest_scheme(word) or "https", parts["rest"])


def _uri(scheme: str, rest: str) -> str:
    place = rest.lstrip("/") or {"file": "data/em", "memory": "name"}.get(scheme, "name/root")
    return f"{scheme}:///{place}" if scheme == "file" else f"{scheme}://{place}"
