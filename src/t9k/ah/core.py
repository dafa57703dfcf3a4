"""Records of Asset Hub: folders, models and datasets, and the branches, tags and commits of the latter two.

They name an asset so that a run can mark it as its input or output; nothing here talks to a server. A record is made as
`t9k.ah` of TensorStack makes it, `Model(id_, folder, name, labels, description, extra)`, or by what is known of it, all by name:
`Model(path="model/llm/gpt2")`. A path is `/<user>/t9k-assethub/model/<folder>/<asset>`, or `model/<folder>/<asset>` for the
current user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attrs
from attrs import field, frozen

from t9k.ah.paths import (
    ASSET_PARTS,
    FOLDER_PARTS,
    as_labels,
    below_hub,
    check_commit_id,
    check_labels,
    check_str,
    invalid,
    invalid_name,
    parts_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Branch", "Commit", "Dataset", "Folder", "Model", "Tag", "from_dict"]

_SHORT_ID = 8
_ROOTS = {"Model": "model", "Dataset": "dataset"}


def _last(path: object) -> Any:
    return path.rpartition("/")[2] if isinstance(path, str) else path


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


@frozen(init=False)
class _Record:
    """What all records have."""

    id: str = field(default="", validator=check_str)
    labels: tuple[str, ...] = field(default=(), converter=as_labels, validator=check_labels)
    description: str = field(default="", validator=check_str)

    @property
    def alive(self) -> bool:
        """Whether the asset is alive; always true, for a record does not ask Asset Hub."""
        return True

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types, with its class as `kind`.

        Returns:
            A new dict that `from_dict` takes.
        """
        return {"kind": type(self).__name__, **attrs.asdict(self, recurse=False, value_serializer=_plain)}

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
            raise invalid(f"the data is a {type(record).__name__}, not a {cls.__name__}")
        return record


def _plain(_: object, __: object, value: Any) -> Any:
    if isinstance(value, _Record):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


@frozen(init=False)
class _Place(_Record):
    """What has a path of its own."""

    roots: ClassVar[tuple[str, ...]] = ("model", "dataset")
    least_parts: ClassVar[int] = ASSET_PARTS

    path: str = field(default="")
    name: str = field(default="")
    extra: str = field(default="", validator=check_str)

    @path.validator
    def _check_path(self, _: object, value: str) -> None:
        self._below_hub(value)

    @name.validator
    def _check_name(self, _: object, value: str) -> None:
        cls = type(self).__name__
        if len(parts_of(f"name of a {cls}", value)) > 1:
            raise invalid_name(f"name {value!r} of a {cls} holds a slash; give the whole as path")
        if value != self.path.rpartition("/")[2]:
            raise invalid_name(f"name {value!r} of a {cls} is not the last part of its path {self.path!r}")

    @property
    def owner(self) -> str:
        """Whose it is by its path; '' for the current user."""
        return self.path.split("/")[1] if self.path.startswith("/") else ""

    @property
    def reference(self) -> str:
        """What the commands of Asset Hub call it, such as 'model/llm/gpt2'; without the user."""
        return "/".join(self._below_hub(self.path))

    def _below_hub(self, path: object) -> list[str]:
        return below_hub(type(self), self.roots, self.least_parts, path)


@frozen(init=False)
class Folder(_Place):
    """A folder of models or of datasets.

    Attributes:
        path: `/<user>/t9k-assethub/model/<folder>`, or `model/<folder>` in the assets of the current user.
        id: UUID that Asset Hub gave it, '' if not known.
        owner: Whose it is; '' for the current user.
        kind: 'Model' or 'Dataset': what the folder holds.
        name: Last part of `path`.
        labels: Labels, in order.
        description: Free text.
        extra: What else Asset Hub knows of it.
        alive: Always true.
    """

    least_parts: ClassVar[int] = FOLDER_PARTS

    def __init__(
        self,
        path: str,
        id_: str = "",
        owner: str = "",
        asset_kind: str = "",
        name: str | None = None,
        labels: Sequence[str] = (),
        description: str = "",
        extra: str = "",
        *,
        id: str = "",
    ) -> None:
        """Make the record.

        Args:
            path: See the attribute.
            id_: UUID.
            owner: Whose it is; has to be that of the path if that names one.
            asset_kind: 'Model' or 'Dataset'; has to be that of the path.
            name: Last part of `path`, which is the default.
            labels: Labels.
            description: Free text.
            extra: What else Asset Hub knows of it.
            id: The same as `id_`.

        Raises:
            InvalidInput: A value has another type, or contradicts the path.
            InvalidName: `path` or `name` cannot be one.
        """
        self.__attrs_init__(
            id=id_ or id,
            labels=labels,
            description=description,
            path=path,
            name=_last(path) if name is None else name,
            extra=extra,
        )
        for what, given, meant in (("owner", owner, self.owner), ("asset_kind", asset_kind, self.kind)):
            if given and meant and given != meant:
                raise invalid(f"{what} {given!r} of a Folder is not {meant!r}, as its path {path!r} says")

    @property
    def kind(self) -> str:
        """What the folder holds: 'Model' or 'Dataset'."""
        root = self._below_hub(self.path)[0]
        return next(kind for kind, name in _ROOTS.items() if name == root)


