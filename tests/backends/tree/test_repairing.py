"""What becomes of a damaged record: whatever fails on the way, no record and no file is lost that could be read before."""

from __future__ import annotations

import contextlib

import pytest

from t9k.em.errors import BackendUnavailable, CorruptData, EMError
from t9k.em.names import check_name
from t9k.em.records import Body
from t9k.em.testing import StoreWrapper, make_request, read_node, upload
from t9k.em.testing.faults import WHEN, Fault, Faults, FaultyStore, SimulatedCrash
from t9k.em.transfer.checking.check import Options, run_check
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.heads import MAX_HEAD_BYTES

FOLDER = "/alice/team"
NODE = f"{FOLDER}/node"
FIRST, SECOND = {"a": b"first"}, {"a": b"second"}


@pytest.fixture
def store():
    return MemoryStore()


def tree(store):
    return MemoryBackend(store, "memory://here", sleep=lambda _: None)


def publish(backend, contents, name="node", **options):
    return upload(backend, make_request(FOLDER, name, contents, **options), contents)


def head(name, generation):
    return f"alice/team/.em/h/{name}/{generation:08d}.json"


def put(store, key, data):
    store.put(key, Body.of(data))


def get(store, key):
    return b"".join(store.get(key))


def damaged(store):
    """A node with two versions, of which the record of the second is cut."""
    first = publish(tree(store), FIRST)
    publish(tree(store), SECOND, id=first.id)
    put(store, head("node", 2), b'{"v":1,')
    return store


def flaw_of(backend, kind="record"):
    (flaw,) = (flaw for flaw in backend.flaws() if flaw.kind == kind)
    return flaw


def check(backend, **options):
    return run_check(backend, "/", Options(**options), place="here")


def repair_until_whole(store):
    """Repairs again, as who is told of a failure does."""
    for _ in range(3):
        if not check(tree(store), repair=True).damage:
            return
    raise AssertionError("it stays damaged")


@pytest.mark.parametrize("when", WHEN)
def test_a_repair_that_fails_or_dies_anywhere_is_done_by_the_next_one(when):
    call = 0
    while True:
        call += 1
        store = damaged(MemoryStore())
        faults = Faults(Fault(call, when))
        with contextlib.suppress(EMError, SimulatedCrash):
            check(tree(FaultyStore(store, faults)), repair=True)
        repair_until_whole(store)
        node = tree(store).stat(NODE)
        assert read_node(tree(store), node) == FIRST
        assert read_node(tree(store), tree(store).stat(f"{NODE}@1")) == FIRST
        assert {get(store, info.key) for info in store.list("alice/team/.em/damaged/")} == {b'{"v":1,'}
        assert any(get(store, info.key) == b"second" for info in store.list("alice/team/node/"))
        if len(faults.calls) < call:
            break
    assert call > 10


def test_a_record_that_can_be_read_by_now_is_not_written_over(store):
    backend = tree(store)
    publish(backend, FIRST)
    record = get(store, head("node", 1))
    for generation in (1, 2):
        if generation == 2:
            publish(backend, SECOND, strategy="replace")
        put(store, head("node", 1), b"{")
        flaw = flaw_of(backend)
        put(store, head("node", 1), record)
        with pytest.raises(CorruptData, match="can be read by now"):
            backend.repair(flaw)
        assert get(store, head("node", 1)) == record


def test_a_lost_record_that_is_there_again_is_not_written_over(store):
    backend = tree(store)
    node = publish(backend, FIRST)
    publish(backend, SECOND, id=node.id)
    record = get(store, head("node", 1))
    store.delete([head("node", 1)])
    flaw = flaw_of(backend, "chain")
    put(store, head("node", 1), record)
    with pytest.raises(CorruptData, match="can be read by now"):
        backend.repair(flaw)
    assert get(store, head("node", 1)) == record


def test_a_record_larger_than_any_of_ours_is_left_where_it_is(store):
    damaged(store)
    large = b"x" * (MAX_HEAD_BYTES + 1)
    put(store, head("node", 2), large)
    (left,) = check(tree(store), repair=True).left
    assert "move it away and check again" in left.flaw.problem
    assert get(store, head("node", 2)) == large


