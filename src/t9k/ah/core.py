"""Records of Asset Hub: folders, models and datasets, and the branches, tags and commits of the latter two.

They name an asset so that a run can mark it as its input or output; nothing here talks to a server. A record is found
by its path, `/<user>/t9k-assethub/model/<folder>/<asset>`, or `model/<folder>/<asset>` for the current user.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs
from attrs import field, frozen

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.errors import InvalidInput, InvalidName

__all__ = ["Branch", "Commit", "Dataset", "Folder", "Model", "Tag", "from_dict"]

_HUB = "t9k-assethub"
_COMMIT_ID = re.compile(r"[0-9a-f]{4,64}")
_MAX_NAME_BYTES = 255
_FORBIDDEN = frozenset("\\:@")
_NO_NAME = ("Cc", "Cs")


def _str(instance: Any, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str):
        raise _invalid(f"{attribute.name} of a {type(instance).__name__} must be a str, not {type(value).__name__}")


def _labels(value: object) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _invalid(f"labels must be a list of str, not {type(value).__name__}")
    return tuple(value)


def _each_label(_: object, __: object, labels: tuple[object, ...]) -> None:
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise _invalid(f"labels must be strings that are not blank, but one is {label!r}")


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


def _parts(what: str, text: object) -> list[str]:
    """Split a path into its names, each of them checked."""
    if not isinstance(text, str):
        raise _invalid_name(f"{what} must be a str, not {type(text).__name__}")
    parts = text.split("/")
    for part in parts:
        flaw = _flaw(part)
        if flaw is not None:
            raise _invalid_name(f"{what} {text!r} has a component that {flaw}; use the one that Asset Hub shows")
    return parts


@frozen(kw_only=True)
class _Record:
    """What all records have."""

    id: str = field(default="", validator=_str)
    labels: tuple[str, ...] = field(default=(), converter=_labels, validator=_each_label)
    description: str = field(default="", validator=_str)

    @property
    def kind(self) -> str:
        """What this is: 'Folder', 'Model', 'Dataset', 'Branch', 'Tag' or 'Commit'."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types, with its `kind`.

        Returns:
            A new dict that `from_dict` takes.
        """
        return {"kind": self.kind, **attrs.asdict(self, recurse=False, value_serializer=_plain)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a record of this class from what `to_dict` gave; keys that it does not know are left out.

        Args:
            data: The record as plain JSON types.

        Returns:
            The record.

        Raises:
            InvalidInput: The data is no record of this class.
            InvalidName: A name or path in it cannot be one.
        """
        record = from_dict(data)
        if not isinstance(record, cls):
            raise _invalid(f"the data is a {type(record).__name__}, not a {cls.__name__}")
        return record


def _plain(_: object, __: object, value: Any) -> Any:
    if isinstance(value, _Record):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


@frozen(kw_only=True)
class _Place(_Record):
    """What has a path of its own."""

    path: str = field()
    name: str = field()

    @path.validator
    def _check_path(self, _: object, value: str) -> None:
        self._below_hub(value)

    @name.default
    def _last_of_path(self) -> str:
        path: Any = self.path  # not checked yet
        return path.rpartition("/")[2] if isinstance(path, str) else ""

    @name.validator
    def _check_name(self, _: object, value: str) -> None:
        if len(_parts(f"name of a {self.kind}", value)) > 1:
            raise _invalid_name(f"name {value!r} of a {self.kind} holds a slash; give the whole as path")
        if value != self.path.rpartition("/")[2]:
            raise _invalid_name(f"name {value!r} of a {self.kind} is not the last part of its path {self.path!r}")

    @property
    def reference(self) -> str:
        """What the commands of Asset Hub call it, such as 'model/llm/gpt2'; without the user."""
        return "/".join(self._below_hub(self.path))

    def _below_hub(self, path: object) -> list[str]:
        """Check a path, and return its parts from 'model' or 'dataset' on."""
        absolute = isinstance(path, str) and path.startswith("/")
        parts = _parts(f"path of a {self.kind}", cast("str", path)[1:] if absolute else path)
        if absolute:
            parts = parts[2:] if len(parts) > 1 and parts[1] == _HUB else []
        kinds, least = _SHAPES[type(self)]
        if len(parts) < least or parts[0] not in kinds:
            names = "<folder>" if least == _FOLDER_PARTS else "<folder>/<asset>"
            roots = " or ".join(f"'{kind}/{names}'" for kind in kinds)
            raise _invalid_name(
                f"path {path!r} of a {self.kind} must be {roots}, or the same below '/<user>/{_HUB}/'; "
                "use the one that Asset Hub shows"
            )
        return parts


@frozen(kw_only=True)
class Folder(_Place):
    """A folder of models or of datasets.

    Attributes:
        id: UUID that Asset Hub gave it, '' if not known.
        path: `/<user>/t9k-assethub/model/<folder>`, or `model/<folder>` in the assets of the current user.
        name: Last part of `path`, which is the default.
        labels: Labels, in order.
        description: Free text.
    """