@frozen(init=False)
class _Asset(_Place):
    """A model or dataset."""

    _folder: Folder | None = field(default=None)

    def __init__(
        self,
        id_: str = "",
        folder: Folder | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
        description: str = "",
        extra: str = "",
        *,
        path: str | None = None,
        id: str = "",
        **more: Any,
    ) -> None:
        """Make the record, from a folder and a name, or from a path.

        Args:
            id_: UUID.
            folder: The folder.
            name: Last part of `path`, which is the default.
            labels: Labels.
            description: Free text.
            extra: What else Asset Hub knows of it.
            path: See the attribute.
            id: The same as `id_`.
            more: What a subclass has.

        Raises:
            InvalidInput: A value has another type, or there is neither a folder with a name nor a path.
            InvalidName: `path` or `name` cannot be one.
        """
        cls = type(self).__name__
        if folder is not None and not isinstance(folder, Folder):
            raise invalid(f"folder of a {cls} must be a Folder, not {type(folder).__name__}")
        if path is None and (folder is None or name is None):
            raise invalid_name(f"a {cls} needs a folder and a name, or a path, such as '{self.roots[0]}/llm/gpt2'")
        whole: Any = path
        if folder is not None:
            whole = f"{folder.path}/{_last(path) if name is None else name}"
            if path not in (None, whole):
                raise invalid(f"path {path!r} of a {cls} does not lie in its folder {folder.path!r}")
        self.__attrs_init__(
            id=id_ or id,
            labels=labels,
            description=description,
            path=whole,
            name=_last(whole) if name is None else name,
            extra=extra,
            folder=folder,
            **more,
        )

    @property
    def kind(self) -> str:
        """What this is: 'Model' or 'Dataset'."""
        return type(self).__name__

    @property
    def folder(self) -> Folder:
        """The folder; of a record that was made by its path, that of the path."""
        return self._folder or Folder(self.path.rpartition("/")[0])


@frozen(init=False)
class Model(_Asset):
    """A model: versions of a set of files.

    Attributes:
        path: `/<user>/t9k-assethub/model/<folder>/<model>`, or `model/<folder>/<model>` for the current user.
        id: UUID that Asset Hub gave it, '' if not known.
        folder: The folder that it lies in.
        kind: 'Model'.
        name: Last part of `path`.
        labels: Labels, in order.
        description: Free text.
        extra: What else Asset Hub knows of it.
        alive: Always true.
    """

    roots: ClassVar[tuple[str, ...]] = ("model",)


@frozen(init=False)
class Dataset(_Asset):
    """A dataset: versions of a set of files.

    Attributes:
        path: `/<user>/t9k-assethub/dataset/<folder>/<dataset>`, or `dataset/<folder>/<dataset>` for the current user.
        id: UUID that Asset Hub gave it, '' if not known.
        folder: The folder that it lies in.
        kind: 'Dataset'.
        name: Last part of `path`.
        labels: Labels, in order.
        description: Free text.
        commit_id: Commit that its main branch points to, '' if not known; can be given by its name only.
        extra: What else Asset Hub knows of it.
        alive: Always true.
    """

    roots: ClassVar[tuple[str, ...]] = ("dataset",)

    commit_id: str = field(default="", converter=_lower)

    @commit_id.validator
    def _check_commit(self, _: object, value: str) -> None:
        if value != "":
            check_commit_id(type(self), value)


@frozen(init=False)
class _Version(_Record):
    """What belongs to an asset."""

    asset: Model | Dataset = field(default=cast("Any", None))

    @asset.validator
    def _check_asset(self, _: object, value: object) -> None:
        if not isinstance(value, (Model, Dataset)):
            cls = type(self).__name__
            raise invalid(f"asset of a {cls} must be a Model or Dataset, not {type(value).__name__}")

    @property
    def kind(self) -> str:
        """What this is: 'branch', 'tag' or 'commit'."""
        return type(self).__name__.lower()

    @property
    def path(self) -> str:
        """Path of the asset."""
        return self.asset.path


