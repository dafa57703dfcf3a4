"""Every single fault and every pair of faults in an upload, a deletion, a new folder and a collection.

The process that fails is started again, as its user would, until it ends without an error. Then everything is as if
nothing had gone wrong, and at no time has a reader seen anything but whole nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from attrs import evolve, frozen

from t9k.em.backend import ObjectStore, Upload
from t9k.em.errors import BackendUnavailable, CommitUnknown, Conflict, NotFound
from t9k.em.names import STRATEGIES
from t9k.em.records import Body, Outcome, UploadRequest
from t9k.em.testing.faults import WHEN, Fault, Faults, FaultyStore, SimulatedCrash
from t9k.em.testing.uploads import finish, make_request, read_node, upload
from t9k_em_backends.local import LocalStore
from t9k_em_backends.memory import MemoryStore
from t9k_em_backends.tree import TreeBackend
from t9k_em_backends.tree.generations import ATTEMPTS
from t9k_em_backends.tree.heads import Head, decode_head, split_head_key, with_files

HOME = "/alice"
CONTENTS = {"a": b"a", "b/c": b"bb"}
OTHER = {"other": b"other"}
EARLIER = {"a": b"a", "gone": b"earlier"}
SITUATIONS = ("free", "taken", "update")
MORE_CALLS = 8
"""A fault makes the calls more; the second of a pair may fall among those."""


class Tree(TreeBackend):
    """The real backend on a store that is known to be safe."""

    def _require_safe_store(self) -> None:
        """Probing would only add calls that have nothing to do with uploads."""


class WatchedStore(FaultyStore):
    """A faulty store behind whose back a reader looks after each publication."""

    def around(self, what, call):
        try:
            return super().around(what, call)
        finally:
            if ".em/h/" in what and what.startswith("put"):
                look(self.inner)


def clean_tree(store: ObjectStore) -> TreeBackend:
    return Tree(store, "test://", sleep=lambda _: None)


def faulty_tree(store: ObjectStore, faults: Faults) -> TreeBackend:
    return clean_tree(WatchedStore(store, faults))


def look(store: ObjectStore) -> dict[str, dict[str, bytes]]:
    """All nodes in the home, which have to be whole."""
    tree = clean_tree(store)
    return {node.path: read_node(tree, node) for node in tree.list(HOME) if node.kind != "Folder"}


def heads(store: ObjectStore) -> Iterator[Head]:
    for info in store.list(""):
        if split_head_key(info.key):
            yield decode_head(b"".join(store.get(info.key)), info.key)


def in_the_end(faults: Faults, act: Callable[[bool], object]) -> object:
    """Starts a process again and again until it ends by itself; `act` is told whether it is not the first."""
    for number in itertools.count():
        try:
            return act(number > 0)
        except (SimulatedCrash, BackendUnavailable, CommitUnknown):
            faults.restart()
    raise AssertionError


def single_faults(calls: int) -> Iterator[tuple[Fault, ...]]:
    return ((Fault(call, when),) for call in range(1, calls + 1) for when in WHEN)


def pairs_of_faults(calls: int) -> Iterator[tuple[Fault, ...]]:
    for (first,) in single_faults(calls):
        for call, when in itertools.product(range(first.call + 1, calls + MORE_CALLS + 1), WHEN):
            yield first, Fault(call, when)


@frozen(kw_only=True)
class Case:
    """One upload and what has to become of it."""

    strategy: str
    situation: str
    request: UploadRequest

    @classmethod
    def of(cls, strategy: str, situation: str) -> Case:
        request = make_request(HOME, "m", CONTENTS, strategy=strategy, id="mine", alternative_name="m_alt")
        return cls(strategy=strategy, situation=situation, request=request)

    def prepare(self, store: ObjectStore) -> None:
        tree = clean_tree(store)
        tree.make_folder(HOME)
        if self.situation == "taken":
            upload(tree, make_request(HOME, "m", OTHER, id="other"), OTHER)
        elif self.situation == "update":
            upload(tree, make_request(HOME, "m", EARLIER, id="mine"), EARLIER)

    def run(self, store: ObjectStore, faults: Faults) -> None:
        def act(again: bool) -> Upload:
            return finish(faulty_tree(store, faults).begin(evolve(self.request, resumed=again)), CONTENTS)

        outcome = None
        with suppress(Conflict):
            done = in_the_end(faults, act)
            assert isinstance(done, Upload)
            outcome = done.outcome
        self.check(store, outcome)

    def check(self, store: ObjectStore, outcome: Outcome | None) -> None:
        expected, nodes = {
            ("taken", "skip"): (Outcome.SKIPPED, {"m": OTHER}),
            ("taken", "error"): (None, {"m": OTHER}),
            ("taken", "new"): (Outcome.PUBLISHED, {"m": OTHER, "m_alt": CONTENTS}),
        }.get((self.situation, self.strategy), (Outcome.PUBLISHED, {"m": CONTENTS}))
        assert outcome is expected
        assert look(store) == {f"{HOME}/{name}": contents for name, contents in nodes.items()}
        assert sum(head.op == self.request.op for head in heads(store)) == (expected is Outcome.PUBLISHED)
        if self.situation != "free":
            tree = clean_tree(store)
            assert read_node(tree, tree.stat(f"{HOME}/m@1")) == (OTHER if self.situation == "taken" else EARLIER)
        assert all(head.name in ("alice", "m", "m_alt") for head in heads(store))


CASES = [(strategy, situation) for strategy in STRATEGIES for situation in SITUATIONS]


def _count(case: Case) -> int:
    store, faults = MemoryStore(), Faults()
    case.prepare(store)
    case.run(store, faults)
    return len(faults.calls)


@pytest.mark.long
@pytest.mark.parametrize(("strategy", "situation"), CASES)
def test_an_upload_survives_every_fault_and_every_pair_of_faults(strategy: str, situation: str) -> None:
    calls = _count(Case.of(strategy, situation))
    for faults in itertools.chain(single_faults(calls), pairs_of_faults(calls)):
        case, store = Case.of(strategy, situation), MemoryStore()
        case.prepare(store)
        try:
            case.run(store, Faults(*faults))
        except Exception as error:
            raise AssertionError(f"with {faults}") from error


@pytest.mark.long
@pytest.mark.parametrize(("strategy", "situation"), CASES)
def test_an_upload_to_a_directory_survives_every_fault(strategy: str, situation: str, tmp_path) -> None:
    for number, faults in enumerate(single_faults(_count(Case.of(strategy, situation)))):
        case, store = Case.of(strategy, situation), LocalStore(tmp_path / str(number))
        case.prepare(store)
        case.run(store, Faults(*faults))


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("later", [False, True], ids=["", "and arrives later"])
def test_an_upload_whose_fate_was_unknown_is_published_once(done: bool, later: bool) -> None:
    case, store = Case.of("error", "free"), MemoryStore()
    case.prepare(store)
    first = next(number for number, call in enumerate(_calls(case), 1) if call.startswith("put alice/.em/h/m/"))
    silence = [Fault(call, "before") for call in range(first + 1, first + 2 * ATTEMPTS + 1)]
    faults = Faults(Fault(first, "after" if done else "before"), *silence)
    begun = faulty_tree(store, faults).begin(case.request)
    with pytest.raises(CommitUnknown):
        finish(begun, CONTENTS)
    assert (f"{HOME}/m" in look(store)) is done
    if later and not done:
        record = with_files(begun._make_head(), tuple(begun._sent.values()))  # what is still on its way
        clean_tree(store).tree.generations(HOME, "m").publish(1, record)
    resumed = clean_tree(store).begin(evolve(case.request, resumed=True))
    assert finish(resumed, CONTENTS).outcome is Outcome.PUBLISHED
    assert sum(head.op == case.request.op for head in heads(store)) == 1
    assert look(store) == {f"{HOME}/m": CONTENTS}


def _calls(case: Case) -> list[str]:
    store, faults = MemoryStore(), Faults()
    case.prepare(store)
    case.run(store, faults)
    return faults.calls


def _survives_all(
    prepare: Callable[[ObjectStore], object], act: Callable[[TreeBackend], object], check, *, step: int = 1
) -> None:
    """Lets something else than an upload survive every fault and every pair of faults, or each `step`-th pair."""
    store, faults = MemoryStore(), Faults()
    prepare(store)
    act(faulty_tree(store, faults))
    check(store)
    calls = len(faults.calls)
    for chosen in itertools.chain(single_faults(calls), itertools.islice(pairs_of_faults(calls), 0, None, step)):
        store, faults = MemoryStore(), Faults(*chosen)
        prepare(store)
        with suppress(NotFound):  # a deletion that was done already
            in_the_end(faults, partial(_act_on, faulty_tree(store, faults), act))
        check(store)


def _act_on(tree: TreeBackend, act: Callable[[TreeBackend], object], again: bool) -> object:
    return act(tree)


def _prepare_two(store: ObjectStore) -> None:
    tree = clean_tree(store)
    for path in (HOME, f"{HOME}/f"):
        upload(tree, make_request(path, "m", OTHER), OTHER)


@pytest.mark.long
def test_a_deletion_survives() -> None:
    def check(store: ObjectStore) -> None:
        assert look(store) == {}
        assert [node.name for node in clean_tree(store).list(HOME)] == ["f"]
        assert [node.deleted for node in clean_tree(store).versions(f"{HOME}/m")] == [True, False]

    _survives_all(_prepare_two, lambda tree: tree.delete(f"{HOME}/m"), check)


@pytest.mark.long
def test_the_deletion_of_a_folder_survives() -> None:
    def check(store: ObjectStore) -> None:
        assert look(store) == {f"{HOME}/m": OTHER}
        with pytest.raises(NotFound):
            clean_tree(store).stat(f"{HOME}/f")
        with pytest.raises(NotFound):
            clean_tree(store).stat(f"{HOME}/f/m")

    _survives_all(_prepare_two, lambda tree: tree.delete(f"{HOME}/f", recursive=True), check, step=7)


@pytest.mark.long
def test_a_new_folder_survives() -> None:
    def check(store: ObjectStore) -> None:
        assert list(clean_tree(store).list(f"{HOME}/x/y")) == []
        assert [node.name for node in clean_tree(store).list(HOME)] == ["f", "m", "x"]

    _survives_all(_prepare_two, lambda tree: tree.make_folder(f"{HOME}/x/y"), check)


@pytest.mark.long
def test_a_collection_survives() -> None:
    def prepare(store: ObjectStore) -> None:
        _prepare_two(store)
        tree = clean_tree(store)
        upload(tree, make_request(HOME, "m", CONTENTS, strategy="replace"), CONTENTS)
        begun = tree.begin(make_request(HOME, "n", CONTENTS))
        begun.put([(file, Body.of(CONTENTS[file.key])) for file in begun.missing[:1]])

    def check(store: ObjectStore) -> None:
        assert look(store) == {f"{HOME}/m": CONTENTS}
        assert clean_tree(store).collect(grace_s=-60.0).objects == ()
        assert not [info.key for info in store.list("alice/n/")]

    _survives_all(prepare, lambda tree: tree.collect(HOME, grace_s=-60.0, apply=True), check, step=5)
