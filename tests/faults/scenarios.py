"""Random casts of uploads, deleters, collectors and readers, each running the real code in a simulated process."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial

from attrs import evolve, frozen
from tests.faults.invariants import Invariants, Told
from tests.faults.simulator import Profile, SimulatedCrash, SimulatedStore, Violation, World

from t9k.em.errors import (
    BackendUnavailable,
    CommitUnknown,
    Conflict,
    CorruptData,
    FolderNotFound,
    InvalidInput,
    NotFound,
    UploadFenced,
)
from t9k.em.names import join, parent_and_name
from t9k.em.records import ARTIFACT, RUN, Body, Draft, FileSpec, UploadRequest
from t9k_em_backends.tree import TreeBackend
from t9k_em_backends.tree import fences as fences_module
from t9k_em_backends.tree import heads as heads_module
from t9k_em_backends.tree.tree import Tree

USER = "alice"
KEYS = ("a", "b/c", "d")
CONTENTS = (b"", b"x", b"y", b"zz")
TRIES = 4
STRATEGIES = ["skip", "error", "new", "new", "replace", "replace"]
_NEVER = datetime(2024, 1, 1, tzinfo=timezone.utc)


class FixedTree(Tree):
    """The real tree; only what it asks of its surroundings is fixed."""

    def whoami(self) -> str:
        return USER

    def require_safe_store(self) -> None:
        """The simulated store is safe; probing it would only make schedules longer."""


class SimulatedTree(TreeBackend):
    """The real backend over such a tree."""

    tree_class = FixedTree


@frozen(kw_only=True)
class Plan:
    """One upload: the request of its first process, and the bytes."""

    request: UploadRequest
    contents: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """How a trace calls it."""
        return f"{self.request.op[-2:]} {self.request.strategy}"


class Scenario:
    """One schedule. Half of them focus on one name in a folder that nobody deletes.

    Args:
        seed: Decides everything.
        tree_class: The code under test.
        profile: How much goes wrong; drawn from the seed by default.
    """

    def __init__(
        self, seed: int, tree_class: type[SimulatedTree] = SimulatedTree, *, profile: Profile | None = None
    ) -> None:
        self._tree_class = tree_class
        self._fences_are_spans = seed % 4 == 0
        self.world = World(seed, profile=profile)
        self._random = self.world.random
        self._invariants = Invariants(self.world)
        self._focused = self._random.random() < 0.5
        self._folder = "/" if self._focused else self._random.choice(["/alice/f", "/alice/p/f", "/alice/default"])
        self._plans: dict[str, Plan] = {}
        self._ops = 0

    def run(self) -> None:
        """Runs it and raises Violation if anything happens that must not."""
        limit, most_fenced = heads_module.FILES_IN_HEAD_BYTES, fences_module.MOST_FENCED
        heads_module.FILES_IN_HEAD_BYTES = self._random.choice([limit, limit, 1])
        fences_module.MOST_FENCED = 0 if self._fences_are_spans else most_fenced
        try:
            self._run()
        finally:
            heads_module.FILES_IN_HEAD_BYTES = limit
            fences_module.MOST_FENCED = most_fenced

    def _run(self) -> None:
        faults, self.world.profile = self.world.profile, Profile()
        for _ in range(self._random.choice([0, 0, 1, 2])):
            self._upload(self._draw_plan(), resumed=False)
        if self._random.random() < 0.5:
            with contextlib.suppress(Conflict):
                self._tree().make_folder(self._folder)
        self.world.profile = faults
        self._cast()
        self.world.run()
        self.world.profile = Profile()
        self._check(faults)
        self._finish()
        self._check(faults)

    def _cast(self) -> None:
        spawn, random = self.world.spawn, self._random
        for _ in range(random.randint(2, 4) if self._focused else random.randint(1, 4)):
            plan = self._draw_plan()
            spawn(plan.name, partial(self._upload, plan, resumed=False))
            if random.random() < 0.2:
                self._invariants.twins.add(plan.request.op)
        path = join(self._folder, "m")
        for _ in range(random.choice([0, 0, 1, 2])):
            spawn("deleter", partial(self._delete, path))
        for number in range(random.choice([1, 2] if self._focused else [0, 1, 2])):
            spawn(f"collector {number}", partial(self._collect, self._folder, random.choice([1, 1, 2])))
        for _ in range(0 if self._focused else random.choice([0, 1, 1, 2])):
            spawn(
                "folder deleter", partial(self._delete, random.choice([self._folder, parent_and_name(self._folder)[0]]))
            )
        for _ in range(random.choice([0, 0, 1])):
            spawn("reader", partial(self._look, path))

    def _finish(self) -> None:
        """Whoever was not told what became of an upload runs it again, and now nothing goes wrong."""
        for op, plan in self._plans.items():
            if not self._invariants.told[op]:
                self._upload(plan, resumed=True)
                if not self._invariants.told[op]:
                    raise Violation(f"{op} does not end")

    def _check(self, faults: Profile) -> None:
        self._invariants.check_history(consistent=not faults.stale_listing)
        if not faults.stale_listing:  # a store whose listings are stale can lose a folder, never a node
            self._invariants.check_listed(self._tree())

    def _draw_plan(self) -> Plan:
        random = self._random
        self._ops += 1
        node = random.choice([1, 1, 1, 2, 2, 2, 3, 3, 3, 4])
        name = "m" if self._focused else random.choice(["m"] * 8 + ["M", "n"])
        contents = {key: random.choice(CONTENTS) for key in KEYS if random.random() < 0.75}
        files = [
            FileSpec(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for key, data in contents.items()
        ]
        request = UploadRequest(
            folder=self._folder,
            draft=Draft(
                kind=ARTIFACT if node == 4 else RUN,
                name=name,
                alternative_name=f"alt{node}{ord(name)}",
                id=f"id{node}",
            ),
            files=tuple(files),
            strategy=random.choice(["replace"] if self._focused and random.random() < 0.5 else STRATEGIES),
            make_folder=random.random() < 0.7,
            op=f"20240101T000000.000000Z-{self._ops:010d}",
            prefer_alternative=random.random() < 0.2,
        )
        plan = Plan(request=request, contents=contents)
        self._plans[request.op] = plan
        self._invariants.requests[request.op] = request
        return plan

    # What the processes do.

    def _tree(self) -> SimulatedTree:
        return self._tree_class(SimulatedStore(self.world), "sim://", clock=lambda: _NEVER, sleep=lambda _: None)

    def _upload(self, plan: Plan, *, resumed: bool) -> None:
        """Uploads, and starts again with the same op as long as it is told to; after a crash somebody may do so too."""
        for _ in range(TRIES):
            try:
                told = self._upload_once(plan, resumed=resumed)
            except (BackendUnavailable, CommitUnknown):
                resumed = True
                continue
            except SimulatedCrash:
                if self._random.random() < 0.7:
                    self.world.spawn(f"{plan.name} resumed", partial(self._upload, plan, resumed=True))
                raise
            except Conflict:
                told = Told(what="conflict")
            except UploadFenced:
                told = Told(what="fenced")
            except FolderNotFound:
                told = Told(what="no folder")
            except CorruptData:
                if not self.world.profile.stale_listing:
                    raise
                return
            self.world.note(plan.name, f"was told {told}")
            self._invariants.told[plan.request.op].append(told)
            return

    def _upload_once(self, plan: Plan, *, resumed: bool) -> Told:
        upload = self._tree().begin(evolve(plan.request, resumed=resumed))
        if plan.request.op in self._invariants.twins and not resumed:
            self.world.spawn(f"{plan.name} twin", partial(self._upload, plan, resumed=True))
        patience = self._random.choice([0, 3])
        while upload.outcome is None:
            try:
                missing = list(upload.missing)
                self._random.shuffle(missing)
                upload.put([(file, Body.of(plan.contents[file.key])) for file in missing])
                upload.commit()
            except BackendUnavailable:
                if patience == 0:
                    raise
                patience -= 1
        return Told(what=upload.outcome.value, node=upload.node)

    def _delete(self, path: str) -> None:
        recursive = self._random.random() < 0.3
        self._invariants.deletable.add((path, recursive))
        with contextlib.suppress(BackendUnavailable, CommitUnknown, Conflict, NotFound, InvalidInput):
            self._tree().delete(path, recursive=recursive)

    def _collect(self, path: str, keep_versions: int) -> None:
        """Collects everything that is not needed, however young."""
        with contextlib.suppress(BackendUnavailable, CommitUnknown):
            self._tree().collect(path, grace_s=-1.0, keep_versions=keep_versions, apply=True)

    def _look(self, path: str) -> None:
        """Reads a node and lists its folder: what it sees is whole."""
        tree = self._tree()
        with contextlib.suppress(BackendUnavailable, NotFound):
            node = tree.stat(path)
            for file in tree.files(node):
                if hashlib.sha256(b"".join(tree.read(node, file))).hexdigest() != file.sha256:
                    raise Violation(f"torn read of {path}@{node.generation}")
        with contextlib.suppress(BackendUnavailable, NotFound):
            for node in tree.list(parent_and_name(path)[0]):
                head = self._invariants.head(node)
                if head is None or not head.ready or (head.id, head.size, head.kind) != (node.id, node.size, node.kind):
                    raise Violation(f"{node.path}@{node.generation} is listed as what it is not")
