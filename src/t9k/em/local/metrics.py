"""The format of a metrics file: a YAML list whose every line is ``- `` and one JSON object.

.. code-block:: yaml

    - {"value":{"loss":0.1,"acc":"NaN"},"sequence":{"epoch":1,"step":500,"timestamp":"2023-08-17T08:05:24.390002Z"}}

So it is YAML for any reader (floats have a dot before their exponent, as YAML 1.1 wants), and one append for us. What
JSON lacks is written as the strings "NaN", "Infinity" and "-Infinity". ``epoch`` is optional and may be a float.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import operator
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from t9k.em.errors import InvalidMetric
from t9k.em.local.metricreader import Entry, iterate, read
from t9k.em.local.metrictypes import canonical_type, file_name, type_of
from t9k.em.patterns import lazily
from t9k.em.records import utc_text
from t9k.em.scalars import unwrap

__all__ = ["Entry", "canonical_type", "encode", "encode_now", "file_name", "iterate", "read", "type_of"]

_plain_names: set[tuple[str, ...]] = set()
_MOST_NAMES = 4096
_SMALLEST, _LARGEST = 1e-5, 1e16  # between them, orjson writes floats without an exponent
_BARE_EXPONENT = lazily(rb'(":-?\d)e')  # of a value such as 1e-6; plain names have no quotes in them
_MAX_INT_BITS = 1024  # as far as a float reaches, for readers that know floats only
_NON_FINITE = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
# In JSON they may stand as they are, in YAML not: C1 controls, line separators, byte order marks, non-characters.
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_json_string = json.JSONEncoder(ensure_ascii=False).encode


LeftOut = Callable[[object, InvalidMetric], None]
"""Called with a metric that cannot be recorded: its name, and why."""


def encode(metrics: Mapping[str, Any], step: int, epoch: float | None, timestamp: str) -> bytes:
    r"""Return the line that records a set of metrics.

    Args:
        metrics: Name -> number. A number is an int, a float, a bool (kept as 0 or 1), anything that `float` takes but
            a string, or a NumPy array, PyTorch or TensorFlow tensor of one element.
        step: Step that the metrics belong to; any integer, also of NumPy.
        epoch: Epoch that they belong to, fractions allowed, or None.
        timestamp: UTC time as written in records, ``2023-08-17T08:05:24.390002Z``.

    Returns:
        One line of UTF-8 that ends in ``\n``.

    Raises:
        InvalidMetric: A name, value, step or epoch cannot be recorded; the message names it.
    """
    return _encode(metrics, step, epoch, _json_string(timestamp)[1:-1])


def encode_now(metrics: Mapping[str, Any], step: int, epoch: float | None, left_out: LeftOut | None = None) -> bytes:
    """Return the line that records a set of metrics now; see `encode`.

    Every call of `Run.log` passes here: values that orjson encodes exactly as `encode` are detected first.

    Args:
        metrics: See `encode`.
        step: Likewise.
        epoch: Likewise.
        left_out: Called with each metric that cannot be recorded and is left out; None if that is an error.

    Returns:
        The line; an empty one if none of the metrics can be recorded.
    """
    if type(metrics) is dict and type(step) is int and tuple(metrics) in _plain_names:
        has_bare_exponent = False
        for value in metrics.values():
            if type(value) is float:
                if _SMALLEST <= value < _LARGEST or value == 0.0 or -_LARGEST < value <= -_SMALLEST:
                    continue
                if not -_LARGEST < value < _LARGEST:
                    break
                has_bare_exponent = has_bare_exponent or "." not in float.__repr__(value)
            elif type(value) is not int:
                break
        else:
            line = _dumps(metrics, step, epoch)
            if line is not None:
                return _BARE_EXPONENT.sub(rb"\1.0e", line) if has_bare_exponent else line
    return _encode(metrics, step, epoch, utc_text(), left_out)


def _dumps(metrics: dict[str, Any], step: int, epoch: float | None) -> bytes | None:
    place: dict[str, Any] = {"step": step, "timestamp": utc_text()}
    if epoch is not None:
        if type(epoch) is not int and not (type(epoch) is float and (_SMALLEST <= epoch < _LARGEST or epoch == 0.0)):
            return None
        place = {"epoch": epoch, **place}
    try:
        return b"- " + orjson.dumps({"value": metrics, "sequence": place}, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # an integer has more than 64 bits
        return None


def _encode(
    metrics: Mapping[str, Any], step: int, epoch: float | None, timestamp: str, left_out: LeftOut | None = None
) -> bytes:
    if not isinstance(metrics, Mapping):
        raise InvalidMetric(f"metrics must be a dict of names and numbers, not {type(metrics).__name__}")
    place = f'"step":{_index("step", step)},"timestamp":"{timestamp}"'
    if epoch is not None:
        place = f'"epoch":{_epoch(epoch)},{place}'
    values = []
    for name, value in metrics.items():
        try:
            values.append(f"{_quoted_name(name)}:{_number(name, value)}")
        except InvalidMetric as error:
            if left_out is None:
                raise
            left_out(name, error)
    if len(values) == len(metrics):
        _remember(tuple(metrics))
    elif not values:
        return b""
    return f'- {{"value":{{{",".join(values)}}},"sequence":{{{place}}}}}\n'.encode()


def _remember(names: tuple[str, ...]) -> None:
    """Take note of names that are written in JSON as they are, in YAML too."""
    if all(type(name) is str and _quoted(name) == f'"{name}"' for name in names):
        if len(_plain_names) >= _MOST_NAMES:
            _plain_names.clear()
        _plain_names.add(names)


def _quoted_name(name: object) -> str:
    if type(name) is str:
        return _quoted(name)
    if isinstance(name, str):
        return _quoted(str(name))
    raise InvalidMetric(f"the name of a metric must be a string, not {_shortly(name)}")


@functools.lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    if not name:
        raise InvalidMetric("the name of a metric must not be empty")
    if _SURROGATE.search(name):
        raise InvalidMetric(f"the name of the metric {name!r} is not valid Unicode")
    return _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", _json_string(name))


def _number(name: object, value: Any) -> str:
    """Return a value as JSON; the common types are checked first, for speed."""
    if isinstance(value, float):
        text = float.__repr__(value)
        if "e" in text:
            return (text if "." in text else text.replace("e", ".0e")).replace("e-0", "e-")
        return _NON_FINITE.get(text, text)
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise InvalidMetric(
                f"metric {name!r}: an integer of {value.bit_length()} bits is too large; log it as a float"
            )
        return int.__repr__(int(value))
    return _number(name, _scalar(name, value))


def _scalar(name: object, value: Any) -> int | float:
    """Return the one number inside an array, tensor or number of another library."""
    try:
        scalar = unwrap(value)
        if not isinstance(scalar, (int, float)) and not isinstance(scalar, (str, bytes)):
            scalar = scalar.__float__()
    except Exception as error:  # a foreign library may raise anything
        raise _not_a_number(name, value) from error
    if not isinstance(scalar, (int, float)):
        raise _not_a_number(name, value)
    return scalar


def _not_a_number(name: object, value: Any) -> InvalidMetric:
    if value is None or isinstance(value, str):
        return InvalidMetric(f"metric {name!r} must be a number, not {_shortly(value)}")
    shape = None
    with contextlib.suppress(Exception):  # a foreign library may raise anything
        shape = value.shape
    what = type(value).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) and shape else "")
    return InvalidMetric(
        f"metric {name!r} must be a number or an array of one element, not {what}; log its mean, or its parts one by one"
    )


def _shortly(value: object) -> str:
    return reprlib.repr(value)


def _epoch(value: Any) -> str:
    """Return an epoch as JSON: an integer, or a finite float."""
    try:
        number = value if type(value) in (int, float) else unwrap(value)
        if isinstance(number, float) and math.isfinite(number):
            return _number("epoch", number)
    except Exception as error:  # a foreign library may raise anything
        raise InvalidMetric(f"epoch must be a number, not {_shortly(value)}") from error
    return str(_index("epoch", value, "a finite number"))


def _index(what: str, value: Any, form: str = "an integer") -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        index = operator.index(value)
    except Exception as error:  # a foreign library may raise anything
        raise InvalidMetric(f"{what} must be {form}, not {_shortly(value)}") from error
    if index.bit_length() > _MAX_INT_BITS:
        raise InvalidMetric(f"{what} is too large: an integer of {index.bit_length()} bits")
    return index