@frozen(kw_only=True)
class Model(_Place):
    """A model: versions of a set of files.

    Attributes:
        id: UUID that Asset Hub gave it, '' if not known.
        path: `/<user>/t9k-assethub/model/<folder>/<model>`, or `model/<folder>/<model>` for the current user.
        name: Last part of `path`, which is the default.
        labels: Labels, in order.
        description: Free text.
    """


@frozen(kw_only=True)
class Dataset(_Place):
    """A dataset: versions of a set of files.

    Attributes:
        id: UUID that Asset Hub gave it, '' if not known.
        path: `/<user>/t9k-assethub/dataset/<folder>/<dataset>`, or `dataset/<folder>/<dataset>` for the current user.
        name: Last part of `path`, which is the default.
        labels: Labels, in order.
        description: Free text.
    """


_FOLDER_PARTS = 2
_ASSET_PARTS = 3
_SHAPES: dict[type[_Place], tuple[tuple[str, ...], int]] = {
    Folder: (("model", "dataset"), _FOLDER_PARTS),
    Model: (("model",), _ASSET_PARTS),
    Dataset: (("dataset",), _ASSET_PARTS),
}


def _asset(instance: Any, _: object, value: Any) -> None:
    if not isinstance(value, (Model, Dataset)):
        raise _invalid(f"asset of a {type(instance).__name__} must be a Model or Dataset, not {type(value).__name__}")


def _ref_name(instance: Any, _: object, value: Any) -> None:
    _parts(f"name of a {type(instance).__name__}", value)


def _commit_id(instance: Any, _: object, value: Any) -> None:
    if not isinstance(value, str) or not _COMMIT_ID.fullmatch(value):
        raise _invalid(f"id {value!r} of a {type(instance).__name__} must be 4 to 64 hexadecimal digits")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


@frozen(kw_only=True)
class _Version(_Record):
    """What belongs to an asset."""

    asset: Model | Dataset = field(validator=_asset)

    @property
    def path(self) -> str:
        """Path of the asset."""
        return self.asset.path


@frozen(kw_only=True)
class Branch(_Version):
    """A branch of a model or dataset.

    Attributes:
        id: What Asset Hub identifies it by, '' if not known.
        asset: The model or dataset.
        name: Name of the branch, such as 'main'.
        labels: Labels, in order.
        description: Free text.
    """

    name: str = field(validator=_ref_name)

    @property
    def reference(self) -> str:
        """What the commands of Asset Hub call it, such as 'model/llm/gpt2:main'."""
        return f"{self.asset.reference}:{self.name}"


@frozen(kw_only=True)
class Tag(_Version):
    """A tag of a model or dataset.

    Attributes:
        id: What Asset Hub identifies it by, '' if not known.
        asset: The model or dataset.
        name: Name of the tag, such as 'v1'.
        labels: Labels, in order.
        description: Free text.
    """

    name: str = field(validator=_ref_name)

    @property
    def reference(self) -> str:
        """What the commands of Asset Hub call it, such as 'model/llm/gpt2:v1'."""
        return f"{self.asset.reference}:{self.name}"


@frozen(kw_only=True)
class Commit(_Version):
    """A commit of a model or dataset.

    Attributes:
        id: Commit id, or its start: 4 to 64 hexadecimal digits, kept in lower case.
        asset: The model or dataset.
        labels: Labels, in order.
        description: The commit message.
    """

    id: str = field(converter=_lower, validator=_commit_id)

    @property
    def name(self) -> str:
        """The id; a commit has no other name."""
        return self.id

    @property
    def reference(self) -> str:
        """What the commands of Asset Hub call it, such as 'model/llm/gpt2:ab12cd34'."""
        return f"{self.asset.reference}:{self.id}"


_KINDS: dict[str, type[_Record]] = {cls.__name__: cls for cls in (Folder, Model, Dataset, Branch, Tag, Commit)}


def from_dict(data: Mapping[str, Any]) -> Folder | Model | Dataset | Branch | Tag | Commit:
    """Make the record that `to_dict` gave; keys that it does not know are left out.

    Args:
        data: The record as plain JSON types; its `kind` tells the class.

    Returns:
        The record.

    Raises:
        InvalidInput: The data is no record.
        InvalidName: A name or path in it cannot be one.
    """
    given: Any = data
    kind = given.get("kind") if isinstance(given, Mapping) else None
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise _invalid(f"an asset must be a mapping whose 'kind' is one of {', '.join(_KINDS)}; its kind is {kind!r}")
    known = {attribute.name: attribute for attribute in attrs.fields(cls)}
    values = {key: value for key, value in data.items() if key in known}
    missing = [name for name, attribute in known.items() if attribute.default is attrs.NOTHING and name not in values]
    if missing:
        raise _invalid(f"a {kind} lacks {', '.join(missing)}")
    if "asset" in values:
        values["asset"] = from_dict(values["asset"])
    make = cast("Callable[..., Folder | Model | Dataset | Branch | Tag | Commit]", cls)
    return make(**values)


def _invalid(message: str) -> InvalidInput:
    from t9k.em.errors import InvalidInput  # noqa: PLC0415 - t9k.em imports this module

    return InvalidInput(message)


def _invalid_name(message: str) -> InvalidName:
    from t9k.em.errors import InvalidName  # noqa: PLC0415 - t9k.em imports this module

    return InvalidName(message)
