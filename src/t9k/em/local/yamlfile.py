"""The one place that reads and writes YAML: plain data only, and what is written reads back the same.

Plain scalars are read as PyYAML reads them, except that ``1e-3`` is a float, ``0777`` is a decimal integer, and
``1:30`` and ``2020-01-01`` stay strings (YAML 1.2). What is written reads the same by YAML 1.1 and 1.2.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from t9k.em.errors import CorruptLocalData, EMError
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.disk import explained
from t9k.em.local.yamlwriter import MAX_BYTES, MAX_DEPTH, dump

__all__ = ["MAX_BYTES", "MAX_DEPTH", "dump", "load"]

_MAX_ALIASED_NODES = 100_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_SCALAR_TYPES: dict[str, Any] = {
    _TAG + "bool": bool,
    _TAG + "float": (int, float),
    _TAG + "int": int,
    _TAG + "null": type(None),
}
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    form: value
    for word, value in [("true", True), ("yes", True), ("on", True), ("false", False), ("no", False), ("off", False)]
    for form in (word, word.capitalize(), word.upper())
}
_INT = re.compile(r"[-+]?(?:[0-9][0-9_]*|0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def load(
    source: str | bytes | Path | Below,
    *,
    aliases: bool = False,
    what: str = "YAML",
    error: type[EMError] = CorruptLocalData,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Read one YAML document of plain data: mappings, sequences, strings, numbers, booleans and nulls.

    Args:
        source: A `Path` to read, wherever links in it lead, or a `Below`; or the text itself as `str` or UTF-8 `bytes`.
        aliases: Whether anchors and aliases, as people write them in config files, may be used. What they stand for
            is copied, up to 100,000 nodes. Files that only this library writes have none.
        what: What the text is, for messages, for example "run config".
        error: What to raise if it cannot be used.
        max_bytes: Size of the largest text to read, in bytes.

    Returns:
        The data; None for an empty text. Timestamps are strings. Keys are scalars, not necessarily strings.

    Raises:
        EMError: The class `error`: not UTF-8, not YAML, more than one document, a tag or alias that is not allowed, a key
            that occurs twice or is no scalar, too deep, too large. Message: path, line and reason.
        NodeSymlinkError: The `Below` is a link.
        LocalError: No permission to read the file.
        OSError: The file cannot be read, for example FileNotFoundError.
    """
    name = f"{what} {source}" if isinstance(source, (Path, Below)) else what
    data = _read(source, max_bytes)
    if len(data) > max_bytes:
        raise error(f"{name} is larger than {max_bytes} bytes; split it, or check that it is the right file")
    try:
        return _Builder(aliases=aliases).build(data.decode("utf-8-sig"))
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise error(_complaint(name, line, "not UTF-8")) from cause
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        line = mark.line + 1 if mark else 1
        raise error(_complaint(name, line, cause.problem or "not YAML")) from cause
    except yaml.YAMLError as cause:  # a character that YAML does not allow
        raise error(_complaint(name, 1, str(cause).replace("\n", " "))) from cause


def _complaint(name: str, line: int, reason: str) -> str:
    return f"{name}, line {line}: {reason}; correct it, or put a good copy in its place"


def _read(source: str | bytes | Path | Below, max_bytes: int) -> bytes:
    if isinstance(source, str):
        return source.encode("utf-8", "surrogatepass")
    if isinstance(source, bytes):
        return source
    with explained("read", source):
        if isinstance(source, Below):
            return below.read(source, max_bytes + 1)
        with source.open("rb") as file:
            return file.read(max_bytes + 1)


def _refuse(event: Any, reason: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=event.start_mark)


