"""What must hold in every history of a tree: checked from the records alone, whatever the code thought it did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from attrs import evolve, field, frozen
from tests.faults.simulator import Violation, World

from t9k.em.errors import NotFound
from t9k.em.names import join, parent_and_name
from t9k.em.records import FOLDER, Node, Outcome, UploadRequest
from t9k_em_backends.tree import TreeBackend
from t9k_em_backends.tree.heads import (
    Head,
    decode_head,
    file_key,
    heads_prefix,
    manifest_key,
    split_head_key,
)
from t9k_em_backends.tree.manifests import decode_manifest


@frozen(kw_only=True)
class Told:
    """What the caller of one upload was told by one of its processes."""

    what: str
    node: Node | None = None


@frozen
class Invariants:
    """Watches a world.

    Attributes:
        world: Where everything lies.
        requests: What each op wants to publish.
        told: What the processes of each op were told.
        twins: Ops that two processes work on at the same time.
        deletable: Paths that somebody deletes, and whether with all below them.
        names: Prefix of the heads of each name -> generation -> head.
    """

    world: World
    requests: dict[str, UploadRequest] = field(factory=dict)
    told: dict[str, list[Told]] = field(factory=lambda: defaultdict(list))
    twins: set[str] = field(factory=set)
    deletable: set[tuple[str, bool]] = field(factory=set)
    names: dict[str, dict[int, Head]] = field(factory=lambda: defaultdict(dict))

    def __attrs_post_init__(self) -> None:
        self.world.changed = self._changed

    def head(self, node: Node) -> Head | None:
        """The head that a node was made from."""
        return self.names.get(heads_prefix(*parent_and_name(node.path)), {}).get(node.generation)

    # At any time.

    def _changed(self, key: str) -> None:
        """The files of the newest head of each name are there, always: a reader sees all of a node or none."""
        if parts := split_head_key(key):
            self.names[key.rpartition("/")[0] + "/"][parts[2]] = decode_head(self.world.read(key), key)
        for prefix, heads in self.names.items():
            head = heads[max(heads)]
            if head.ready and head.kind != FOLDER:
                self._check_files(prefix, head)

    def _check_files(self, prefix: str, head: Head) -> None:
        folder = _folder(prefix)
        files = head.files
        if head.manifest is not None:
            key = manifest_key(folder, head.name, head.manifest)
            if key not in self.world.objects:
                raise Violation(f"{prefix} lacks the list of its files")
            files = decode_manifest(self.world.read(key), head, key)
        for file in files:
            there = self.world.objects.get(file_key(folder, head.name, file))
            if there is None or there[1].etag != file.sha256:
                raise Violation(f"{prefix} lacks {file.key}, or it is another")

    # In the end.

    def check_history(self, *, consistent: bool = True) -> None:
        """What was published is legal, and nobody was told anything else.

        Args:
            consistent: Whether listings were always up to date. When not, nothing is lost and what is told published
                is, but a resumed upload may overlook its own success.
        """
        places: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for prefix, heads in self.names.items():
            below: Head | None = None
            for generation, head in sorted(heads.items()):
                self._check_step(prefix, below, head)
                if head.op is not None:
                    places[head.op].append((prefix, generation))
                below = head
        for op, where in places.items():
            names = {prefix for prefix, _ in where}
            may_move = self.requests[op].strategy == "new" and (op in self.twins or not consistent)
            if len(where) > (len(names) if may_move else 1):
                raise Violation(f"{op} is published more than once: {where}")
        for op, told in self._all_told():
            if consistent or told.what == Outcome.PUBLISHED.value:
                self._check_told(op, told, places.get(op, []))

    def _all_told(self) -> Iterator[tuple[str, Told]]:
        for op, all_told in self.told.items():
            for told in all_told:
                yield op, told

    def _check_step(self, prefix: str, below: Head | None, head: Head) -> None:
        """One generation on top of another."""
        was = below if below is not None and below.ready else None
        if not head.ready:
            if was and not self._may_delete(join(_folder(prefix), was.name)):
                raise Violation(f"{prefix} was deleted, and nobody wanted that")
        elif head.op is not None:
            request = self.requests[head.op]
            if (
                was
                and (was.id, was.kind) != (head.id, head.kind)
                and (request.strategy != "replace" or was.kind != head.kind)
            ):
                raise Violation(f"{prefix}: another node was overwritten with the strategy {request.strategy}")
            size = sum(file.size for file in request.files)
            if (head.id, head.file_count, head.size) != (request.draft.id, len(request.files), size):
                raise Violation(f"{prefix}: published is not what was to be uploaded")
        elif was is None:
            if head.kind != FOLDER:
                raise Violation(f"{prefix}: a node that was deleted came back")
        elif _content(head) != _content(was):
            raise Violation(f"{prefix}: a generation that should repeat the one below does not")

    def _may_delete(self, path: str) -> bool:
        return any(path == root or (recursive and path.startswith(f"{root}/")) for root, recursive in self.deletable)

    def _check_told(self, op: str, told: Told, places: list[tuple[str, int]]) -> None:
        if told.what == Outcome.PUBLISHED.value:
            if told.node is None or told.node.generation not in [generation for _, generation in places]:
                raise Violation(f"{op} was told 'published' and is not")
        elif told.what == "no folder" or (
            op in self.twins and (told.what != "fenced" or self.requests[op].strategy == "new")
        ):
            return
        elif places:
            raise Violation(f"{op} was told '{told.what}' and is published: {places}")

    def check_listed(self, tree: TreeBackend) -> None:
        """What its uploader believes published, and nobody replaced or deleted, is found from the root on."""
        for op, told in self._all_told():
            if told.what != Outcome.PUBLISHED.value or told.node is None:
                continue
            heads = self.names[heads_prefix(*parent_and_name(told.node.path))]
            head = heads[max(heads)]
            last = max((generation for generation, head in heads.items() if head.op is not None), default=0)
            if not head.ready or heads[last].op != op:
                continue
            path = join(parent_and_name(told.node.path)[0], head.name)
            while path != "/":
                folder = parent_and_name(path)[0]
                try:
                    seen = {node.path for node in tree.list(folder)}
                except NotFound as error:
                    raise Violation(f"{path} is published in a folder that is not there") from error
                if path not in seen:
                    raise Violation(f"{path} is published and not listed")
                path = folder


def _folder(prefix: str) -> str:
    return f"/{prefix.partition('.em/h/')[0].rstrip('/')}"


def _content(head: Head) -> Head:
    return evolve(head, write_id="", op=None, state="ready", fenced=(), fenced_spans=(), collected=0)
