"""Read fields of metadata that a caller, a file or a backend gave."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from t9k.em.errors import InvalidInput

MAX_TEXT_BYTES = 512 << 10
"""Of the description and labels together, as JSON: half of the 1 MiB that a backend takes of all metadata."""

MAX_ASSOCIATIONS_BYTES = 256 << 10
"""Of the associations when one is added, as JSON; where the artifacts are is added when they are uploaded."""

_WIDEST = 12  # bytes of one character in JSON


def mapping_of(value: object, what: str) -> Mapping[str, Any]:
    """Return a value that is a mapping.

    Raises:
        InvalidInput: The value is no mapping.
    """
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{what} must be a dict, not {value!r}")
    return value


def text_of(metadata: Mapping[str, Any], name: str) -> str:
    """Return a field that is a text; '' when it is missing or None.

    Raises:
        InvalidInput: The value is no text.
    """
    value = metadata.get(name)
    if value is None:
        return ""
    if not _is_text(value):
        raise InvalidInput(f"{name} must be a str of valid Unicode, not {value!r}")
    return str(value)


def labels_of(metadata: Mapping[str, Any]) -> list[str]:
    """Return the field `labels`, a sequence of str; a new list.

    Raises:
        InvalidInput: The value has another form.
    """
    labels = metadata.get("labels") or ()
    if not is_texts(labels):
        raise InvalidInput(f"labels must be a sequence of str, not {labels!r}; write them like ['a', 'b']")
    return list(labels)


def associations_of(metadata: Mapping[str, Any], sides: Collection[str]) -> dict[str, list[dict[str, str]]]:
    """Return the field `associations`: for each side a list of records whose values are all str; new lists and dicts.

    Raises:
        InvalidInput: The value has another form.
    """
    given = metadata.get("associations") or {}
    if not isinstance(given, Mapping):
        raise InvalidInput(f"associations must be a dict of lists, not {given!r}")
    associations: dict[str, list[dict[str, str]]] = {}
    for side in sides:
        records = given.get(side) or []
        if not isinstance(records, (list, tuple)) or not all(map(_is_record, records)):
            raise InvalidInput(f"associations[{side!r}] must be a list of dicts with 'type' and 'id', not {records!r}")
        associations[side] = [dict(record) for record in records]
    return associations


def is_texts(value: object) -> bool:
    """Return whether something is a sequence or set of str, and no str itself."""
    if isinstance(value, (list, tuple)):  # most are; the others take longer to find out
        return all(map(_is_text, value))
    return isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping)) and all(map(_is_text, value))


def _is_record(value: object) -> bool:
    if not isinstance(value, Mapping) or not all(map(_is_text, [*value.keys(), *value.values()])):
        return False
    return "type" in value and bool(value.get("reference") or value.get("id"))


def _is_text(value: object) -> bool:
    """Return whether something is a str that every file can hold."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def check_texts(description: str, labels: Sequence[str]) -> None:
    """Refuse a description and labels that no backend takes.

    Raises:
        InvalidInput: The texts are too large.
    """
    size = _json_bytes(description) + _json_bytes(list(labels))
    if size > MAX_TEXT_BYTES:
        raise InvalidInput(
            f"description and labels take {size} bytes, of at most {MAX_TEXT_BYTES}; keep long texts as a file of an artifact"
        )


def cut_texts(description: str, labels: list[str]) -> tuple[str, list[str]] | None:
    """Return as much of a description and labels as a backend takes; None if that is all.

    Args:
        description: It is cut at its end.
        labels: At most half of the room is theirs; the first ones stay.
    """
    if _WIDEST * (len(description) + sum(map(len, labels))) + 4 * len(labels) <= MAX_TEXT_BYTES - _WIDEST:
        return None  # measured only when it matters: metadata is made up often
    if _json_bytes(description) + _json_bytes(labels) <= MAX_TEXT_BYTES:
        return None
    while labels and _json_bytes(labels) > MAX_TEXT_BYTES // 2:
        labels = labels[: len(labels) // 2]
    room = MAX_TEXT_BYTES - _json_bytes(labels)
    shown = description[:room]
    while shown and _json_bytes(shown) > room:
        shown = shown[: len(shown) * 3 // 4]
    return shown, labels


def check_associations(associations: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    """Refuse more inputs and outputs than a backend takes.

    Raises:
        InvalidInput: The associations are too many.
    """
    size = _json_bytes(associations)
    if size > MAX_ASSOCIATIONS_BYTES:
        raise InvalidInput(
            f"the inputs and outputs of a run take {size} bytes of metadata, of at most {MAX_ASSOCIATIONS_BYTES}; mark one "
            "artifact that holds many files instead"
        )


def _json_bytes(data: object) -> int:
    return len(json.dumps(data))
