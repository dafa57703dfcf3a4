"""The format of a metrics file: a YAML list whose every line is ``- `` and one JSON object.

.. code-block:: yaml

    - {"value": {"loss": 0.1, "acc": "NaN"}, "sequence": {"epoch": 1, "step": 500, "timestamp": "2023-08-17T08:05:24.390002Z"}}

So it is YAML for any reader (floats have a dot before their exponent, as YAML 1.1 wants), and one append for us. What
JSON lacks is written as the strings "NaN", "Infinity" and "-Infinity". ``epoch`` is left out when there is none.
"""

from __future__ import annotations

import functools
import json
import operator
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from t9k.em.errors import CorruptLocalData, InvalidMetric, RecoveredDataWarning
from t9k.em.local.metrictypes import canonical_type, file_name, type_of
from t9k.em.records import utc_text
from t9k.em.scalars import unwrap

__all__ = ["Entry", "canonical_type", "encode", "encode_now", "file_name", "iterate", "read", "type_of"]

Entry = dict[str, dict[str, int | float | str]]
"""``{"value": {name: number}, "sequence": {"epoch": int, "step": int, "timestamp": str}}``, epoch optional."""

_templates: dict[tuple[str, ...], str] = {}
_MOST_TEMPLATES = 256
_LARGE = 1 << 63
_MAX_INT_BITS = 1024  # as far as a float reaches, for readers that know floats only
_NON_FINITE = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
_FROM_STRING = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
# In JSON they may stand as they are, in YAML not: C1 controls, line separators, byte order marks, non-characters.
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_json_string = json.JSONEncoder(ensure_ascii=False).encode

_MAX_FOREIGN_BYTES = 16 << 20


def encode(metrics: Mapping[str, Any], step: int, epoch: int | None, timestamp: str) -> bytes:
    r"""Return the line that records a set of metrics.

    Args:
        metrics: Name -> number. A number is an int, a float, a bool (kept as 0 or 1), anything that `float` takes but
            a string, or a NumPy array, PyTorch or TensorFlow tensor of one element.
        step: Step that the metrics belong to; any integer, also of NumPy.
        epoch: Epoch that they belong to, or None.
        timestamp: UTC time as written in records, ``2023-08-17T08:05:24.390002Z``.

    Returns:
        One line of UTF-8 that ends in ``\n``.

    Raises:
        InvalidMetric: A name, value, step or epoch cannot be recorded; the message names it.
    """
    return _encode(metrics, step, epoch, _json_string(timestamp)[1:-1])


def encode_now(metrics: Mapping[str, Any], step: int, epoch: int | None) -> bytes:
    """Return the line that records a set of metrics now; see `encode`."""
    return _encode(metrics, step, epoch, utc_text())


def _encode(metrics: Mapping[str, Any], step: int, epoch: int | None, timestamp: str) -> bytes:
    """Every call of `Run.log` passes here: common types are told first, and what repeats is made once."""
    if type(metrics) is not dict:
        if not isinstance(metrics, Mapping):
            raise InvalidMetric(f"metrics must be a dict of names and numbers, not {type(metrics).__name__}")
        metrics = dict(metrics)
    texts = []
    for name, value in metrics.items():
        # A float without exponent that is finite: neither "e" nor the "n" of "nan" and "inf" is in it.
        if type(value) is not float or "e" in (text := repr(value)) or "n" in text:
            text = _number(name, value)
        texts.append(text)
    names = tuple(metrics)
    values = (_templates.get(names) or _make_template(names)) % tuple(texts)
    if type(step) is not int or not -_LARGE < step < _LARGE:
        step = _index("step", step)
    if epoch is None:
        return f'{values}"step": {step}, "timestamp": "{timestamp}"}}}}\n'.encode()
    if type(epoch) is not int or not -_LARGE < epoch < _LARGE:
        epoch = _index("epoch", epoch)
    return f'{values}"epoch": {epoch}, "step": {step}, "timestamp": "{timestamp}"}}}}\n'.encode()


def _make_template(names: tuple[str, ...]) -> str:
    """The line for certain names up to the step, with a place for each value."""
    values = ", ".join([f"{_quoted_name(name).replace('%', '%%')}: %s" for name in names])
    template = f'- {{"value": {{{values}}}, "sequence": {{'
    if len(_templates) >= _MOST_TEMPLATES:
        _templates.clear()
    _templates[names] = template
    return template


def _quoted_name(name: object) -> str:
    if type(name) is str:
        return _quoted(name)
    if isinstance(name, str):
        return _quoted(str(name))
    raise InvalidMetric(f"the name of a metric must be a string, not {name!r}")


