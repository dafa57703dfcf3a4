"""Types of metrics: the one name of each, and the file that keeps it."""

from __future__ import annotations

import hashlib
import re
import urllib.parse

from t9k.em.errors import InvalidMetric

_CANONICAL = {
    "training": "train",
    "validate": "val",
    "validation": "val",
    "testing": "test",
    "eval": "test",
    "evaluate": "test",
    "evaluation": "test",
}
_SUFFIX = ".yaml"
_HASHED = "=sha256-"  # never the beginning of an encoded type, in which "=" becomes "%3d"
_MAX_STEM_BYTES = 200
_MAX_CHARS = 16 << 10  # the index of a run holds all types, and has its limit
_NOT_PLAIN = re.compile(rb"[^a-z0-9_.-]|^\.")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def canonical_type(type: object) -> str:
    """Return the one name of a metrics type: 'train', 'val', 'test', or any other string as it is.

    Args:
        type: For example 'train', 'training', 'evaluate', or a type of one's own.

    Raises:
        InvalidMetric: Not a string, empty, longer than 16,384 characters, or with control characters or lone surrogates.
    """
    if not isinstance(type, str) or not type:
        raise InvalidMetric(f"the type of metrics must be a string such as 'train', 'val' or 'test', not {type!r}")
    if len(type) > _MAX_CHARS:
        raise InvalidMetric(f"the type of metrics {type[:40]!r}... has {len(type)} characters, of at most {_MAX_CHARS}")
    if _CONTROL.search(type):
        raise InvalidMetric(f"the type of metrics {type!r} holds control characters; leave them out")
    return _CANONICAL.get(type, str(type))


def file_name(type: str) -> str:
    """Return the name of the file that keeps the metrics of a type, safe on every file system.

    Lowercase letters, digits, ``_``, ``-`` and ``.`` stand for themselves; everything else, capitals included, is
    percent-encoded in UTF-8, so that no two types share a file where case or Unicode form do not count. A type
    too long for that is hashed.

    Args:
        type: The type, in any of its forms: 'training' and 'train' both give ``train.yaml``.

    Raises:
        InvalidMetric: See `canonical_type`.
    """
    encoded = canonical_type(type).encode()
    stem = _NOT_PLAIN.sub(lambda match: b"%%%02x" % match[0][0], encoded).decode("ascii")
    if _DEVICE.match(stem):
        stem = f"%{ord(stem[0]):02x}{stem[1:]}"
    if len(stem) > _MAX_STEM_BYTES:
        stem = _HASHED + hashlib.sha256(encoded).hexdigest()
    return stem + _SUFFIX


def type_of(file_name: str) -> str | None:
    """Return the type that a metrics file belongs to: the inverse of `file_name`.

    Args:
        file_name: Name without directories, for example ``train.yaml``.

    Returns:
        The type, or None if its name is hashed (the index of the run tells it).

    Raises:
        InvalidMetric: Not the name of a metrics file.
    """
    stem = file_name.removesuffix(_SUFFIX)
    if stem.startswith(_HASHED):
        return None
    try:
        if stem == file_name:
            raise ValueError
        return canonical_type(urllib.parse.unquote(stem, errors="strict"))
    except ValueError as error:  # InvalidMetric included
        raise InvalidMetric(
            f"{file_name!r} is not the name of a metrics file; one is called like 'train.yaml'"
        ) from error
