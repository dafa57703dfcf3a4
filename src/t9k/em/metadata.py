"""Reads fields of metadata that a caller, a file or a backend gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t9k.em.errors import InvalidInput


def text_of(metadata: Mapping[str, Any], name: str) -> str:
    """A field that is a text; '' when it is missing or None.

    Raises:
        InvalidInput: It is something else.
    """
    value = metadata.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a str, not {value!r}")
    return value


def labels_of(metadata: Mapping[str, Any]) -> list[str]:
    """The field `labels`, a sequence of str; a new list.

    Raises:
        InvalidInput: It is something else.
    """
    labels = metadata.get("labels") or ()
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise InvalidInput(f"labels must be a sequence of str, not {labels!r}; write them like ['a', 'b']")
    return list(labels)
