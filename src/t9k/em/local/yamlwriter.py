"""Write plain data as YAML that reads back the same, by our reader and by any other of YAML 1.1 or 1.2.

PyYAML's own emitter is not used: it loses strings with rare characters, and what it leaves unquoted is right for YAML 1.1
only. This one quotes whatever some reader could take for something else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from t9k.em.errors import InvalidInput

MAX_BYTES = 10 << 20
"""Size of a file of YAML; a limit for what is written and what is read."""

MAX_DEPTH = 200
"""Mappings and sequences within one another; a limit for what is written and what is read."""

# Without quotes: what begins with a letter, so that it is no number, date or indicator.
_PLAIN = re.compile(r"[^\W\d_](?:[\w./@()+-]| (?=[\w./@()+-]))*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"})
# What JSON leaves as it is and YAML does not: C1 controls, separators, byte order marks, non-characters.
_NOT_YAML = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Most values are of these; whether something is a Mapping takes longer to find out.
_SCALARS = (str, int, float, type(None))
_NESTED = (dict, list, tuple, Mapping)
_SIMPLE_KEY_CHARS = 500  # libyaml takes at most 1024 for a key without "? "
_json_string = json.JSONEncoder(ensure_ascii=False).encode


def dump(data: Any) -> bytes:
    r"""Return data as YAML, in block style and in its own order.

    Args:
        data: Mappings, lists, tuples (read back as lists), strings, integers, floats (NaN and infinities
            included), booleans and None; keys are any of these but mappings, lists and tuples.

    Returns:
        UTF-8 text that ends in ``\n``, without anchors and aliases.

    Raises:
        InvalidInput: A value is one that YAML cannot hold: another type, lone surrogates, more than `MAX_DEPTH` levels
            (a structure that holds itself included).
    """
    return ("\n".join(_lines(data, 0)) + "\n").encode()


def _lines(data: Any, depth: int) -> list[str]:
    if isinstance(data, _SCALARS) or not isinstance(data, _NESTED):
        return [_scalar(data)]
    if depth == MAX_DEPTH:
        raise InvalidInput(
            f"more than {MAX_DEPTH} mappings and lists within one another; is one of them inside itself?"
        )
    if isinstance(data, Mapping):
        return _mapping(data, depth + 1) if data else ["{}"]
    return _sequence(data, depth + 1) if data else ["[]"]


def _mapping(data: Mapping[Any, Any], depth: int) -> list[str]:
    lines = []
    for key, value in data.items():
        name = _scalar(key)
        if len(name) > _SIMPLE_KEY_CHARS:
            lines.append("? " + name)
            name = ""
        nested = _lines(value, depth)
        if value and not isinstance(value, _SCALARS) and isinstance(value, _NESTED):
            lines.append(name + ":")
            lines.extend(["  " + line for line in nested])
        else:
            lines.append(f"{name}: {nested[0]}")
    return lines


def _sequence(data: list[Any] | tuple[Any, ...], depth: int) -> list[str]:
    lines = []
    for item in data:
        first, *rest = _lines(item, depth)
        lines.append("- " + first)
        lines.extend(["  " + line for line in rest])
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(str(value))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, int):
        try:
            return int.__repr__(int(value))
        except ValueError as error:  # Python's own limit of digits
            raise InvalidInput(f"an integer of {value.bit_length()} bits is too large to be written") from error
    raise InvalidInput(
        f"{value!r} of type {type(value).__name__} cannot be written as YAML; turn it into a number, string, list or dict"
    )


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    # YAML 1.1 takes 1e-05 for a string.
    return text if "." in text else text.replace("e", ".0e")


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if _SURROGATE.search(text):
        raise InvalidInput(f"{text[:80]!r} holds lone surrogates and is not valid Unicode")
    return _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", _json_string(text))
