"""What a backend means, in its simplest form: lists of generations in memory under one lock.

It shares no code with the backends that are compared with it, and leaves out what they exist for: durability, speed,
and writers that know nothing of each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from attrs import evolve, field, frozen

from t9k.em.backend import Backend, Upload
from t9k.em.errors import Conflict, Diverged, FolderNotFound, InvalidInput, NameCollision, NotFound
from t9k.em.names import fold, join, parent_and_name, split_version
from t9k.em.records import FOLDER, Body, FileEntry, FileSpec, Node, Outcome, UploadRequest, utc_text

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.uris import URI


@frozen(kw_only=True)
class Generation:
    """One publication under a name.

    Attributes:
        node: What it says.
        op: The upload that made it; '' for folders and deletions.
        contents: Key -> bytes.
    """

    node: Node
    op: str = ""
    contents: dict[str, bytes] = field(factory=dict)


class ReferenceBackend(Backend):
    """A tree of nodes in a dict, kept for ever; what other backends are compared with.

    Args:
        user: The current user.

    Attributes:
        lock: Held by whoever looks and then changes something.
        sent: Upload -> the files that were put, of a published one as well.
        moved: The uploads that went on under the alternative name.
    """

    def __init__(self, user: str = "alice") -> None:
        self.uri = "reference://"
        self.lock = threading.RLock()
        self.sent: dict[str, dict[FileSpec, bytes]] = {}
        self.moved: set[str] = set()
        self._user = user
        self._names: dict[tuple[str, str], list[Generation]] = {}

    @classmethod
    def from_uri(cls, uri: URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Self:
        """See the port."""
        del uri, api_key, timeout_s
        return cls()

    def whoami(self) -> str:
        """See the port."""
        return self._user

    def generations(self, folder: str, name: str) -> list[Generation]:
        """All generations of the names that are alike but for case or Unicode form, the oldest first."""
        return self._names.setdefault((folder, fold(name)), [])

    def newest(self, folder: str, name: str) -> Generation | None:
        """Return the newest generation, unless it is a deletion."""
        generations = self.generations(folder, name)
        return generations[-1] if generations and not generations[-1].node.deleted else None

    def append(self, generation: Generation) -> Node:
        """Publish."""
        generations = self.generations(*parent_and_name(generation.node.path))
        node = evolve(
            generation.node,
            op=generation.op,
            generation=len(generations) + 1,
            modified=utc_text(),
            writer=self._user,
            file_count=len(generation.contents),
            size=sum(map(len, generation.contents.values())),
        )
        generations.append(evolve(generation, node=node))
        return node

    def stat(self, path: str) -> Node:
        """See the port."""
        bare, wanted = split_version(path)
        with self.lock:
            for generation in reversed(self.generations(*parent_and_name(bare))):
                node = generation.node
                if wanted is None or node.generation == wanted:
                    if node.path == bare and not node.deleted:
                        return node
                    break
        if wanted is None and bare in ("/", f"/{self._user}", f"/{self._user}/default"):
            return Node(path=bare, kind=FOLDER, id="", generation=0)
        raise NotFound(f"there is no {path}")

    def list(self, path: str) -> Sequence[Node]:
        """See the port."""
        with self.lock:
            self._require_folder(path)
            newest = [self.newest(folder, name) for folder, name in list(self._names) if folder == path]
        return sorted((found.node for found in newest if found is not None), key=lambda node: node.name)

    def versions(self, path: str) -> Sequence[Node]:
        """See the port."""
        with self.lock:
            nodes = [found.node for found in self.generations(*parent_and_name(path)) if found.node.path == path]
        if not nodes:
            raise NotFound(f"there was never a {path}")
        return nodes[::-1]

    def make_folder(self, path: str) -> Node:
        """See the port."""
        if path == "/":
            return self.stat(path)
        folder, name = parent_and_name(path)
        with self.lock:
            self.make_folder(folder)
            there = self.newest(folder, name)
            if there is None:
                return self.append(Generation(node=Node(path=path, kind=FOLDER, id=str(uuid4()), generation=0)))
        if there.node.name != name:
            raise NameCollision(f"{there.node.path} is there")
        if there.node.kind != FOLDER:
            raise Conflict(f"{path} is a {there.node.kind}")
        return there.node

    def begin(self, request: UploadRequest) -> Upload:
        """See the port."""
        with self.lock:
            if not request.make_folder:
                self._require_folder(request.folder)
            self.make_folder(request.folder)
            return _ReferenceUpload(self, request)

    def files(self, node: Node) -> Sequence[FileEntry]:
        """See the port."""
        specs = [_spec(key, data) for key, data in sorted(self._contents(node).items())]
        return [FileEntry(key=spec.key, op="", size=spec.size, sha256=spec.sha256) for spec in specs]

    def read(self, node: Node, file: FileEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        return iter([self._contents(node)[file.key][start:end]])

    def delete(self, path: str, *, recursive: bool = False, generation: int | None = None) -> None:
        """See the port."""
        if parent_and_name(path)[0] == "/":
            raise InvalidInput(f"{path} always exists")
        with self.lock:
            node = self.stat(path)
            if generation is not None and node.generation != generation:
                raise Conflict(f"{path}@{generation} is not the newest")
            inside = self.list(path) if node.kind == FOLDER else []
            if inside and not recursive:
                raise Conflict(f"{path} is not empty")
            for child in inside:
                self.delete(child.path, recursive=True)
            if node.generation:
                self.append(Generation(node=evolve(node, deleted=True)))

    def _contents(self, node: Node) -> dict[str, bytes]:
        with self.lock:
            return self.generations(*parent_and_name(node.path))[node.generation - 1].contents

    def _require_folder(self, path: str) -> None:
        try:
            node = self.stat(path)
        except NotFound as error:
            raise FolderNotFound(f"{error}; make it first") from error
        if node.kind != FOLDER:
            raise FolderNotFound(f"{path} is a {node.kind}")


class _ReferenceUpload(Upload):
    def __init__(self, backend: ReferenceBackend, request: UploadRequest) -> None:
        self._backend = backend
        self._request = request
        self._draft = request.draft
        self._name = request.draft.name
        self._seen = 0
        self._base: dict[str, bytes] = {}
        self._sent = backend.sent.setdefault(request.op, {})
        if request.strategy == "new" and self._prefers_alternative():
            self._name = self._draft.alternative_name
        if not (request.resumed and self._is_published()):
            self._decide()

    @property
    def missing(self) -> Sequence[FileSpec]:
        """See the port."""
        return [file for file in self._request.files if self._find(file) is None]

    def put(self, items: Sequence[tuple[FileSpec, Body]]) -> None:
        """See the port."""
        for file, body in items:
            self._sent[file] = body.read()
            if self._name == self._draft.alternative_name:
                self._backend.moved.add(self._request.op)

    def commit(self) -> Node | None:
        """See the port."""
        with self._backend.lock:
            if self.outcome is not None:
                return self.node
            if self._seen != len(self._backend.generations(self._request.folder, self._name)):
                if not self._is_published():
                    self._decide()
                return self.node
            if self.missing:
                return None
            node = Node(
                path=join(self._request.folder, self._name),
                kind=self._draft.kind,
                id=self._draft.id,
                generation=0,
                metadata=self._draft.metadata,
            )
            contents = {file.key: self._find(file) or b"" for file in self._request.files}
            published = self._backend.append(Generation(node=node, op=self._request.op, contents=contents))
            self._backend.make_folder(self._request.folder)
            self._finish(Outcome.PUBLISHED, published)
            return self.node

    def _find(self, file: FileSpec) -> bytes | None:
        data = self._base.get(file.key)
        return data if data is not None and _spec(file.key, data) == file else self._sent.get(file)

    def _prefers_alternative(self) -> bool:
        """Return whether an earlier upload, or this one in another process, went on under the alternative name."""
        there = self._backend.newest(self._request.folder, self._draft.alternative_name)
        is_own = there is not None and self._is_own(there.node)
        moved = self._request.resumed and self._request.op in self._backend.moved
        return moved or (is_own and (self._request.resumed or self._request.prefer_alternative))

    def _is_published(self) -> bool:
        """Return whether this upload published already, whatever came after."""
        for name in (self._draft.name, self._draft.alternative_name):
            for generation in self._backend.generations(self._request.folder, name):
                if generation.op == self._request.op:
                    self._finish(Outcome.PUBLISHED, generation.node)
        return self.outcome is not None

    def _is_own(self, node: Node) -> bool:
        return (node.id, node.kind) == (self._draft.id, self._draft.kind)

    def _decide(self) -> None:
        """Look at the name and apply the strategy."""
        folder, strategy = self._request.folder, self._request.strategy
        self._seen = len(self._backend.generations(folder, self._name))
        self._base = {}
        there = self._backend.newest(folder, self._name)
        if there is None:
            return
        node = there.node
        if node.name == self._name and self._is_own(node):
            self._base = there.contents
            same_files = {_spec(key, data) for key, data in there.contents.items()} == set(self._request.files)
            if same_files and node.metadata == self._draft.metadata:
                self._finish(Outcome.UNCHANGED, node)
            elif strategy != "replace" and not self._comes_from(there):
                raise Diverged(f"{node.path} is newer")
        elif strategy == "new" and self._name != self._draft.alternative_name:
            self._name = self._draft.alternative_name
            if self._sent:
                self._backend.moved.add(self._request.op)
            self._decide()
        elif node.name != self._name:
            raise NameCollision(f"{node.path} is there")
        elif node.kind != self._draft.kind or strategy in ("error", "new"):
            raise Conflict(f"{node.path} is there")
        elif strategy == "skip":
            self._finish(Outcome.SKIPPED, node)

    def _comes_from(self, there: Generation) -> bool:
        return self._request.ancestors is None or there.op in self._request.ancestors

    def _finish(self, outcome: Outcome, node: Node) -> None:
        self.outcome, self.node = outcome, node


def _spec(key: str, data: bytes) -> FileSpec:
    return FileSpec(key=key, size=len(data), sha256=Body.of(data).sha256)
