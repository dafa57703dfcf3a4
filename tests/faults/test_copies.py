"""Copies of one run on several machines under thousands of random schedules, and without each of the rules that keep them apart.

`EM_SCHEDULES=100000 python -m pytest tests/faults/test_copies.py` looks longer; a failure names the seed, and
`Copies(directory, seed).run()` is the same history again, with `world.trace` to read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from tests.faults.copies import Copies
from tests.faults.scenarios import SimulatedTree
from tests.faults.simulator import Violation

from t9k.em import loading
from t9k.em.local.descent import THERE, Descent
from t9k.em.nodes import local_node, merging
from t9k.em.nodes.local_node import LocalNode
from t9k_em_backends.tree import upload as upload_module
from t9k_em_backends.tree.upload import TreeUpload

pytestmark = pytest.mark.greenlets

SCHEDULES = int(os.environ.get("EM_SCHEDULES", "8000")) // 20
SHARDS = 2
MOST = 3000


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where histories happen, in memory if the system has such a place."""
    memory = Path("/dev/shm")
    place = (
        memory / f"em-copies-{os.getpid()}-{os.urandom(4).hex()}" if os.access(memory, os.W_OK) else tmp_path / "copies"
    )
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture(autouse=True)
def _clean(place: Path) -> Any:
    yield
    shutil.rmtree(place, ignore_errors=True)


def history(place: Path, seed: int, *, is_alone: bool, tree_class: type[SimulatedTree] = SimulatedTree) -> None:
    root = place / "history"
    root.mkdir()
    copies = Copies(root, seed, tree_class, is_alone=is_alone)
    try:
        copies.run()
    except Exception as error:
        error.add_note(f"seed {seed}:\n" + "\n".join(copies.world.trace)) if hasattr(error, "add_note") else None
        raise
    finally:
        shutil.rmtree(root)


@pytest.mark.long
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_schedule_loses_a_change(place: Path, shard: int) -> None:
    for seed in range(shard, SCHEDULES, SHARDS):
        history(place, seed, is_alone=False)


@pytest.mark.long
def test_the_only_copy_is_never_refused(place: Path) -> None:
    for seed in range(SCHEDULES // 2):
        history(place, seed, is_alone=True)


@frozen
class Mutant:
    """One rule that is missing.

    Attributes:
        owner: Class or module.
        name: Of the function that is replaced.
        make: Makes the other function from the real one.
    """

    owner: Any
    name: str
    make: Callable[[Any], Any]


def _only_at_first(real: Any) -> Any:
    def check(self: TreeUpload, generation: int, head: Any) -> None:
        if self.__dict__.setdefault("_looks", 0) == 0:
            real(self, generation, head)
        self.__dict__["_looks"] += 1

    return check


def _noting_only(what: str) -> Callable[[Any], Any]:
    def make(real: Any) -> Any:
        return lambda self, kind, op, target: real(self, kind, op, target) if kind == what else None

    return make


def _note_before_adopting(real: Any) -> Any:
    def join(self: LocalNode, backend: Any, folder: str, error: Any) -> Any:
        newest = backend.stat(f"{folder}/{self.name}")
        self._state.descent.note(THERE, newest.op, f"{backend.uri}#{folder}")
        return real(self, backend, folder, error)

    return join


def _as_of_the_newest(real: Any) -> Any:
    def remember(directory: Path, backend: Any, node: Any) -> None:
        real(directory, backend, evolve(node, op=backend.stat(node.path).op))

    return remember


def _of_another_base(real: Any) -> Any:
    def find(*args: Any) -> Any:
        found = real(*args)
        return found and evolve(found, base=found.theirs)

    return find


def _theirs_wins(_: Any) -> Any:
    def choose(self: Any, mine: Any, theirs: Any, base: Any, named: Any) -> Any:
        del self, base, named
        return {key: value for key, value in theirs.items() if mine.get(key) != value}

    return choose


def _mine_wins(_: Any) -> Any:
    return lambda *_: {}


def _longer_wins(_: Any) -> Any:
    return lambda body, file: body.size >= file.size


LOSING = {
    "the tree does not look what an upload comes from": Mutant(TreeUpload, "_check_descent", lambda _: lambda *_: None),
    "the tree looks only once": Mutant(TreeUpload, "_check_descent", _only_at_first),
    "a copy counts as one of the newest before it has taken that over": Mutant(
        LocalNode, "_join", _note_before_adopting
    ),
    "an old version counts as the newest": Mutant(loading, "_remember", _as_of_the_newest),
    "what was changed is told by the newest version": Mutant(merging, "find_versions", _of_another_base),
    "of two changes of a field theirs is taken": Mutant(merging._Planner, "_choose", _theirs_wins),
    "of two changes of a field mine is taken": Mutant(merging._Planner, "_choose", _mine_wins),
    "of two logs the longer one is taken": Mutant(merging._Planner, "_begins", lambda _: staticmethod(_longer_wins(_))),
    "of two changes of a file theirs is taken": Mutant(merging._Planner, "_is_theirs", lambda _: lambda *_: True),
    "of two changes of a file mine is taken": Mutant(merging._Planner, "_is_theirs", lambda _: lambda *_: False),
}
REFUSING = {
    "a process does not look again whether the newest is of its own directory": Mutant(
        local_node, "_TRIES", lambda _: 1
    ),
    "an upload is not noted before its first request": Mutant(Descent, "note", _noting_only(THERE)),
    "what the collector repeats counts as another's": Mutant(
        upload_module, "publication", lambda _: lambda _generation, head, _read: head.op
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("rule", [*LOSING, *REFUSING])
def test_without_one_rule_some_schedule_goes_wrong(place: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    mutant = {**LOSING, **REFUSING}[rule]
    real = getattr(mutant.owner, mutant.name)
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.make(real))
    assert any(_goes_wrong(place, seed, is_alone=rule in REFUSING) for seed in range(MOST))


def _goes_wrong(place: Path, seed: int, *, is_alone: bool) -> bool:
    try:
        history(place, seed, is_alone=is_alone)
    except Violation:
        return True
    return False
