"""Sizes as people write them: 500GiB, 2TB, 4096."""

from __future__ import annotations

import re

import click

_FACTORS = {"": 1, "b": 1} | {
    f"{letter}{suffix}".lower(): base ** (power + 1)
    for suffix, base in (("B", 1000), ("iB", 1024))
    for power, letter in enumerate("KMGTP")
}
_FORM = re.compile(r"(\d{1,18}(?:\.\d{1,3})?) ?([A-Za-z]*)")
_MOST = 2**62


def parse_size(value: str | int) -> int:
    """Parse a number of bytes; the type of an option.

    Raises:
        BadParameter: The value is no size.
    """
    if isinstance(value, int):
        return value
    match = _FORM.fullmatch(value.strip())
    factor = None if match is None else _FACTORS.get(match[2].lower())
    if match is None or factor is None:
        raise click.BadParameter(f"{value!r} is no size; write it like 500GiB, 2TB or 4096")
    size = int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor
    if size > _MOST:
        raise click.BadParameter(f"{value!r} is more than can be kept; the most is 4096PiB")
    return size
