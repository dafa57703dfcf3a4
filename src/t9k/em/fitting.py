"""Cut plain data so that its file does not become larger than its reader takes."""

from __future__ import annotations

import json
import re
from typing import Any

from t9k.em.plain import Path

_LEAST_BYTES = 200
_WIDENED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")  # written as six characters each
_MOST_WIDENING = 4
_json_string = json.JSONEncoder(ensure_ascii=False).encode


def fitted(data: Any, most_bytes: int, notes: dict[Path, str], path: Path = ()) -> Any:
    """Return data that takes no more than some bytes as YAML.

    Small parts stay as they are, and the others share what is left: texts are cut, lists described, and of a mapping with
    too many entries the largest are left out.

    Args:
        data: Plain data.
        most_bytes: Size that it may have.
        notes: What was cut is noted here, by place.
        path: Where the data stands.
    """
    size = size_bytes(data, len(path))
    if size <= most_bytes:
        return data
    if isinstance(data, dict):
        return _of_mapping(data, most_bytes, notes, path)
    notes[path] = f"takes {size} bytes and is cut"
    if isinstance(data, str):
        end = f"... ({len(data)} characters)"
        shown = data[: max(0, most_bytes)]
        while shown and size_bytes(shown + end, len(path)) > most_bytes:
            shown = shown[: len(shown) * 3 // 4]
        return shown + end
    return f"{len(data)} elements, {size} bytes" if isinstance(data, (list, tuple)) else f"{size} bytes"


def _of_mapping(data: dict[str, Any], most_bytes: int, notes: dict[Path, str], path: Path) -> dict[str, Any]:
    left = most_bytes - _overhead(len(path))
    kept: dict[str, Any] = {}
    costs = sorted((_entry(key, value, len(path)), key) for key, value in data.items())
    for position, (cost, key) in enumerate(costs):
        share = left // (len(costs) - position)
        part = data[key]
        if cost > share:
            rest = share - _entry(key, None, len(path))
            if rest >= _LEAST_BYTES:
                part = fitted(part, rest, notes, (*path, key))
                cost = _entry(key, part, len(path))  # noqa: PLW2901 - what it costs now
            elif cost > left:
                notes[path] = f"has {len(data)} entries, of which {len(data) - len(kept)} are left out"
                break
        kept[key] = part
        left -= cost
    return {key: kept[key] for key in data if key in kept}


def size_bytes(data: Any, depth: int = 0) -> int:
    """Return how many bytes data takes as YAML at most.

    Args:
        data: Plain data.
        depth: How many mappings and lists it stands in.
    """
    if isinstance(data, str):
        return len(_json_string(data).encode()) + _MOST_WIDENING * len(_WIDENED.findall(data)) + _overhead(depth)
    if isinstance(data, dict):
        return _overhead(depth) + sum(_entry(key, value, depth) for key, value in data.items())
    if isinstance(data, (list, tuple)):
        return _overhead(depth) + sum(size_bytes(element, depth + 1) for element in data)
    return len(repr(data)) + _overhead(depth)


def _entry(key: str, value: Any, depth: int) -> int:
    return size_bytes(key, depth + 1) + size_bytes(value, depth + 1)


def _overhead(depth: int) -> int:
    """Indentation, line ends and signs of one scalar."""
    return 2 * depth + 8
