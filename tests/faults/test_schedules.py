"""The real commit protocol under thousands of random schedules, and without each of its rules.

`EM_SCHEDULES=1000000 python -m pytest tests/faults/test_schedules.py` looks longer; a failure names the seed, and
`Scenario(seed).run()` is the same history again, with `world.trace` to read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from tests.faults.scenarios import FixedTree, Scenario, SimulatedTree
from tests.faults.simulator import Violation

from t9k.em.errors import AlreadyExists
from t9k.em.records import Body
from t9k_em_backends.tree.collect import Collector
from t9k_em_backends.tree.generations import Generations
from t9k_em_backends.tree.heads import Head, encode_head, head_key
from t9k_em_backends.tree.upload import TreeUpload

pytestmark = pytest.mark.greenlets

SCHEDULES = int(os.environ.get("EM_SCHEDULES", "8000"))
SHARDS = 4
MOST = 20_000


@pytest.mark.long
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_schedule_violates_anything(shard: int) -> None:
    for seed in range(shard, SCHEDULES, SHARDS):
        scenario = Scenario(seed)
        try:
            scenario.run()
        except Exception as error:
            error.add_note(f"seed {seed}:\n" + "\n".join(scenario.world.trace)) if hasattr(error, "add_note") else None
            raise


def _tree(**members: Any) -> type[SimulatedTree]:
    return type("Mutant", (SimulatedTree,), members)


def _upload(**members: Any) -> type[SimulatedTree]:
    return _tree(upload_class=type("MutantUpload", (TreeUpload,), members))


def _collector(**members: Any) -> type[SimulatedTree]:
    return _tree(collector_class=type("MutantCollector", (Collector,), members))


def _generations(publish: Callable[[Generations, int, Head], bool], **members: Any) -> type[SimulatedTree]:
    mutant = type("MutantGenerations", (Generations,), {"publish": publish})

    def generations(self: FixedTree, folder: str, name: str) -> Generations:
        real = FixedTree.generations(self, folder, name)
        return mutant(store=real.store, prefix=real.prefix, sleep=real.sleep)

    return _tree(tree_class=type("MutantTree", (FixedTree,), {"generations": generations}), **members)


def _put_over(self: Generations, generation: int, head: Head) -> bool:
    self.store.put(head_key(self.prefix, generation), Body.of(encode_head(head)))
    return True


def _exists_means_lost(self: Generations, generation: int, head: Head) -> bool:
    try:
        self.store.put(head_key(self.prefix, generation), Body.of(encode_head(head)), if_absent=True)
    except AlreadyExists:
        return False
    return True


def _exists_means_won(self: Generations, generation: int, head: Head) -> bool:
    _exists_means_lost(self, generation, head)
    return True


def _does_not_say_closing(self: Generations, generation: int, head: Head) -> bool:
    return Generations.publish(self, generation, evolve(head, state="deleted" if head.state == "deleted" else "ready"))


def _keep_first_base(self: TreeUpload, floor: int = 0) -> None:
    TreeUpload._look(self, floor)
    self._base = self.__dict__.setdefault("_first_base", self._base)


def _forget_name(self: TreeUpload) -> None:
    """Starts under the first name again."""


NO_HISTORY = {"_published_since": lambda *_: None}
MUTANTS = {
    "the collector publishes no generation before it deletes": _collector(_fence=lambda *_: True),
    "a fenced writer goes on": _upload(_check_fence=lambda *_: None),
    "fences are not carried on": _upload(_fenced=lambda _: ()),
    "heads are put unconditionally": _generations(_put_over),
    "any head that is there counts as one's own": _generations(_exists_means_won),
    "any head that is there counts as another's, and history is not read": _generations(
        _exists_means_lost, upload_class=type("MutantUpload", (TreeUpload,), NO_HISTORY)
    ),
    "history is not read": _upload(**NO_HISTORY),
    "the first plan is kept after a lost race": _upload(_look=_keep_first_base),
    "a resumed upload forgets that it had moved": _upload(_choose_name=_forget_name),
    "nobody looks after the folder": _upload(_keep_folder=lambda *_: None),
    "a folder is deleted in one step": _generations(_does_not_say_closing),
}


@pytest.mark.long
@pytest.mark.parametrize("rule", MUTANTS)
def test_without_one_rule_some_schedule_goes_wrong(rule: str) -> None:
    assert next(filter(None, (_violation(seed, MUTANTS[rule]) for seed in range(MOST))), None)


def _violation(seed: int, tree_class: type[SimulatedTree]) -> str:
    try:
        Scenario(seed, tree_class).run()
    except Violation as violation:
        return str(violation)
    return ""
