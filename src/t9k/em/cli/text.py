"""Make values short, and safe, to show in a terminal: names and metadata may come from anybody's store."""

from __future__ import annotations

import json
import math
import os
import time
import unicodedata
from collections.abc import Mapping
from typing import Any

from t9k.em.records import parse_utc

_JOINERS = "\u200c\u200d"  # part of words in some scripts, and of emoji
_UNITS = ("kB", "MB", "GB", "TB", "PB")
_LONGEST_INT = 12


def _is_unsafe(character: str) -> bool:
    """Return whether a terminal may obey a character, or a reader be misled by it, instead of it being shown."""
    if character.isascii():
        return not character.isprintable()
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def clean(value: object) -> str:
    r"""Return a value on one line, with escapes such as ``\x1b`` for what a terminal would obey.

    Args:
        value: Anything; its `str` is shown.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) if _is_unsafe(character) else character for character in text)


def clean_lines(value: object) -> str:
    """Like `clean`, but line breaks are kept."""
    return "\n".join(clean(line) for line in str(value).split("\n"))


def _escape(character: str) -> str:
    known = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character)
    if known:
        return known
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


_LENGTHS = {"day": 86_400, "hour": 3600, "minute": 60}


def number(value: float) -> str:
    """Return a metric in about five digits."""
    try:
        if isinstance(value, int) and len(text := str(value)) <= _LONGEST_INT:
            return text
        return f"{float(value):.5g}"
    except (OverflowError, ValueError):
        return "-huge" if value < 0 else "huge"


def size(size_bytes: int) -> str:
    """Return a size in decimal units: 1.5 kB is 1,500 bytes."""
    if size_bytes < 1000:  # noqa: PLR2004 - the base of the units
        return f"{size_bytes} B"
    value, units = size_bytes / 1000, list(_UNITS)
    while value >= 999.95 and len(units) > 1:  # noqa: PLR2004 - what would be rounded to 1000.0
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}"


def count(number: int, what: str) -> str:
    """Return a number of things: '1 file', '1,200 files'."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def when(timestamp: object, *, seconds: bool = False) -> str:
    """Return a timestamp of a record (UTC) in local time, to the minute or second; any other text unchanged."""
    try:
        return f"{parse_utc(str(timestamp)).astimezone():{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}}"
    except (ValueError, OverflowError):
        return clean(timestamp)


def since(moment: float) -> str:
    """Return the time since a moment, by this machine's clock: '12 seconds ago'.

    Args:
        moment: POSIX time in seconds.
    """
    seconds = max(0, int(time.time() - moment))
    for unit, length in _LENGTHS.items():
        if seconds >= 2 * length:
            return f"{count(seconds // length, unit)} ago"
    return f"{count(seconds, 'second')} ago"


def near(path: str) -> str:
    """Return a path as one would type it here: relative where it lies below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with keys joined by dots; empty ones stay."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def to_json(data: Any) -> str:
    r"""JSON for scripts, and for eyes: indented, with what a terminal would obey as ``\u`` escapes.

    What JSON lacks is written as in the metrics files: "NaN", "Infinity" and "-Infinity".
    """
    text = json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False)
    return "".join(
        character if character == "\n" or not _is_unsafe(character) else json.dumps(character)[1:-1]
        for character in text
    )


def _plain(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(item) for item in data]
    return data if data is None or isinstance(data, (str, int, float, bool)) else str(data)
