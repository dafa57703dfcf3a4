"""What a path, name or field of an asset may be, and the errors for what it may not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import attrs

    from t9k.em.errors import InvalidInput, InvalidName

HUB = "t9k-assethub"
FOLDER_PARTS, ASSET_PARTS = 2, 3

_COMMIT_ID = re.compile(r"[0-9a-f]{4,64}")
_MAX_NAME_BYTES = 255
_FORBIDDEN = frozenset("\\:@")
_NO_NAME = ("Cc", "Cs")


def check_str(instance: Any, attribute: attrs.Attribute[str], value: object) -> None:
    """Refuse what is no str; a validator of attrs."""
    if not isinstance(value, str):
        raise invalid(f"{attribute.name} of a {type(instance).__name__} must be a str, not {type(value).__name__}")


def as_labels(value: object) -> tuple[Any, ...]:
    """Return labels as a tuple; a converter of attrs."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise invalid(f"labels must be a list of str, not {type(value).__name__}")
    return tuple(value)


def check_labels(_: object, __: object, labels: tuple[object, ...]) -> None:
    """Refuse labels that are no text or blank; a validator of attrs."""
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise invalid(f"labels must be strings that are not blank, but one is {label!r}")


def check_commit_id(cls: type, value: object) -> None:
    """Refuse what is no commit id, in lower case."""
    if not isinstance(value, str) or not _COMMIT_ID.fullmatch(value):
        raise invalid(f"id {value!r} of a {cls.__name__} must be 4 to 64 hexadecimal digits")


def _flaw(name: str) -> str | None:
    if not name.strip() or name != name.strip():
        return "is empty, or starts or ends with a space"
    if name in (".", ".."):
        return "is '.' or '..'"
    if any(character in _FORBIDDEN or unicodedata.category(character) in _NO_NAME for character in name):
        return "holds one of \\ : @, a control character or a lone surrogate"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"is longer than {_MAX_NAME_BYTES} bytes of UTF-8"
    return None


def parts_of(what: str, text: object) -> list[str]:
    """Split a path into its names, each of them checked."""
    if not isinstance(text, str):
        raise invalid_name(f"{what} must be a str, not {type(text).__name__}")
    parts = text.split("/")
    for part in parts:
        flaw = _flaw(part)
        if flaw is not None:
            raise invalid_name(f"{what} {text!r} has a component that {flaw}; use the one that Asset Hub shows")
    return parts


def below_hub(cls: type, kinds: Sequence[str], least: int, path: object) -> list[str]:
    """Check a path, and return its parts from 'model' or 'dataset' on.

    Args:
        cls: Whose path it is.
        kinds: What it may begin with.
        least: How many parts it has at least.
        path: The path.
    """
    absolute = isinstance(path, str) and path.startswith("/")
    parts = parts_of(f"path of a {cls.__name__}", cast("str", path)[1:] if absolute else path)
    if absolute:
        parts = parts[2:] if len(parts) > 1 and parts[1] == HUB else []
    if len(parts) < least or parts[0] not in kinds:
        names = "<folder>" if least == FOLDER_PARTS else "<folder>/<asset>"
        roots = " or ".join(f"'{kind}/{names}'" for kind in kinds)
        raise invalid_name(
            f"path {path!r} of a {cls.__name__} must be {roots}, or the same below '/<user>/{HUB}/'; "
            "use the one that Asset Hub shows"
        )
    return parts


def invalid(message: str) -> InvalidInput:
    """Return the error for a value that cannot be."""
    from t9k.em.errors import InvalidInput  # noqa: PLC0415 - t9k.em imports this module

    return InvalidInput(message)


def invalid_name(message: str) -> InvalidName:
    """Return the error for a name or path that cannot be one."""
    from t9k.em.errors import InvalidName  # noqa: PLC0415 - t9k.em imports this module

    return InvalidName(message)