@frozen(init=False)
class _Ref(_Version):
    """A name for a commit."""

    name: str = field(default="")
    commit_id: str = field(default="", converter=_lower)

    @name.validator
    def _check_name(self, _: object, value: object) -> None:
        parts_of(f"name of a {type(self).__name__}", value)

    @commit_id.validator
    def _check_commit(self, _: object, value: str) -> None:
        if value != "":
            check_commit_id(type(self), value)

    def __init__(
        self,
        asset: Model | Dataset,
        name: str,
        commit_id: str = "",
        *,
        id: str = "",
        labels: Sequence[str] = (),
        description: str = "",
    ) -> None:
        """Make the record.

        Args:
            asset: The model or dataset.
            name: Name of the branch or tag.
            commit_id: Commit that it points to, 4 to 64 hexadecimal digits; '' if not known.
            id: What Asset Hub identifies it by.
            labels: Labels.
            description: Free text.

        Raises:
            InvalidInput: A value has another type.
            InvalidName: `name` cannot be one.
        """
        self.__attrs_init__(id=id, labels=labels, description=description, asset=asset, name=name, commit_id=commit_id)

    @property
    def reference(self) -> str:
        """What the commands of Asset Hub call it, such as 'model/llm/gpt2:main'."""
        return f"{self.asset.reference}:{self.name}"


@frozen(init=False)
class Branch(_Ref):
    """A branch of a model or dataset.

    Attributes:
        path: Path of the asset.
        asset: The model or dataset.
        kind: 'branch'.
        name: Name of the branch, such as 'main'.
        commit_id: Commit that it points to, '' if not known.
        alive: Always true.
        id: What Asset Hub identifies it by, '' if not known.
        labels: Labels, in order.
        description: Free text.
    """


@frozen(init=False)
class Tag(_Ref):
    """A tag of a model or dataset.

    Attributes:
        path: Path of the asset.
        asset: The model or dataset.
        kind: 'tag'.
        name: Name of the tag, such as 'v1'.
        commit_id: Commit that it points to, '' if not known.
        alive: Always true.
        id: What Asset Hub identifies it by, '' if not known.
        labels: Labels, in order.
        description: Free text.
    """


@frozen(init=False)
class Commit(_Version):
    """A commit of a model or dataset.

    Attributes:
        path: Path of the asset.
        asset: The model or dataset.
        kind: 'commit'.
        name: First 8 characters of `id`.
        id: Commit id, or its start: 4 to 64 hexadecimal digits, kept in lower case.
        alive: Always true.
        labels: Labels, in order.
        description: The commit message.
    """

    def __init__(
        self,
        asset: Model | Dataset,
        id_: str | None = None,
        *,
        id: str = "",
        labels: Sequence[str] = (),
        description: str = "",
    ) -> None:
        """Make the record.

        Args:
            asset: The model or dataset.
            id_: Commit id, or its start.
            id: The same as `id_`.
            labels: Labels.
            description: The commit message.

        Raises:
            InvalidInput: The id is no UUID, or a value has another type.
        """
        whole = _lower(id if id_ is None else id_)
        check_commit_id(type(self), whole)
        self.__attrs_init__(id=whole, labels=labels, description=description, asset=asset)

    @property
    def name(self) -> str:
        """First 8 characters of the id."""
        return self.id[:_SHORT_ID]

    @property
    def reference(self) -> str:
        """What the commands of Asset Hub call it, such as 'model/llm/gpt2:ab12cd34'."""
        return f"{self.asset.reference}:{self.id}"


_KINDS: dict[str, type[_Record]] = {cls.__name__: cls for cls in (Folder, Model, Dataset, Branch, Tag, Commit)}
_NEEDED = {Folder: ("path",), Model: ("path",), Dataset: ("path",), Branch: ("asset", "name"), Tag: ("asset", "name")}


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
        raise invalid(f"an asset must be a mapping whose 'kind' is one of {', '.join(_KINDS)}; its kind is {kind!r}")
    known = {attribute.alias for attribute in attrs.fields(cls)}
    values = {key.removeprefix("_"): value for key, value in data.items() if key.removeprefix("_") in known}
    needed = _NEEDED.get(cls, ("asset", "id"))
    missing = [name for name in needed if name not in values]
    if missing:
        raise invalid(f"a {kind} lacks {', '.join(missing)}")
    for name in ("asset", "folder"):
        if values.get(name) is not None:
            values[name] = from_dict(values[name])
    make = cast("Callable[..., Folder | Model | Dataset | Branch | Tag | Commit]", cls)
    return make(**values)
