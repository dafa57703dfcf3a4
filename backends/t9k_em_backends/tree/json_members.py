"""Long JSON records, read member by member: nothing is parsed behind the first flaw, nor kept that is not asked for.

What a reader of JSON makes of a text may take a hundred times the memory of the text, and a text that of what it was
unpacked from a thousand times; so neither is read as a whole. A record of this kind is an object whose first fields are
`v`, its format, and one long list or object.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from t9k_em_backends.tree.values import format_of

MAX_MEMBER_BYTES = 32 << 10
"""Of one member, more than any of ours takes, and of what stands behind all of them."""

_DECODER = json.JSONDecoder()
_NEXT = re.compile(r"\s*,\s*", re.ASCII)
_COLON = re.compile(r"\s*:\s*", re.ASCII)


def elements(texts: Iterable[str], name: str, known: int, key: str) -> Iterator[Any]:
    """Yield the elements of a long list one by one.

    Args:
        texts: The record in pieces.
        name: The field that is long.
        known: The format that can be read.
        key: Where the record lies.

    Raises:
        NewerFormat: The record is of a later format.
        ValueError, TypeError, RecursionError: The text is no such list.
    """
    return (value for _, value in _read(texts, f'"{name}"\\s*:\\s*\\[', known, key, is_list=True))


def members(texts: Iterable[str], name: str, known: int, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the members of a long object one by one, each with its key.

    Args:
        texts: See `elements`.
        name: See there.
        known: See there.
        key: See there.

    Raises:
        NewerFormat: The record is of a later format.
        ValueError, TypeError, RecursionError: The text is no such object.
    """
    return _read(texts, f'"{name}"\\s*:\\s*\\{{', known, key, is_list=False)


def decoded(chunks: Iterable[bytes], most_bytes: int) -> Iterator[str]:
    """Yield bytes in UTF-8 as text.

    Raises:
        ValueError: The bytes are no UTF-8, or too many.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            raise ValueError(f"it is larger than {most_bytes} bytes")
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _read(texts: Iterable[str], opening: str, known: int, key: str, *, is_list: bool) -> Iterator[tuple[str, Any]]:
    text = _Window(texts)
    head = text.take(re.compile(rf'\s*\{{\s*"v"\s*:\s*(\d{{1,9}})\s*,\s*{opening}\s*', re.ASCII))
    if head is None:
        raise ValueError("it does not begin like one")
    format_of({"v": int(head[1])}, known, key)
    end = re.compile(r"\s*\]" if is_list else r"\s*\}", re.ASCII)
    is_first = True
    while text.take(end) is None:
        if not is_first and text.take(_NEXT) is None:
            raise ValueError("a comma is missing")
        is_first = False
        yield "" if is_list else text.key(), text.value()
    json.loads(f'{{"":0{text.rest()}')  # fields that a later version adds


class _Window:
    """The next part of a text: always as long as a member may be, as far as there is so much."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)
        self._text = ""
        self._at = 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Pass over what a pattern matches."""
        self._fill()
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def key(self) -> str:
        """Pass over a key and its colon."""
        key = self.value()
        if not isinstance(key, str) or self.take(_COLON) is None:
            raise ValueError("a key is missing")
        return key

    def value(self) -> Any:
        """Pass over one value."""
        self._fill()
        value, end = _DECODER.raw_decode(self._text, self._at)
        if end - self._at > MAX_MEMBER_BYTES:
            raise ValueError(f"a member is longer than {MAX_MEMBER_BYTES} characters")
        self._at = end
        return value

    def rest(self) -> str:
        """All that is left."""
        self._fill()
        rest = self._text[self._at :]
        if len(rest) > MAX_MEMBER_BYTES:
            raise ValueError("there is too much at its end")
        return rest

    def _fill(self) -> None:
        if len(self._text) - self._at > MAX_MEMBER_BYTES:
            return
        pieces = [self._text[self._at :]]
        size = len(pieces[0])
        while size <= MAX_MEMBER_BYTES and (piece := next(self._texts, None)) is not None:
            pieces.append(piece)
            size += len(piece)
        self._text, self._at = "".join(pieces), 0
