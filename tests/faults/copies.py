"""Random histories of copies of one run on several machines: real local directories, the real tree on a simulated store.

Between any two steps of a process, local or not, others go on, or it crashes. Each edit is a text that nobody else writes, and is
remembered with what it was made on top of, so that in the end every version is compared with the one below it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from tests.faults.scenarios import USER, SimulatedTree
from tests.faults.simulator import Profile, Request, SimulatedCrash, SimulatedStore, Violation, World

from t9k.em.backend import Upload
from t9k.em.errors import (
    BackendUnavailable,
    CommitUnknown,
    Conflict,
    CorruptLocalData,
    Diverged,
    LocalError,
    NotFound,
    UploadFenced,
)
from t9k.em.loading import fetch_run
from t9k.em.local.below import Below
from t9k.em.local.descent import Descent
from t9k.em.local.layout import METADATA, PLATFORM, write_mapping
from t9k.em.local.state import LocalState
from t9k.em.records import UploadRequest
from t9k.em.run import Run
from t9k.em.transfer import downloading, uploading
from t9k_em_backends.tree.heads import Head, decode_head, file_key, split_head_key

FOLDER = f"/{USER}/default"
PATH = f"{FOLDER}/m"
TRAIN = "metrics/train.yaml"
FIELDS = ("labels", "description", "platform")
_SAFE = ("new", "new", "new", "error", "skip")


@frozen
class Content:
    """What a version or a copy holds.

    Attributes:
        fields: The newest edit of each field; '' for none.
        lines: What was logged.
    """

    fields: tuple[str, ...]
    lines: tuple[str, ...]


class NotingTree(SimulatedTree):
    """The real backend; notes which uploads may replace what they have not seen."""

    replacing: set[str]

    def begin(self, request: UploadRequest) -> Upload:
        if request.strategy == "replace":
            self.replacing.add(request.op)
        return super().begin(request)


@frozen
class Copies:
    """One history.

    Attributes:
        root: An empty directory.
        seed: Decides everything.
        tree_class: The code under test.
        is_alone: Whether there is one copy only, which then never meets a conflict.
    """

    root: Path
    seed: int
    tree_class: type[SimulatedTree] = SimulatedTree
    is_alone: bool = False
    world: World = field(init=False)
    edits: dict[str, str] = field(factory=dict, init=False)
    published: dict[int, tuple[Head, Content]] = field(factory=dict, init=False)
    replacing: set[str] = field(factory=set, init=False)
    replaced: dict[str, set[str]] = field(factory=dict, init=False)

    @world.default
    def _make_world(self) -> World:
        return World(self.seed)

    def run(self) -> None:
        """Runs it and raises Violation if anything is lost."""
        world, random = self.world, self.world.random
        world.changed = self._changed
        faults, world.profile = world.profile, Profile()
        first = self._create()
        with self._stepping():
            self._upload(first, "new")
            world.profile = Profile(
                crash=max(faults.crash, 0.03 if self.is_alone else 0.0),
                lost=faults.lost,
                reply_lost=faults.reply_lost,
                delayed=faults.delayed,
                sticky=faults.sticky,
            )
            for number in range(1 if self.is_alone else random.randint(2, 3)):
                directory = first if number == 0 else self.root / f"machine{number}"
                actions = [random.choice(self._actions(number)) for _ in range(random.randint(2, 5))]
                world.spawn(f"machine {number}", partial(self._machine, directory, number, actions))
            if self.is_alone and random.random() < 0.5:
                world.spawn("twin", partial(self._machine, first, 0, ["upload"] * 3))
            if random.random() < (0.8 if self.is_alone else 0.4):
                world.spawn("collector", self._collect)
            world.run()
            world.profile = Profile()
            for directory in sorted(path for path in self.root.iterdir() if (path / METADATA).exists()):
                self._upload(directory, "new")
        self._check()

    def _actions(self, number: int) -> Sequence[str]:
        own = ["labels", "description", "platform", "log", "log", "upload", "upload", "upload"]
        if self.is_alone:
            return own
        return (
            [*own, "fetch", "fetch", "look", "copy", "copy", "replace", "collect"]
            if number
            else [*own, "replace", "collect"]
        )

    # The machines.

    def _machine(self, directory: Path, number: int, actions: Sequence[str]) -> None:
        """Does one thing after the other; after a crash another process goes on."""
        for at, action in enumerate(actions):
            try:
                self._act(directory, number, action)
            except SimulatedCrash:
                self.world.spawn(f"machine {number} again", partial(self._machine, directory, number, actions[at:]))
                raise

    def _act(self, directory: Path, number: int, action: str) -> None:
        self.world.note(f"machine {number}", action)
        there = (directory / METADATA).exists()
        if action in ("upload", "replace"):
            if there:
                self._upload(directory, "replace" if action == "replace" else self.world.random.choice(_SAFE))
        elif action == "collect":
            self._collect()
        elif action in ("fetch", "look", "copy"):
            if not there:
                self._obtain(directory, action)
        elif there:
            self._edit(directory, action)
        else:
            self._obtain(directory, "fetch")

    def _obtain(self, directory: Path, action: str) -> None:
        """Makes a copy: of the newest version, of an old one, or of a directory."""
        random = self.world.random
        if action == "copy":
            self._step("cp -r")
            source = random.choice([path for path in sorted(self.root.iterdir()) if (path / METADATA).exists()])
            keeps = random.random() < 0.7
            shutil.copytree(source, directory, ignore=None if keeps else shutil.ignore_patterns(".em"))
            return
        version = f"@{random.randint(1, max(self.published))}" if action == "look" else ""
        with contextlib.suppress(BackendUnavailable, NotFound, LocalError):
            fetch_run(self._tree(), f"{PATH}{version}", directory=directory)

    def _edit(self, directory: Path, what: str) -> None:
        edit = f"e{len(self.edits) + 1}"
        self._step(f"{what} = {edit}")
        before = read_copy(directory)
        if what == "log":
            self.edits[edit] = ""
            with (directory / TRAIN).open("a") as file:
                file.write(line_of(edit))
            return
        self.edits[edit] = before.fields[FIELDS.index(what)]
        if what == "platform":
            write_mapping(Below(directory, PLATFORM), {"edit": edit})
            return
        run = Run._open_directory(directory)
        setattr(run, what, [edit] if what == "labels" else edit)
        run.save()

    def _upload(self, directory: Path, strategy: str) -> None:
        before = read_copy(directory)
        try:
            Run._open_directory(directory).send(self._tree(), FOLDER, make_folder=True, strategy=strategy)
        except Diverged as error:
            self.world.note(directory.name, str(error))
            if self.is_alone:
                raise Violation(f"the only copy there is was refused: {error}") from error
        except (BackendUnavailable, CommitUnknown, UploadFenced, Conflict, NotFound, CorruptLocalData) as error:
            self.world.note(directory.name, f"{type(error).__name__}: {error}")
        finally:
            self._check_kept(directory, before)

    def _collect(self) -> None:
        with contextlib.suppress(BackendUnavailable, CommitUnknown):
            self._tree().collect("/", grace_s=-1.0, apply=True)

    def _tree(self) -> SimulatedTree:
        noting = type("Noting", (NotingTree, self.tree_class), {"replacing": self.replacing})
        tree: SimulatedTree = noting(SimulatedStore(self.world), "sim://", sleep=lambda _: None)
        return tree

    def _create(self) -> Path:
        directory = self.root / "machine0"
        run = Run({"name": "m", "alternative_name": "m_alt"})
        run.directory.rename(directory)
        (directory / "metrics").mkdir(exist_ok=True)
        (directory / TRAIN).write_text("")
        shutil.rmtree(directory / ".em", ignore_errors=True)
        for name in ("git.yaml", PLATFORM):
            (directory / name).unlink(missing_ok=True)
        return directory

    # Steps of a process in which nothing is sent.

    def _step(self, what: str) -> None:
        self.world.call(Request(what=what, is_local=True))

    @contextlib.contextmanager
    def _stepping(self) -> Iterator[None]:
        """Lets others go on, or the process crash, before and after each change of a local directory by an upload."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in (
                (Descent, "note"),
                (LocalState, "op_for"),
                (LocalState, "change"),
                (LocalState, "done"),
                (Run, "_apply_merge"),
                (Run, "_apply_metadata"),
                (Run, "_save_index"),
            ):
                patch.setattr(owner, name, self._stepped(getattr(owner, name), name))
            for module in (downloading, uploading):
                patch.setattr(module, "in_parallel", lambda work, items, *_: [work(item) for item in items])
            yield

    def _stepped(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def stepped(*args: Any, **options: Any) -> Any:
            self._step(f"before {name}")
            result = real(*args, **options)
            self._step(f"after {name}")
            return result

        return stepped

    # What must hold.

    def _changed(self, key: str) -> None:
        """Reads each version when it is published, before anything can be collected."""
        parts = split_head_key(key)
        if parts is None or not key.startswith(f"{FOLDER[1:]}/"):
            return
        head = decode_head(self.world.read(key), key)
        if not head.ready:
            return
        content = self._content(head)
        if head.op in self.replacing and self.published:  # whoever takes this over takes over what was replaced
            below = self.published[max(self.published)][1]
            for was, now in zip(below.fields, content.fields, strict=True):
                self.replaced.setdefault(now, set()).add(was)
        self.published[parts[2]] = head, content

    def _content(self, head: Head) -> Content:
        files = {file.key: self.world.read(file_key(FOLDER, head.name, file)) for file in head.files}
        return content_of(
            head.metadata["labels"], head.metadata["description"], files.get(PLATFORM, b""), files.get(TRAIN, b"")
        )

    def _check(self) -> None:
        """No version lacks what the one below it has, unless it was to replace it."""
        below: Content | None = None
        for generation, (head, content) in sorted(self.published.items()):
            if below is not None and head.op not in self.replacing:
                self._check_step(below, content, f"version {generation}")
            below = content

    def _check_kept(self, directory: Path, before: Content) -> None:
        """An upload takes nothing away from the copy either."""
        self._check_step(before, read_copy(directory), directory.name)

    def _check_step(self, below: Content, content: Content, what: str) -> None:
        for name, was, now in zip(FIELDS, below.fields, content.fields, strict=True):
            if was not in self._history(now):
                raise Violation(f"{what} has {name} {now!r}, which was made without knowing {was!r}")
        if content.lines[: len(below.lines)] != below.lines:
            raise Violation(f"{what} lacks lines: {below.lines} became {content.lines}")

    def _history(self, edit: str) -> set[str]:
        """All edits on top of which one was made, itself too."""
        known: set[str] = {""}
        left = [edit, ""]
        while left:
            edit = left.pop()
            more = {self.edits.get(edit, ""), *self.replaced.get(edit, ())} - known
            known |= {edit, *more}
            left += more
        return known


def line_of(edit: str) -> str:
    """A line of metrics."""
    return "- " + json.dumps({"value": {"x": int(edit[1:])}, "sequence": {"step": 1}}) + "\n"


def read_copy(directory: Path) -> Content:
    """What a directory holds."""
    run = Run._open_directory(directory)
    platform = directory / PLATFORM
    train = directory / TRAIN
    return content_of(
        run.labels,
        run.description,
        platform.read_bytes() if platform.exists() else b"",
        train.read_bytes() if train.exists() else b"",
    )


def content_of(labels: Sequence[str], description: str, platform: bytes, train: bytes) -> Content:
    """Content from what lies in files."""
    edit = platform.decode().partition("edit:")[2].strip().strip("\"'")
    return Content(("".join(labels), description, edit), tuple(train.decode().splitlines()))
