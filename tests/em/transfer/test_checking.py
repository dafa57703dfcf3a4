"""A check of a store with real damage, on stores of every kind."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from attrs import evolve

from t9k.em.errors import BackendPermissionError, BackendUnavailable, CorruptManifest, InvalidInput, NotFound
from t9k.em.names import parent_and_name
from t9k.em.records import Body, Flaw
from t9k.em.registry import open_backend
from t9k.em.testing import StoreWrapper, make_request, read_node, upload
from t9k.em.transfer.checking.check import Options, run_check
from t9k.em.transfer.checking.sample import Sample
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.heads import file_key

FOLDER = "/alice/team"
FIRST = {"a": b"first", "same": b"shared" * 100}
SECOND = {"a": b"second", "same": b"shared" * 100}


def root_of(place: str, request) -> str:
    if place == "memory":
        return f"memory://{uuid4().hex}"
    if place == "file":
        return f"file://{request.getfixturevalue('tmp_path')}/store"
    return str(request.getfixturevalue("s3").new_root())


@pytest.fixture(params=["memory", "file", "s3"])
def backend(request):
    with open_backend(root_of(request.param, request)) as backend:
        yield backend


@pytest.fixture
def tree():
    return MemoryBackend(MemoryStore(), "memory://here")


def publish(backend, name="node", contents=FIRST, folder=FOLDER, **options):
    return upload(backend, make_request(folder, name, contents, **options), contents)


def two_versions(backend, name="node"):
    first = publish(backend, name)
    return publish(backend, name, SECOND, id=first.id)


def check(backend, path="/", **options):
    return run_check(backend, path, Options(**options), place="here")


def key_of(backend, node, key):
    (file,) = (file for file in backend.files(node) if file.key == key)
    return file_key(parent_and_name(node.path)[0], node.name, file)


def put(backend, key, data):
    backend.store.put(key, Body.of(data))


def flip(backend, key):
    data = bytearray(b"".join(backend.store.get(key)))
    data[len(data) // 2] ^= 1
    put(backend, key, bytes(data))


def kinds(report):
    return [(found.flaw.kind, found.flaw.path, found.flaw.key) for found in report.found]


def head(name, generation, folder=FOLDER):
    return f"{folder[1:]}/.em/h/{name}/{generation:08d}.json"


def test_a_whole_store_is_whole(backend):
    two_versions(backend)
    publish(backend, "other")
    report = check(backend)
    assert report.is_whole
    assert (report.nodes, report.versions, report.files, report.read_files) == (2, 3, 5, 5)
    assert report.size == report.read == 5 + 600 + 6 + 5 + 600


def test_a_flipped_bit_is_found_and_mended_from_another_file_with_the_same_bytes(backend):
    publish(backend)
    other = publish(backend, "other")
    flip(backend, key_of(backend, other, "same"))
    report = check(backend)
    assert kinds(report) == [("rot", f"{FOLDER}/other", "same")]
    assert not report.found[0].repaired
    fixed = check(backend, repair=True)
    assert [found.repaired for found in fixed.found] == [f"copied from {FOLDER}/node: same"]
    assert (len(fixed.damage), fixed.left) == (1, [])
    assert check(backend).is_whole
    assert read_node(backend, other) == FIRST


def test_a_flipped_bit_that_nobody_else_has_stays_reported(backend):
    node = publish(backend)
    flip(backend, key_of(backend, node, "a"))
    assert kinds(check(backend, repair=True)) == [("rot", f"{FOLDER}/node", "a")]
    assert len(check(backend).left) == 1


@pytest.mark.long
def test_what_a_check_finds_damaged_is_sent_again_by_the_next_upload(backend):
    node = publish(backend)
    flip(backend, key_of(backend, node, "a"))
    backend.store.delete([key_of(backend, node, "same")])
    assert len(check(backend).left) == 2
    again = publish(backend, id=node.id)
    assert (again.generation, read_node(backend, again)) == (2, FIRST)
    assert {found.flaw.path for found in check(backend).left} == {f"{FOLDER}/node@1"}


def test_a_missing_file_is_found_without_reading_a_byte(backend):
    node = publish(backend)
    backend.store.delete([key_of(backend, node, "a")])
    report = check(backend, sample=Sample.of("0%"))
    assert kinds(report) == [("missing", f"{FOLDER}/node", "a")]
    assert report.read_files == 0


def test_a_cut_file_is_found_without_reading_a_byte(backend):
    node = publish(backend)
    put(backend, key_of(backend, node, "a"), b"firs")
    report = check(backend, sample=Sample.of("0%"))
    assert kinds(report) == [("rot", f"{FOLDER}/node", "a")]


def test_damage_of_an_older_version_names_the_version(backend):
    node = two_versions(backend)
    flip(backend, key_of(backend, backend.stat(f"{FOLDER}/node@1"), "a"))
    assert kinds(check(backend)) == [("rot", f"{FOLDER}/node@1", "a")]
    assert read_node(backend, node) == SECOND


@pytest.mark.long
@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]"], ids=["empty", "cut", "no text", "other JSON"])
def test_a_damaged_newest_record_goes_back_to_the_last_good_version(backend, damage):
    two_versions(backend)
    put(backend, head("node", 2), damage)
    report = check(backend)
    assert kinds(report) == [("record", f"{FOLDER}/node", head("node", 2))]
    fixed = check(backend, repair=True)
    assert fixed.left == []
    assert "version 1 is the newest again, as version 3" in fixed.found[0].repaired
    node = backend.stat(f"{FOLDER}/node")
    assert (node.generation, read_node(backend, node)) == (3, FIRST)
    assert [(each.generation, each.deleted) for each in backend.versions(node.path)] == [
        (3, False),
        (2, True),
        (1, False),
    ]
    kept = [info.key for info in backend.store.list("alice/team/.em/damaged/node/")]
    assert [b"".join(backend.store.get(key)) for key in kept] == ([damage] if damage else [])
    assert check(backend).is_whole


def test_copies_of_the_version_gone_back_to_are_uploaded_on_top_of_it(backend):
    first = publish(backend)
    publish(backend, contents=SECOND, id=first.id)
    put(backend, head("node", 2), b"{")
    check(backend, repair=True)
    after = publish(backend, contents={"a": b"third"}, id=first.id, ancestors=[first.op])
    assert (after.generation, read_node(backend, after)) == (4, {"a": b"third"})


def test_nothing_is_collected_of_a_name_while_a_damaged_record_of_it_is_kept(backend):
    node = two_versions(backend)
    files = {key_of(backend, node, "a")}
    put(backend, head("node", 2), b"{")
    check(backend, repair=True)
    for path in ("/", f"{FOLDER}/node"):
        assert backend.collect(path, grace_s=-60.0, apply=True).objects == ()
    backend.store.delete([info.key for info in backend.store.list("alice/team/.em/damaged/")])
    assert {info.key for info in backend.collect(grace_s=-60.0, apply=True).objects} >= files
    assert read_node(backend, backend.stat(f"{FOLDER}/node")) == FIRST


def test_a_damaged_older_record_is_set_aside(backend):
    node = two_versions(backend)
    put(backend, head("node", 1), b"{")
    assert kinds(check(backend)) == [("record", f"{FOLDER}/node@1", head("node", 1))]
    assert check(backend, repair=True).left == []
    assert backend.stat(f"{FOLDER}/node") == node
    assert len(backend.versions(f"{FOLDER}/node")) == 2
    assert check(backend).is_whole


@pytest.mark.long
def test_a_lost_record_below_others_is_found_and_filled(backend):
    two_versions(backend)
    backend.store.delete([head("node", 1)])
    report = check(backend)
    assert kinds(report) == [("chain", f"{FOLDER}/node@1", head("node", 1))]
    assert check(backend, repair=True).left == []
    assert check(backend).is_whole


def test_the_only_record_of_a_node_cannot_be_mended(backend):
    publish(backend)
    put(backend, head("node", 1), b"{")
    before = {info.key for info in backend.store.list("alice/")}
    report = check(backend, repair=True)
    assert len(report.left) == 1
    assert "no earlier version of it has all its files" in report.left[0].flaw.problem
    assert {info.key for info in backend.store.list("alice/")} == before


def test_it_goes_back_to_no_version_that_lacks_files(backend):
    two_versions(backend)
    backend.store.delete([key_of(backend, backend.stat(f"{FOLDER}/node@1"), "a")])
    put(backend, head("node", 2), b"{")
    assert len(check(backend, repair=True).left) == 1
    with pytest.raises(CorruptManifest):
        backend.stat(f"{FOLDER}/node")


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_folder_without_its_record_is_made_again_with_all_that_is_in_it(backend, damage):
    node = publish(backend)
    key = head("team", 1, "/alice")
    if damage == "gone":
        backend.store.delete([key])
    else:
        put(backend, key, b"{")
    report = check(backend)
    assert [found.flaw.kind for found in report.found] == ["chain" if damage == "gone" else "record"]
    assert report.nodes == 0
    fixed = check(backend, repair=True)
    assert (fixed.left, fixed.nodes, fixed.read_files) == ([], 1, 2)
    assert [found.path for found in backend.list(FOLDER)] == [f"{FOLDER}/node"]
    assert read_node(backend, node) == FIRST
    assert check(backend).is_whole


def test_a_damaged_list_of_files_is_found(backend, monkeypatch):
    monkeypatch.setattr("t9k_em_backends.tree.heads.FILES_IN_HEAD_BYTES", 0)
    node = publish(backend)
    (listed,) = (info.key for info in backend.store.list("alice/team/node/") if "/.em/manifest-" in info.key)
    flip(backend, listed)
    assert kinds(check(backend)) == [("list", f"{FOLDER}/node", "")]
    backend.store.delete([listed])
    report = check(backend, f"{FOLDER}/node", repair=True)
    assert kinds(report) == [("list", node.path, "")]
    assert len(report.left) == 1


def test_a_listing_cache_that_says_something_else_is_made_anew(backend, monkeypatch):
    monkeypatch.setattr("t9k_em_backends.tree.listing.REWRITE_AT", 1)
    publish(backend)
    backend.list(FOLDER)
    key = "alice/team/.em/index.json"
    record = json.loads(b"".join(backend.store.get(key)))
    (row,) = record["rows"].values()
    row["size"] += 1
    put(backend, key, json.dumps(record, separators=(",", ":")).encode())
    backend.forget_listing(FOLDER)  # as another process, which has not listed it before
    assert kinds(check(backend)) == [("listing", FOLDER, key), ("listing", f"{FOLDER}/node", "")]
    assert check(backend, repair=True).left == []
    assert check(backend).is_whole
    put(backend, key, b'{"v":1,"rows":{"x')
    assert kinds(check(backend)) == [("listing", FOLDER, key)]
    assert check(backend, repair=True).left == []
    assert check(backend).is_whole


def test_a_record_of_a_later_format_is_unread_and_left_alone(backend):
    publish(backend)
    record = json.loads(b"".join(backend.store.get(head("node", 1))))
    put(backend, head("node", 2), json.dumps({**record, "v": 2}).encode())
    report = check(backend, repair=True)
    assert kinds(report) == [("unread", f"{FOLDER}/node", head("node", 2))]
    assert (report.damage, len(report.unread)) == ([], 1)
    assert json.loads(b"".join(backend.store.get(head("node", 2))))["v"] == 2


def test_what_nothing_refers_to_is_counted_and_no_damage(tree):
    begun = tree.begin(make_request(FOLDER, "begun", FIRST))
    begun.put([(file, Body.of(FIRST[file.key])) for file in begun.missing])
    tree.store._objects = {key: (data, evolve(info, modified=0.0)) for key, (data, info) in tree.store._objects.items()}
    report = check(tree)
    assert report.is_whole
    assert report.unreferenced is not None
    assert (report.unreferenced.count, report.unreferenced.size >= 605) == (3, True)


def test_a_place_may_be_a_folder_a_node_or_a_version(tree):
    node = two_versions(tree)
    publish(tree, "other", folder="/alice/elsewhere")
    assert [check(tree, path).versions for path in ("/alice", FOLDER, node.path, f"{node.path}@1")] == [3, 2, 2, 1]
    flip(tree, key_of(tree, tree.stat(f"{FOLDER}/node@1"), "a"))
    assert check(tree, "/alice/elsewhere").is_whole
    assert kinds(check(tree, f"{node.path}@1")) == [("rot", f"{node.path}@1", "a")]
    assert check(tree, f"{node.path}@2").is_whole
    with pytest.raises(NotFound):
        check(tree, "/alice/nowhere")


def test_a_damaged_node_may_be_the_place(tree):
    two_versions(tree)
    put(tree, head("node", 2), b"{")
    assert kinds(check(tree, f"{FOLDER}/node")) == [("record", f"{FOLDER}/node", head("node", 2))]
    assert check(tree, f"{FOLDER}/node", repair=True).left == []
    assert check(tree, f"{FOLDER}/node").is_whole


def test_collected_and_deleted_versions_are_not_missed(tree):
    two_versions(tree)
    tree.delete(f"{FOLDER}/node")
    publish(tree, contents={"a": b"third"})
    tree.collect(grace_s=-60.0, apply=True)
    report = check(tree)
    assert report.is_whole
    assert report.versions == 2  # the collector repeats the newest


def test_a_store_that_does_not_answer_for_a_file_leaves_it_unread(tree):
    class Failing(StoreWrapper):
        def get(self, key, start=0, end=None):
            if key.endswith("/a"):
                raise BackendUnavailable("no answer; try again")
            return self.inner.get(key, start, end)

    publish(tree)
    report = check(MemoryBackend(Failing(tree.store), "memory://here"))
    assert kinds(report) == [("unread", f"{FOLDER}/node", "a")]
    assert report.damage == []


def test_who_may_only_read_checks_too(tree):
    class ReadOnly(StoreWrapper):
        def put(self, key, body, *, if_absent=False):
            raise BackendPermissionError("not allowed")

    node = publish(tree)
    flip(tree, key_of(tree, node, "a"))
    assert kinds(check(MemoryBackend(ReadOnly(tree.store), "memory://here"))) == [("rot", node.path, "a")]


def test_what_cannot_be_written_is_reported_as_not_repaired(tree):
    class NoHeads(StoreWrapper):
        def put(self, key, body, *, if_absent=False):
            if "/.em/" in f"/{key}" and "probe" not in key and "clock" not in key:
                raise BackendPermissionError("not allowed")
            return self.inner.put(key, body, if_absent=if_absent)

    two_versions(tree)
    put(tree, head("node", 2), b"{")
    (left,) = check(MemoryBackend(NoHeads(tree.store), "memory://here"), repair=True).left
    assert "not repaired: not allowed" in left.flaw.problem


def test_only_what_is_older_is_read(tree):
    publish(tree)
    assert check(tree, older_than_s=3600.0).read_files == 0
    assert check(tree, older_than_s=1e-6).read_files == 2


@pytest.mark.parametrize(
    ("given", "expected"), [("50%", 5), ("1", 1), (3, 3), ("0%", 0), ("0.1%", 1), ("1000", 10), (None, 10)]
)
def test_a_sample_is_a_share_or_a_number(given, expected):
    items = [str(number) for number in range(10)]
    chosen = Sample.of(given).choose(items, str)
    assert len(chosen) == expected
    assert set(chosen) <= set(items)


def test_the_parts_of_a_sample_are_all_together_and_the_same_each_time():
    items = [str(number) for number in range(100)]
    parts = [Sample.of(f"{part}/7").choose(items, str) for part in range(1, 8)]
    assert sorted(item for part in parts for item in part) == sorted(items)
    assert parts[2] == Sample.of("3/7").choose(items, str)


@pytest.mark.parametrize("given", ["", "5", "x", "101%", "0/3", "4/3", "1/0", "-1", "5 %", "1.5"])
def test_a_sample_that_is_none_is_refused(given):
    if given == "5":
        assert Sample.of(given).count == 5
        return
    with pytest.raises(InvalidInput):
        Sample.of(given)


def test_a_report_is_json_of_all_that_was_found(tree):
    node = publish(tree)
    flip(tree, key_of(tree, node, "a"))
    told = json.loads(json.dumps(check(tree).to_dict()))
    assert (told["whole"], told["damaged"], told["repaired"], told["counts"]) == (False, 1, 0, {"rot": 1})
    assert told["found"][0]["path"] == node.path
    assert "handle" not in told["found"][0]


def test_bytes_that_are_not_those_of_the_file_are_not_put_back(tree):
    node = publish(tree)
    with pytest.raises(InvalidInput):
        tree.put_back(node, tree.files(node)[0], Body.of(b"other"))


def test_a_flaw_that_nobody_can_repair_is_left(tree):
    assert tree.repair(Flaw(kind="rot", path="/alice/x", problem="?")) == ""
    assert tree.repair(Flaw(kind="record", path="/alice/x", problem="?")) == ""
