"""An artifact in a backend, read where it is: nothing is downloaded, and no local directory is made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from t9k.em import session
from t9k.em.errors import CorruptData, CorruptLocalData, NotFound
from t9k.em.local import objects
from t9k.em.local.layout import INDEX, OBJECTS
from t9k.em.records import ARTIFACT, FileEntry
from t9k.em.transfer.damage import note_damage
from t9k.em.transfer.sources import fetch
from t9k.em.transfer.streams import Ranges, open_ranges

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import Node


class PublishedArtifact:
    """One generation of an artifact. It is looked up once, at the first use, and its list of files is kept.

    Args:
        uri: Of the backend: the session's if it is that.
        path: Absolute path of the node; 'path@3' is its third version, and without one it is the newest at first use.

    Attributes:
        uri: Of the backend.
        path: Of the node, with its version once it was looked up.
    """

    def __init__(self, uri: str, path: str) -> None:
        self.uri = uri
        self.path = path
        self._found: tuple[Backend, Node] | None = None
        self._files: tuple[Node, dict[str, FileEntry]] | None = None
        self._objects: objects.Objects | None = None

    def __repr__(self) -> str:
        """Backend and path."""
        return f"PublishedArtifact({self.uri!r}, {self.path!r})"

    @property
    def name(self) -> str:
        """The last component of its path, with the version."""
        return self.path.rpartition("/")[2]

    @property
    def address(self) -> tuple[str, str]:
        """URI of the backend, and path with its version: what another process finds it by."""
        self.find()
        return self.uri, self.path

    def find(self) -> tuple[Backend, Node]:
        """Return the backend and the node.

        Raises:
            NotFound: The node does not exist, or is no artifact.
        """
        backend = session.backend_at(self.uri)
        found = self._found
        if found is None or found[0] is not backend:  # after another login too
            node = backend.stat(self.path)
            if node.kind != ARTIFACT:
                raise NotFound(f"{self.path} in {self.uri} is a {node.kind} and no artifact; give the path of one")
            self.path = f"{node.path}@{node.generation}"
            self._found = found = backend, node
        return found

    @property
    def objects(self) -> Mapping[str, Mapping[str, Any]]:
        """Data of the objects by key, as its index has it.

        Raises:
            CorruptData: The index is damaged.
        """
        if self._objects is None:
            backend, node = self.find()
            what = f"{INDEX!r} of {self.path} in {self.uri}"
            entry = self._entries().get(INDEX)
            if entry is None:
                raise CorruptData(f"there is no {what}; upload the artifact again")
            try:
                self._objects = objects.decode(b"".join(fetch(backend, node, entry)), what)
            except CorruptLocalData as error:
                raise CorruptData(f"{what} cannot be used: {error}") from error
        return self._objects

    def ranges(self, key: str, data: Mapping[str, Any] | None = None, what: str | None = None) -> Ranges:
        """Return an object that is no reference.

        Args:
            key: Its key.
            data: What it has to hold, `size` and `sha256`; by default what the index says.
            what: Name of the object in error messages.

        Raises:
            NotFound: The object does not exist.
            CorruptData: The object holds other bytes than recorded.
        """
        data = self.objects[key] if data is None else data
        backend, node = self.find()
        entry = self._entries().get(f"{OBJECTS}/{key}")
        if entry is None:
            raise NotFound(f"{node.path} in {backend.uri} has no object {key!r}; its newest version may have")
        if (entry.size, entry.sha256) != (data["size"], data["sha256"]):
            raise CorruptData(f"object {key!r} of {node.path} is not what its index says; load {node.path} again")
        return Ranges(
            size=entry.size,
            sha256=entry.sha256,
            what=what or f"object {key!r} of {self.path} in {self.uri}",
            read=partial(backend.read, node, entry),
            note=partial(note_damage, backend, node, entry),
        )

    def open(self, key: str) -> BinaryIO:
        """Open an object, or what a reference refers to; see `Artifact.open`."""
        data = self.objects[key]
        if "uri" not in data:
            return open_ranges(self.ranges(key))
        from tempfile import TemporaryDirectory  # noqa: PLC0415 - few need it

        from t9k.em.objects.references import fetch_reference, open_reference  # noqa: PLC0415 - requests is slow to import

        with TemporaryDirectory(prefix="em-reference-") as directory:  # an open file outlives its name
            return open_reference(fetch_reference(key, data, Path(directory)))

    def _entries(self) -> dict[str, FileEntry]:
        backend, node = self.find()
        if self._files is None or self._files[0] is not node:
            self._files = node, {file.key: file for file in backend.files(node)}
        return self._files[1]
