"""Metrics as a table of Arrow: column by column, fast enough for tens of millions of rows.

A block of lines as `metrics.encode` writes them goes through Arrow's own reader of JSON. Where a block holds anything else, the
reader of lines takes it, so that the table holds what `metricreader.iterate` gives, whatever is in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO

from t9k.em.errors import MissingExtra
from t9k.em.local.below import AnyPath
from t9k.em.local.metricreader import EPOCH, FROM_STRING, PLACE, RUN, STEP, TIMESTAMP, TYPE, Entry, Reader, column_name

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json
except ImportError as error:
    raise MissingExtra("tables need pyarrow; install it: pip install 't9k-em[arrow]'") from error

_BLOCK_BYTES = 16 << 20
_TIME = pa.timestamp("us", tz="UTC")
_KIND = pa.dictionary(pa.int32(), pa.string())
_SEQUENCE, _FRACTIONAL = (
    pa.struct([(STEP, pa.int64()), (EPOCH, kind), (TIMESTAMP, pa.string())]) for kind in (pa.int64(), pa.float64())
)
_FRACTION = re.compile(rb'"sequence":{"epoch":-?\d+\.')  # raw quotes keep it from being a part of a name
_BYTES_OF_OTHERS = (b"null", b"\0", b"\\u0000")
_UTC = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
# Numbers that stand for what JSON lacks while Arrow reads; a block that holds them already is read line by line.
_STAND_INS = {
    f':"{text}"'.encode(): (f":{number!r}".encode(), number, FROM_STRING[text])
    for text, number in (("NaN", 1.234567891e-301), ("Infinity", 2.345678912e-301), ("-Infinity", 3.456789123e-301))
}


def read_table(files: Mapping[str, AnyPath]) -> Any:
    """Return metrics as one table, type by type and in the order of logging.

    Args:
        files: Metrics file by type.

    Returns:
        A `pyarrow.Table` with the columns `type` (dictionary of strings), `step`, `epoch` (null if missing), `timestamp`
        (microseconds, UTC; null if it is no time) and one for each metric, in the order of their first occurrence. Numbers, epochs
        too, are int64 where all are integers that fit, else float64; null where a row lacks the metric. A metric with the name of
        one of the first four has `value.` before it.

    Raises:
        OSError: A file cannot be read.
    """
    parts = [part for kind, path in files.items() for part in _parts(kind, path)]
    return _join(parts)


def write_parquet(files: Mapping[str, AnyPath], target: BinaryIO) -> None:
    """Write metrics as a Parquet file.

    Args:
        files: Metrics file by type.
        target: The file, open for writing.

    Raises:
        OSError: A file cannot be read or written.
    """
    import pyarrow.parquet  # noqa: PLC0415 - slow to import, and reading needs none of it

    pyarrow.parquet.write_table(read_table(files), target)


def write_parquet_of_runs(runs: Mapping[str, Mapping[str, AnyPath]], target: BinaryIO) -> None:
    """Write the metrics of several runs as one Parquet file, whose first column `run` says of which one a row is.

    Args:
        runs: Metrics file by type, of each run by its name.
        target: The file, open for writing.

    Raises:
        OSError: A file cannot be read or written.
    """
    from pyarrow import parquet  # noqa: PLC0415 - see `write_parquet`

    tables = []
    for name, files in runs.items():
        table = read_table(files)
        metrics = [column_name(column, [RUN]) for column in table.column_names[len(PLACE) :]]
        table = table.rename_columns([*PLACE, *metrics])
        tables.append(table.add_column(0, RUN, pa.repeat(pa.scalar(name), len(table)).dictionary_encode()))
    parquet.write_table(pa.concat_tables(tables, promote_options="permissive"), target)


def _parts(kind: str, path: AnyPath) -> Iterator[Any]:
    reader = Reader(path)
    for block in reader.blocks(_BLOCK_BYTES):
        part = _parse(block)
        if part is None:
            part = _from_entries(reader.entries(block))
        else:
            reader.passed(part.num_rows)
        if part.num_rows:
            kinds = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), part.num_rows), pa.array([kind]))
            yield part.add_column(0, pa.field(TYPE, _KIND), kinds)


def _parse(block: bytes) -> Any:
    """Read a block by Arrow; None where that might give another result than the reader of lines."""
    lines = block.count(b"\n")
    if not (block.startswith(b"- {") and block.endswith(b"}\n") and block.count(b"\n- {") == lines - 1):
        return None
    if any(odd in block for odd in _BYTES_OF_OTHERS):
        return None
    found = []
    if b'"NaN"' in block or b'Infinity"' in block:
        for text, (stand_in, number, meant) in _STAND_INS.items():
            if stand_in in block:
                return None
            if text in block:
                block = block.replace(text, stand_in)
                found.append((number, meant))
    data = block[2:].replace(b"\n- {", b"\n{")
    form = _FRACTIONAL if _FRACTION.search(data) else _SEQUENCE
    try:
        if not data.isascii():
            data.decode()
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema([("sequence", form)]), unexpected_field_behavior="infer"
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if table.num_rows != lines or table.column_names not in (["sequence", "value"], ["value", "sequence"]):
        return None
    return _flatten(table, form, found)


def _flatten(table: Any, form: Any, stand_ins: Iterable[tuple[float, float]]) -> Any:
    sequence, value = table["sequence"], table["value"]
    if sequence.type != form or not pa.types.is_struct(value.type) or sequence.null_count or value.null_count:
        return None
    step, epoch, timestamp = sequence.flatten()
    if step.null_count or timestamp.null_count:
        return None
    # Arrow takes other forms of a time, and offsets, which are no times here.
    if not pc.all(pc.match_substring_regex(timestamp, f"^{_UTC.pattern}$")).as_py():
        return None
    columns = {STEP: step, EPOCH: epoch}
    try:
        columns[TIMESTAMP] = pc.cast(timestamp, _TIME)
    except pa.ArrowInvalid:
        return None
    for field, column in zip(value.type, value.flatten(), strict=True):
        if pa.types.is_float64(field.type):
            for number, meant in stand_ins:
                column = pc.if_else(pc.equal(column, number), meant, column)  # noqa: PLW2901
        elif not pa.types.is_int64(field.type):
            return None
        columns[column_name(field.name)] = column
    return pa.table(columns)


def _from_entries(entries: Iterable[Entry]) -> Any:
    steps: list[Any] = []
    epochs: list[Any] = []
    times: list[datetime | None] = []
    values: dict[str, list[Any]] = {}
    for row, entry in enumerate(entries):
        sequence = entry["sequence"]
        steps.append(sequence["step"])
        epochs.append(sequence.get("epoch"))
        times.append(_moment(str(sequence.get("timestamp", ""))))
        for name, number in entry["value"].items():
            column = values.setdefault(column_name(name), [])
            column.extend([None] * (row - len(column)))
            column[row:] = [number]
    columns = {STEP: _numbers(steps), EPOCH: _numbers(epochs), TIMESTAMP: pa.array(times, _TIME)}
    for name, column in values.items():
        column.extend([None] * (len(steps) - len(column)))
        columns[name] = _numbers(column)
    return pa.table(columns)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{text[:-1]}+00:00") if _UTC.fullmatch(text) else None
    except ValueError:
        return None


def _numbers(column: list[Any]) -> Any:
    if all(number is None or (isinstance(number, int) and -(1 << 63) <= number < 1 << 63) for number in column):
        return pa.array([None if number is None else int(number) for number in column], pa.int64())
    return pa.array([None if number is None else _float(number) for number in column], pa.float64())


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _join(parts: list[Any]) -> Any:
    """Put tables below each other; a column is float64 as soon as it is in one of them."""
    types: dict[str, Any] = {TYPE: _KIND, STEP: pa.int64(), EPOCH: pa.int64(), TIMESTAMP: _TIME}
    for part in parts:
        for field in part.schema:
            if types.setdefault(field.name, field.type) == pa.int64():
                types[field.name] = field.type
    chunks: dict[str, list[Any]] = {name: [] for name in types}
    for part in parts:
        names = set(part.column_names)
        for name, kind in types.items():
            if name not in names:
                chunks[name].append(pa.nulls(part.num_rows, kind))
                continue
            column = part[name]
            chunks[name] += (column if column.type == kind else column.cast(kind, safe=False)).chunks
    columns = [pa.chunked_array(chunks[name], kind) for name, kind in types.items()]
    table = pa.table(columns, names=list(types))
    return table.unify_dictionaries()