@functools.lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    if not name:
        raise InvalidMetric("the name of a metric must not be empty")
    if _SURROGATE.search(name):
        raise InvalidMetric(f"the name of the metric {name!r} is not valid Unicode")
    return _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", _json_string(name))


def _number(name: object, value: Any) -> str:
    """Return a value as JSON; the common types are told first, for speed."""
    if isinstance(value, float):
        text = float.__repr__(value)
        if "e" in text:
            return text if "." in text else text.replace("e", ".0e")
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
    shape = getattr(value, "shape", None)
    what = type(value).__name__ + (f" of shape {tuple(shape)}" if shape else "")
    return InvalidMetric(
        f"metric {name!r} must be a number or an array of one element, not {what}; log its mean, or its parts one by one"
    )


def _index(what: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        index = operator.index(value)
    except Exception as error:  # a foreign library may raise anything
        raise InvalidMetric(f"{what} must be an integer, not {value!r}") from error
    if index.bit_length() > _MAX_INT_BITS:
        raise InvalidMetric(f"{what} is too large: an integer of {index.bit_length()} bits")
    return index


def read(path: Path) -> list[Entry]:
    """Return all entries of a metrics file; see `iterate`."""
    return list(iterate(path))


def iterate(path: Path) -> Iterator[Entry]:
    """Give the entries of a metrics file in their order, without holding the file in memory.

    Damaged lines, an incomplete last one included, are left out with a `RecoveredDataWarning` that names file, lines
    and bytes. A file that another YAML tool wrote anew is read too, up to 16 MiB.

    Args:
        path: The file. It may be written to meanwhile.

    Yields:
        The entries.

    Raises:
        OSError: It cannot be read, for example FileNotFoundError.
    """
    damage = _Damage(path)
    may_be_foreign = True
    count = 0
    with path.open("rb") as file:
        for line_number, line in enumerate(file, 1):
            entry = _parse_line(line)
            if entry is None and may_be_foreign and line.strip() and not _is_torn(line):
                may_be_foreign = False
                foreign = _read_foreign(path)
                if foreign is not None:
                    yield from foreign[count:]
                    return
            if entry is not None:
                damage.report()
                count += 1
                yield entry
            elif line.strip() or not line.endswith(b"\n"):
                damage.add(line_number, len(line))
    damage.report()


class _Damage:
    """Lines next to each other that had to be left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first = self._last = self._size_bytes = 0

    def add(self, line_number: int, size_bytes: int) -> None:
        self._first = self._first or line_number
        self._last = line_number
        self._size_bytes += size_bytes

    def report(self) -> None:
        if not self._first:
            return
        lines = f"line {self._first}" if self._first == self._last else f"lines {self._first} to {self._last}"
        msg = f"{self._path}: left out {lines}, damaged or incomplete ({self._size_bytes} bytes)"
        self._first = self._last = self._size_bytes = 0
        warnings.warn(msg, RecoveredDataWarning, stacklevel=3)


def _is_torn(line: bytes) -> bool:
    return b"\0" in line or (not line.endswith(b"\n") and line.startswith(b"- {"[: len(line)]))


def _parse_line(line: bytes) -> Entry | None:
    if not (line.startswith(b"- {") and line.endswith(b"\n")):
        return None
    try:
        return _checked(json.loads(line[2:].decode()))
    except (ValueError, RecursionError):
        return None


def _checked(data: Any) -> Entry | None:
    """Return an entry as it was logged, or None if it is not one."""
    if not (isinstance(data, dict) and isinstance(data.get("value"), dict) and isinstance(data.get("sequence"), dict)):
        return None
    value = {}
    for name, number in data["value"].items():
        number = _FROM_STRING.get(number, number) if isinstance(number, str) else number  # noqa: PLW2901
        if not isinstance(name, str) or not isinstance(number, (int, float)):
            return None
        value[name] = number
    sequence = {name: item for name, item in data["sequence"].items() if item is not None}
    if type(sequence.get("step")) is not int or type(sequence.get("epoch", 0)) is not int:
        return None
    if not isinstance(sequence.get("timestamp", ""), str):
        return None
    return {"value": value, "sequence": sequence}


def _read_foreign(path: Path) -> list[Entry] | None:
    """Read a file that is a YAML list of entries, but not line by line; None if it is something else."""
    from t9k.em.local import yamlfile  # noqa: PLC0415 - rarely needed, and slow to import

    try:
        data = yamlfile.load(path, aliases=True, max_bytes=_MAX_FOREIGN_BYTES)
    except CorruptLocalData:
        return None
    if not isinstance(data, list):
        return None
    entries = [_checked(item) for item in data]
    return [entry for entry in entries if entry is not None] if None not in entries else None
