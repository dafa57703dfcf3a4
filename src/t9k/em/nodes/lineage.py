"""What a run's input or output is, as a record in its `associations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from t9k.em.errors import InvalidInput
from t9k.em.nodes import history

if TYPE_CHECKING:
    from t9k.em.nodes.local_node import LocalNode

INPUT, OUTPUT = "input", "output"


@runtime_checkable
class Asset(Protocol):
    """A record of `t9k.ah.core`: a Model, Dataset, Branch, Tag or Commit."""

    @property
    def path(self) -> str:
        """Where it is, whose it is included, for example '/alice/t9k-assethub/model/llm/gpt2'."""

    @property
    def reference(self) -> str:
        """How Asset Hub calls it, for example 'model/llm/gpt2:v1'."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields, JSON types only."""


def artifact_record(artifact: LocalNode, uri: str | None = None) -> dict[str, str]:
    """Describe an artifact; where it is, as far as known, is part of it.

    Args:
        artifact: The artifact.
        uri: The backend in which to look for it; None for where it was uploaded to or downloaded from last.
    """
    record = {
        "type": "Artifact",
        "id": artifact.id,
        "name": artifact.name,
        "alternative_name": artifact.alternative_name,
    }
    remote = artifact.remote
    place = history.place_in(remote, remote[-1]["uri"] if uri is None and remote else uri or "")
    if place is not None:
        record |= {name: place[name] for name in ("uri", "path", "generation")}
    return record


def asset_record(asset: Asset) -> dict[str, str]:
    """Describe an asset of Asset Hub."""
    fields = {name: value for name, value in asset.to_dict().items() if isinstance(value, str) and value}
    fields.pop("kind", None)
    return {**fields, "type": type(asset).__name__, "path": asset.path, "reference": asset.reference}


def refuse(resource: object) -> InvalidInput:
    """Return the error for something that cannot be a run's input or output."""
    return InvalidInput(
        f"{type(resource).__name__} cannot be an input or output of a run; mark an Artifact, or a Model, Dataset, Branch, "
        "Tag or Commit of t9k.ah.core"
    )


def with_record(records: list[dict[str, str]], record: dict[str, str]) -> list[dict[str, str]]:
    """Return the records with one added, or renewed in its place if it is there already."""
    wanted = identity(record)
    known = [identity(other) for other in records]
    if wanted not in known:
        return [*records, record]
    return [record if other == wanted else old for old, other in zip(records, known, strict=True)]


def identity(record: dict[str, str]) -> tuple[str, ...]:
    """Return the fields that identify a record."""
    if "reference" in record:
        return record["type"], record["reference"], record.get("path", "")
    return record["type"], record.get("id", "")