class _Level:
    """A mapping or sequence that is being read."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.is_mapping = isinstance(event, yaml.MappingStartEvent)
        self.items: list[Any] = []
        self.mapping: dict[Any, Any] = {}
        self.merged: dict[Any, Any] = {}
        self.key: Any = _NO_KEY
        self.nodes = 1

    def value(self) -> Any:
        return {**self.merged, **self.mapping} if self.is_mapping else self.items


_NO_KEY = object()
_MERGE = object()


class _Builder:
    """Turn the parser's events into data.

    Events instead of PyYAML's constructors: nothing recurses, so that depth is limited by us and not by the stack; aliases are
    seen before anything is made of them; and no constructor is ever looked up by a tag.
    """

    def __init__(self, *, aliases: bool) -> None:
        self._aliases = aliases
        self._levels: list[_Level] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliased_nodes = 0
        self._root: Any = None

    def build(self, text: str) -> Any:
        documents = 0
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.ScalarEvent):
                self._add(event, self._scalar(event), 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                level = self._levels.pop()
                self._add(level.event, level.value(), level.nodes)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _refuse(event, "a second document begins here")
        return self._root

    def _open(self, event: Any) -> None:
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _TAG + kind):
            raise _refuse(event, f"the tag {event.tag!r} is not allowed, only plain data")
        if len(self._levels) == MAX_DEPTH:
            raise _refuse(event, f"more than {MAX_DEPTH} mappings and sequences within one another")
        if self._levels and self._levels[-1].is_mapping and self._levels[-1].key is _NO_KEY:
            raise _refuse(event, "a key must be a string or number")
        self._levels.append(_Level(event))

    def _alias(self, event: Any) -> None:
        if not self._aliases:
            raise _refuse(event, f"the alias *{event.anchor} is not allowed here")
        if event.anchor not in self._anchors:
            raise _refuse(event, f"*{event.anchor} does not stand for anything above it")
        value, nodes = self._anchors[event.anchor]
        self._aliased_nodes += nodes
        if self._aliased_nodes > _MAX_ALIASED_NODES:
            raise _refuse(event, f"aliases stand for more than {_MAX_ALIASED_NODES} nodes in all")
        self._add(event, _copied(value), nodes)

    def _add(self, event: Any, value: Any, nodes: int) -> None:
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = (value, nodes)
        if not self._levels:
            self._root = value
            return
        level = self._levels[-1]
        level.nodes += nodes
        if not level.is_mapping:
            level.items.append(value)
        elif level.key is _NO_KEY:
            level.key = self._key(event, value, level)
        elif level.key is _MERGE:
            level.merged = _merge(event, value)
            level.key = _NO_KEY
        else:
            level.mapping[level.key] = value
            level.key = _NO_KEY

    def _key(self, event: Any, value: Any, level: _Level) -> Any:
        if isinstance(value, (dict, list)):
            raise _refuse(event, "a key must be a string or number")
        is_merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
        if level.merged if is_merge else value in level.mapping:
            raise _refuse(event, f"the key {value!r} occurs twice")
        return _MERGE if is_merge else value

    def _scalar(self, event: Any) -> Any:
        text = event.value
        kind = event.tag
        if kind in ("!", _TAG + "str") or (kind is None and not event.implicit[0]):
            return text
        value = _resolve(event, text)
        if kind is None:
            return value
        if kind not in _SCALAR_TYPES:
            raise _refuse(event, f"the tag {kind!r} is not allowed, only plain data")
        if not isinstance(value, _SCALAR_TYPES[kind]):
            raise _refuse(event, f"{text!r} does not fit its tag {kind!r}")
        return float(value) if kind == _TAG + "float" else value


def _resolve(event: Any, text: str) -> Any:
    """Return what a plain scalar stands for."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if not (text[0] in "+-." or text[0].isdigit()):
        return text
    digits = text.replace("_", "")
    try:
        if _INT.fullmatch(text):
            return int(digits, 0 if re.match("[-+]?0[box]", digits) else 10)
        if _FLOAT.fullmatch(text):
            return float(digits)
    except ValueError as error:  # thousands of digits, or none after 0x
        raise _refuse(event, f"{text[:40]!r} is not a number that can be read") from error
    special = _SPECIAL.fullmatch(text)
    if special:
        return float(special[1] + "inf") if special[2] else float("nan")
    return text


def _merge(event: Any, value: Any) -> dict[Any, Any]:
    parts = value if isinstance(value, list) else [value]
    merged: dict[Any, Any] = {}
    for part in reversed(parts):
        if not isinstance(part, dict):
            raise _refuse(event, "<< takes a mapping, or a sequence of mappings")
        merged.update(part)
    return merged


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value
