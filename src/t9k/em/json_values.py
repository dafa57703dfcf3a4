"""The types of values that were read from JSON: everything that comes in is checked by these before it is used.

What is not as expected raises `TypeError` or `ValueError`; the caller says of which record and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MAX_COUNT = 2**63 - 1
"""Of bytes, files and everything else that is counted: what databases and other languages take."""


def text(value: Any) -> str:
    """Return a string.

    Raises:
        TypeError: The value is no string.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100} is no text")
    return value


def count(value: Any, most: int = MAX_COUNT) -> int:
    """Return an integer in [0, `most`].

    Raises:
        ValueError: The value is no such integer.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.100} is no count up to {most}")
    return value


def items(value: Any) -> Sequence[Any]:
    """Return a list.

    Raises:
        TypeError: The value is no list.
    """
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.100} is no list")
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object of JSON.

    Raises:
        TypeError: The value is no object.
    """
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.100} is no object")
    return value
