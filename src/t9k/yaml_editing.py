"""Edits of a YAML text that leave every character which they do not concern: comments, order, quotes, blank lines."""

from __future__ import annotations

import math
from typing import Any

import yaml

__all__ = ["edit"]


def edit(document: bytes, new: dict[Any, Any]) -> str:
    """Return a YAML text changed so that it holds other data.

    Args:
        document: The text, one document, a mapping or nothing, which `yaml.safe_load` accepts.
        new: The data that the document is to hold.

    Returns:
        The changed text. Where the change cannot be made in place, as with a part that aliases or merge keys share, or in
        UTF-16, it is the data written by PyYAML, without comments.
    """
    try:
        text = document.decode()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        editor = _Editor(text)
        changed = editor.appended(new) if root is None else editor.changed(root, yaml.safe_load(text), new)
        if yaml.safe_load(changed) == new:
            return changed
    except (_NotInPlace, yaml.YAMLError, ValueError):
        pass  # the data counts for more than the comments
    return _block(new)


class _NotInPlace(Exception):
    """A change that concerns text elsewhere."""


class _Editor:
    """Collects replacements of spans of one text, by characters, the end exclusive."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[tuple[int, int, str]] = []

    def appended(self, new: dict[Any, Any]) -> str:
        """Return the text, which holds no data, with data behind it."""
        self._insert_lines(len(self._text), _block(new), 0)
        return self._apply()

    def changed(self, root: yaml.Node, old: Any, new: dict[Any, Any]) -> str:
        """Return the text with `new` in place of `old`."""
        self._mapping(root, old, new)
        return self._apply()

    def _apply(self) -> str:
        text, behind = self._text, len(self._text)
        for start, end, replacement in sorted(self._edits, key=lambda found: found[:2], reverse=True):
            if end > behind:
                raise _NotInPlace
            text, behind = text[:start] + replacement + text[end:], start
        return text

    def _mapping(self, node: yaml.Node, old: dict[Any, Any], new: dict[Any, Any]) -> None:
        if not isinstance(node, yaml.MappingNode) or len(node.value) != len(old):  # a merge key, or a repeated one
            raise _NotInPlace
        for number, key in enumerate(old):
            if key not in new:
                self._remove(node, number)
            elif old[key] != new[key]:
                self._value(node, number, old[key], new[key])
        added = {key: value for key, value in new.items() if key not in old}
        if not added:
            return
        if not node.value:
            self._replace(node, added)
        elif node.flow_style:
            end = _end_of_pair(*node.value[-1])
            self._edits.append((end, end, ", " + _inline(added)[1:-1]))
        else:
            at = self._next_line(_end_of_pair(*node.value[-1]))
            self._insert_lines(at, _block(added), node.value[0][0].start_mark.column)

    def _value(self, parent: yaml.MappingNode, number: int, old: Any, new: Any) -> None:
        key, node = parent.value[number]
        _check_order(key, node)
        if isinstance(old, dict) and isinstance(new, dict):
            if new:
                self._mapping(node, old, new)
            elif node.flow_style:
                self._replace(node, new)
            else:
                self._empty(key, node)
        elif isinstance(old, list) and isinstance(new, list) and old:
            self._list(node, old, new)
        else:
            self._replace(node, new, is_inline=parent.flow_style)

    def _empty(self, key: yaml.Node, node: yaml.MappingNode) -> None:
        colon = self._text.index(":", key.end_mark.index) + 1
        self._edits.append((colon, colon, " {}"))
        for number in range(len(node.value)):
            self._remove(node, number)

    def _list(self, node: yaml.Node, old: list[Any], new: list[Any]) -> None:
        if not isinstance(node, yaml.SequenceNode) or len(new) < len(old):
            raise _NotInPlace
        for item, before, after in zip(node.value, old, new[: len(old)], strict=True):
            if before != after:
                _check_order(node, item)
                self._mapping(item, before, after)
        if added := new[len(old) :]:
            _check_order(node, node.value[-1])
            end = _end(node.value[-1])
            if node.flow_style:
                self._edits.append((end, end, ", " + _inline(added)[1:-1]))
            else:
                self._insert_lines(self._next_line(end), _block(added), node.start_mark.column)

    def _replace(self, node: yaml.Node, new: Any, *, is_inline: bool = True) -> None:
        start, end = node.start_mark.index, _end(node)
        style = node.style if isinstance(node, yaml.ScalarNode) and node.style in {"'", '"'} else None
        text = _inline(new, style)
        if isinstance(new, str) and style is None and not is_inline:  # fewer characters need quotes there
            plain = _block(new).removesuffix("...\n").rstrip("\n")
            text = text if "\n" in plain else plain
        self._edits.append((start, end, (" " if start == end else "") + text))

    def _remove(self, node: yaml.MappingNode, number: int) -> None:
        key, value = node.value[number]
        start, end = key.start_mark.index, _end_of_pair(key, value)
        line = self._text.rfind("\n", 0, start) + 1
        following = node.value[number + 1 :]
        if not node.flow_style and not self._text[line:start].strip():
            self._edits.append((line, self._next_line(end), ""))
        elif following:  # behind `- `, or in braces
            self._edits.append((start, following[0][0].start_mark.index, ""))
        elif node.flow_style:
            self._edits.append((_end_of_pair(*node.value[number - 1]) if number else start, end, ""))
        else:
            raise _NotInPlace

    def _insert_lines(self, at: int, lines: str, column: int) -> None:
        inserted = "".join(" " * column + line + self._newline for line in lines.splitlines())
        is_open = at and self._text[at - 1] != "\n"
        self._edits.append((at, at, (self._newline if is_open else "") + inserted))

    def _next_line(self, index: int) -> int:
        return self._text.find("\n", index) + 1 or len(self._text)


def _check_order(before: yaml.Node, node: yaml.Node) -> None:
    """Refuse an alias: its node is the one that the anchor names, in another place of the text."""
    if node.start_mark.index < before.start_mark.index:
        raise _NotInPlace


def _end_of_pair(key: yaml.Node, value: yaml.Node) -> int:
    _check_order(key, value)
    return _end(value)


def _end(node: yaml.Node) -> int:
    """Return where the text of a node ends; the mark of a block stands behind the comments that follow it."""
    if isinstance(node, yaml.ScalarNode):
        if node.style in {"|", ">"}:
            raise _NotInPlace
    elif isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end_of_pair(*last) if isinstance(node, yaml.MappingNode) else _end(last)
    end: int = node.end_mark.index
    return end


def _inline(data: Any, style: str | None = None) -> str:
    text: str = yaml.safe_dump(
        [data],
        default_flow_style=True,
        default_style=style if isinstance(data, str) else None,
        allow_unicode=True,
        sort_keys=False,
        width=math.inf,
    )
    return text.strip()[1:-1]


def _block(data: Any) -> str:
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=math.inf)
    return text