def test_a_writer_who_was_faster_is_not_overtaken(store):
    damaged(store)
    backend = tree(store)
    flaw = flaw_of(backend)
    record = get(store, head("node", 1))

    class Overtaken(StoreWrapper):
        def put(self, key, body, *, if_absent=False):
            if key == head("node", 3) and if_absent:
                self.inner.put(key, Body.of(record))
            return self.inner.put(key, body, if_absent=if_absent)

    with pytest.raises(CorruptData, match="somebody has published meanwhile"):
        tree(Overtaken(store)).repair(flaw)
    assert get(store, head("node", 3)) == record
    assert get(store, head("node", 2)) == b'{"v":1,'


def test_all_damaged_records_of_a_name_are_mended_at_once(store):
    backend = tree(store)
    node = publish(backend, FIRST)
    for number in range(3):
        publish(backend, {"a": b"%d" % number}, id=node.id)
    for generation in (2, 3, 4):
        put(store, head("node", generation), b"{")
    assert check(backend, repair=True).left == []
    assert read_node(backend, backend.stat(NODE)) == FIRST
    assert [each.generation for each in backend.versions(NODE)] == [5, 4, 3, 2, 1]


def test_older_records_are_left_alone_while_the_newest_cannot_be_mended(store):
    backend = tree(store)
    node = publish(backend, FIRST)
    publish(backend, SECOND, id=node.id)
    for generation in (1, 2):
        put(store, head("node", generation), b"{")
    assert len(check(backend, repair=True).left) == 2
    assert get(store, head("node", 1)) == get(store, head("node", 2)) == b"{"


def test_a_lost_older_record_is_not_filled_while_the_newest_cannot_be_mended(store):
    backend = tree(store)
    node = publish(backend, FIRST)
    publish(backend, SECOND, id=node.id)
    store.delete([head("node", 1)])
    put(store, head("node", 2), b"{")
    assert len(check(backend, repair=True).left) == 2
    assert head("node", 1) not in {info.key for info in store.list("alice/")}


def test_names_keep_their_spelling_when_a_record_is_set_aside(store):
    backend = tree(store)
    node = publish(backend, FIRST, "Modell-Ä")
    publish(backend, SECOND, "Modell-Ä", id=node.id)
    (key,) = (info.key for info in store.list("alice/team/.em/h/") if info.key.endswith("00000001.json"))
    put(store, key, b"{")
    assert check(backend, repair=True).left == []
    assert [each.path for each in backend.versions(node.path)] == [node.path] * 2


def test_a_name_too_long_for_a_key_is_mended_too(store):
    name = check_name("x" * 250)
    backend = tree(store)
    node = publish(backend, FIRST, name)
    publish(backend, SECOND, name, id=node.id)
    (key,) = (info.key for info in store.list("alice/team/.em/h/") if info.key.endswith("00000002.json"))
    put(store, key, b"{")
    assert check(backend, repair=True).left == []
    assert read_node(backend, backend.stat(node.path)) == FIRST


def test_a_version_that_a_collector_repeated_is_gone_back_to_as_the_publication_it_was(store):
    backend = tree(store)
    node = publish(backend, FIRST)
    begun = backend.begin(make_request(FOLDER, "node", SECOND, id=node.id))
    begun.put([(file, Body.of(SECOND[file.key])) for file in begun.missing])
    backend.collect(grace_s=-60.0, apply=True)  # which repeats version 1
    publish(backend, SECOND, id=node.id)
    put(store, head("node", 3), b"{")
    assert check(backend, repair=True).left == []
    assert (backend.stat(NODE).generation, backend.stat(NODE).op) == (4, node.op)


def test_going_back_past_a_damaged_version_that_was_repeated_needs_no_publication(store):
    backend = tree(store)
    node = publish(backend, FIRST)
    begun = backend.begin(make_request(FOLDER, "node", SECOND, id=node.id))
    begun.put([(file, Body.of(SECOND[file.key])) for file in begun.missing])
    backend.collect(grace_s=-60.0, apply=True)
    publish(backend, SECOND, id=node.id)
    for generation in (1, 3):
        put(store, head("node", generation), b"{")
    assert check(backend, repair=True).left == []
    assert read_node(backend, backend.stat(NODE)) == FIRST
    assert check(backend).is_whole


