"""Read metrics files, whose format `metrics` describes, block by block: what is damaged is left out and told."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Collection, Iterator
from typing import Any

import orjson

from t9k.em.errors import CorruptLocalData, RecoveredDataWarning
from t9k.em.local.below import AnyPath, open_file
from t9k.em.local.below import read as read_bytes
from t9k.em.patterns import lazily
from t9k.em.warn import warn_incomplete

Entry = dict[str, dict[str, int | float | str]]
"""``{"value": {name: number}, "sequence": {"epoch": int or float, "step": int, "timestamp": str}}``, epoch optional."""

BLOCK_BYTES = 1 << 18
FROM_STRING = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

TYPE, STEP, EPOCH, TIMESTAMP = PLACE = ("type", "step", "epoch", "timestamp")
"""The columns that every table of metrics has; the others are metrics."""

RUN = "run"
"""The column of a table of several runs that says which one a row is of."""

_LIKE_A_PLACE = lazily(rf"(value\.)*({'|'.join(PLACE)})")
_BEGINNING = b'- {"value":{'  # of every line; a raw quote keeps it from being a part of a name
_MAX_FOREIGN_BYTES = 16 << 20
_WITHOUT_EPOCH, _WITH_EPOCH = 2, 3
_EXACT = 2.0**63


def read(path: AnyPath) -> list[Entry]:
    """Return all entries of a metrics file; see `iterate`."""
    return list(iterate(path))


def iterate(path: AnyPath) -> Iterator[Entry]:
    """Give the entries of a metrics file in their order, without holding the file in memory.

    Damaged lines, an incomplete last one included, are left out with a `RecoveredDataWarning` that names file, lines
    and bytes. A piece that a killed process left before the line of another one is left out too, and that line is given.
    A file that another YAML tool wrote anew is read too, up to 16 MiB.

    Args:
        path: The file. It may be written to meanwhile.

    Yields:
        The entries.

    Raises:
        OSError: The file cannot be read, for example FileNotFoundError.
    """
    reader = Reader(path)
    for block in reader.blocks(BLOCK_BYTES):
        yield from reader.entries(block)


def column_name(metric: str, others: Collection[str] = ()) -> str:
    """Return the column of a metric in a table: its name, with `value.` before it if that is the name of another column.

    Args:
        metric: Its name.
        others: Columns that a table has besides those of every table.
    """
    if _LIKE_A_PLACE.fullmatch(metric) or re.sub(r"^(value\.)*", "", metric) in others:
        return f"value.{metric}"
    return metric.encode("utf-8", "backslashreplace").decode()  # JSON may hold lone surrogates, tables not


class Reader:
    """Read one metrics file from its beginning to its end.

    Args:
        path: The file.
    """

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._damage = _Damage(path)
        self._line_number = 0
        self._count = 0
        self._may_be_foreign = True
        self._is_done = False

    def blocks(self, size_bytes: int) -> Iterator[bytes]:
        """Give the file in pieces of whole lines; what follows the last newline is the last piece.

        Each has to go to `entries` or `passed` before the next is asked for.

        Args:
            size_bytes: How large a piece is about.

        Raises:
            OSError: The file cannot be read.
        """
        begun: list[bytes] = []
        with open(open_file(self._path), "rb") as file:
            while not self._is_done and (data := file.read(size_bytes)):
                end = data.rfind(b"\n") + 1
                if end:
                    yield b"".join([*begun, data[:end]])
                    begun.clear()
                begun.append(data[end:])
        if not self._is_done and any(begun):
            yield b"".join(begun)
        self._damage.report()

    def passed(self, entries: int) -> None:
        """Note a block in which every line is an entry, and which somebody else has read."""
        self._damage.report()
        self._line_number += entries
        self._count += entries

    def entries(self, block: bytes) -> Iterator[Entry]:
        """Give the entries of a block."""
        usual = _parse_usual(block)
        if usual is not None:
            self._damage.report()
            for entry in usual:
                self._line_number += 1
                self._count += 1
                yield entry
            return
        for line in io.BytesIO(block):
            self._line_number += 1
            yield from self._line(line)
            if self._is_done:
                return

    def _good(self, entry: Entry) -> Entry:
        self._damage.report()
        self._count += 1
        return entry

    def _line(self, line: bytes) -> Iterator[Entry]:
        entry = _parse_line(line)
        piece = 0
        if entry is None and (piece := _piece(line)):
            entry = _parse_line(line[piece:])
        if entry is None and self._may_be_foreign and line.strip() and not _is_torn(line):
            self._may_be_foreign = False
            foreign = _read_foreign(self._path)
            if foreign is not None:
                self._is_done = True
                yield from foreign[self._count :]
                return
        if entry is not None:
            if piece:
                self._damage.add(self._line_number, piece)
            yield self._good(entry)
        elif line.strip() or not line.endswith(b"\n"):
            self._damage.add(self._line_number, len(line))


class _Damage:
    """Lines next to each other that had to be left out."""

    def __init__(self, path: AnyPath) -> None:
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
        warn_incomplete(msg, 4, RecoveredDataWarning)


def _is_torn(line: bytes) -> bool:
    return b"\0" in line or (not line.endswith(b"\n") and line.startswith(b"- {"[: len(line)]))


def _piece(line: bytes) -> int:
    """Return the length of the beginning of a line of ours that stands before another one; 0 if no such line does."""
    length = max(0, line.rfind(_BEGINNING))
    return length if line.startswith(_BEGINNING[:length]) else 0


def _parse_line(line: bytes) -> Entry | None:
    if not (line.startswith(b"- {") and line.endswith(b"\n")):
        return None
    try:
        return _checked(json.loads(line[2:].decode()))
    except (ValueError, RecursionError):
        return None


def _parse_usual(block: bytes) -> list[Entry] | None:
    """Return the entries of a block in which every line is as `metrics.encode` writes it, all parsed at once; else None.

    An entry of this kind has no array and no further object in it. So if there are as many entries as lines, each is a line.
    """
    lines = block.count(b"\n")
    if not (block.startswith(b"- {") and block.endswith(b"}\n") and block.count(b"\n- {") == lines - 1):
        return None
    try:
        entries: list[Any] = orjson.loads(b"[%b]" % block[2:-1].replace(b"\n- {", b",{"))
    except ValueError:
        return None
    return entries if len(entries) == lines and all(map(_is_usual, entries)) else None


def _is_usual(data: Any) -> bool:
    """Return whether an entry is as `metrics.encode` writes it; its NaN and infinities become numbers."""
    try:
        value, sequence = data["value"], data["sequence"]
        if len(data) != 2 or type(sequence["step"]) is not int or type(sequence["timestamp"]) is not str:  # noqa: PLR2004 - these two
            return False
        if len(sequence) != _WITHOUT_EPOCH and not (
            len(sequence) == _WITH_EPOCH and type(sequence["epoch"]) in (int, float)
        ):
            return False
        for name, number in value.items():
            kind = type(number)
            if kind is float:
                if not -_EXACT < number < _EXACT:  # orjson makes floats of larger integers
                    return False
            elif kind is not int:
                value[name] = FROM_STRING[number]
    except (AttributeError, KeyError, TypeError):
        return False
    return True


def _checked(data: Any) -> Entry | None:
    """Return an entry as it was logged, or None if it is not one."""
    if not (isinstance(data, dict) and isinstance(data.get("value"), dict) and isinstance(data.get("sequence"), dict)):
        return None
    value = {}
    for name, number in data["value"].items():
        number = FROM_STRING.get(number, number) if isinstance(number, str) else number  # noqa: PLW2901
        if not isinstance(name, str) or not isinstance(number, (int, float)):
            return None
        value[name] = number
    sequence = {name: item for name, item in data["sequence"].items() if item is not None}
    if type(sequence.get("step")) is not int or not _is_epoch(sequence.get("epoch", 0)):
        return None
    if not isinstance(sequence.get("timestamp", ""), str):
        return None
    return {"value": value, "sequence": sequence}


def _is_epoch(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _read_foreign(path: AnyPath) -> list[Entry] | None:
    """Read a file that is a YAML list of entries, but not line by line; None if it is something else."""
    from t9k.em.local import yamlfile  # noqa: PLC0415 - rarely needed, and slow to import

    try:
        data = yamlfile.load(read_bytes(path, _MAX_FOREIGN_BYTES + 1), aliases=True, max_bytes=_MAX_FOREIGN_BYTES)
    except CorruptLocalData:
        return None
    if not isinstance(data, list):
        return None
    entries = [_checked(item) for item in data]
    return [entry for entry in entries if entry is not None] if None not in entries else None