def test_a_store_that_does_not_answer_for_a_record_or_list_leaves_it_unread(store, monkeypatch):
    class Failing(StoreWrapper):
        def get(self, key, start=0, end=None):
            if key == head("node", 2) or "/.em/manifest-" in key:
                raise BackendUnavailable("no answer; try again")
            return self.inner.get(key, start, end)

    node = publish(tree(store), FIRST)
    publish(tree(store), SECOND, id=node.id)
    monkeypatch.setattr("t9k_em_backends.tree.heads.FILES_IN_HEAD_BYTES", 0)
    publish(tree(store), FIRST, "listed")
    found = {(flaw.kind, flaw.path) for flaw in tree(Failing(store)).flaws()}
    assert found == {("unread", NODE), ("unread", f"{FOLDER}/listed")}


def test_what_is_replaced_and_collected_while_it_is_looked_at_is_no_damage(store):
    node = publish(tree(store), FIRST)

    class Overtaken(StoreWrapper):
        overtaken = False

        def list(self, prefix):
            if prefix == "alice/team/node/" and not self.overtaken:
                self.overtaken = True
                publish(tree(store), SECOND, id=node.id)
                tree(store).collect(grace_s=-60.0, apply=True)
            return self.inner.list(prefix)

    assert list(tree(Overtaken(store)).flaws()) == []


def test_what_is_replaced_again_and_again_is_told_as_it_was_last_seen(store):
    node = publish(tree(store), FIRST)
    numbers = iter(range(100))

    class Overtaken(StoreWrapper):
        def list(self, prefix):
            if prefix == "alice/team/node/":
                publish(tree(store), {"a": b"%d" % next(numbers)}, id=node.id)
                tree(store).collect(grace_s=-60.0, apply=True)
            return self.inner.list(prefix)

    assert {flaw.kind for flaw in tree(Overtaken(store)).flaws()} == {"missing"}
    assert next(numbers) == 3


def test_nothing_is_collected_of_a_damaged_name_and_all_of_others(store, caplog):
    damaged(store)
    backend = tree(store)
    publish(backend, FIRST, "other")
    backend.delete(f"{FOLDER}/other")
    collected = {info.key for info in backend.collect(grace_s=-60.0, apply=True).objects}
    assert collected
    assert not any(key.startswith("alice/team/node/") for key in collected)
    assert "nothing is collected of 'node'" in caplog.text


def test_a_node_whose_only_record_is_lost_is_deleted_and_uploaded_again_as_the_report_says(store):
    backend = tree(store)
    publish(backend, FIRST)
    put(store, head("node", 1), b"{")
    (left,) = check(backend, repair=True).left
    assert left.flaw.problem.endswith("or delete the node and upload it again")
    backend.delete(NODE)
    node = publish(backend, FIRST)
    assert check(backend, repair=True).left == []
    assert check(backend).is_whole
    assert read_node(backend, node) == FIRST


def test_a_node_that_was_deleted_before_the_damaged_version_is_deleted_again(store):
    backend = tree(store)
    publish(backend, FIRST)
    backend.delete(NODE)
    publish(backend, SECOND)
    put(store, head("node", 3), b"{")
    assert check(backend, repair=True).left == []
    assert backend.list(FOLDER) == []
    assert read_node(backend, backend.stat(f"{NODE}@1")) == FIRST
    assert check(backend).is_whole


def test_a_damaged_record_is_no_flaw_of_the_listing_cache(store, monkeypatch):
    monkeypatch.setattr("t9k_em_backends.tree.listing.REWRITE_AT", 1)
    backend = tree(store)
    publish(backend, FIRST)
    publish(backend, FIRST, "other")
    backend.list(FOLDER)
    put(store, head("node", 1), b"{")
    assert [flaw.kind for flaw in tree(store).flaws()] == ["record"]
