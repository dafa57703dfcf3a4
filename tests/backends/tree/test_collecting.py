"""The collector takes what is ours and nothing else, on every kind of store."""

from __future__ import annotations

import logging
import os
import time
from uuid import uuid4

import boto3
import pytest

from t9k.em.errors import BackendPermissionError
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k.em.testing import StoreWrapper, make_request, read_node, upload
from t9k_em_backends.local import LocalBackend, LocalStore
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.begun import begun_prefix

FOLDER = "/alice/team"
CONTENTS = {"a": b"1", "sub/b": b"22"}
OP = "20260101T000000.000000Z-abcdefghij"
PLACES = ["memory", "file", "s3 by obstore", "s3 by fsspec", "gs"]


def root_of(place: str, request) -> str:
    """URI of an empty store of some kind."""
    if place == "memory":
        return f"memory://{uuid4().hex}"
    if place == "file":
        return f"file://{request.getfixturevalue('tmp_path')}/store"
    if place == "gs":
        gcs = request.getfixturevalue("gcs")
        return f"{gcs.new_root()}?anonymous=true&project={gcs.project}"
    return f"{request.getfixturevalue('s3').new_root()}?driver={place.rpartition(' ')[2]}"


@pytest.fixture(params=PLACES)
def backend(request):
    with open_backend(root_of(request.param, request)) as backend:
        yield backend


@pytest.fixture
def tree():
    return MemoryBackend(MemoryStore(), "memory://here")


def publish(backend, name="node", folder=FOLDER, **options):
    return upload(backend, make_request(folder, name, CONTENTS, **options), CONTENTS)


def begin(backend, name="node", folder=FOLDER, **options):
    """Sends all files of an upload whose process is killed before it commits."""
    begun = backend.begin(make_request(folder, name, CONTENTS, **options))
    begun.put([(file, Body.of(CONTENTS[file.key])) for file in begun.missing])
    return begun


def copy_below(store, source: str, target: str) -> list[str]:
    """Copies what lies below a prefix, as `cp -r` and `aws s3 cp --recursive` do."""
    copied = []
    for info in [*store.list(source)]:
        copied.append(target + info.key.removeprefix(source))
        store.put(copied[-1], Body.of(b"".join(store.get(info.key))))
    return copied


def keys(store, prefix: str = "") -> set[str]:
    return {info.key for info in store.list(prefix)}


def collect(backend, path="/", **options):
    return {info.key for info in backend.collect(path, grace_s=-60.0, apply=True, **options).objects}


def test_copies_of_the_directory_of_a_node_stay(backend, caplog):
    node = publish(backend)
    copies = {
        *copy_below(backend.store, "alice/team/node/", "backup/node/"),
        *copy_below(backend.store, "alice/team/node/", "alice/team/node-before-the-change/"),
        *copy_below(backend.store, "alice/team/node/", "alice/team/node/old/"),
    }
    with caplog.at_level(logging.WARNING):
        assert not collect(backend) & copies
    assert "6 objects look like files of uploads" in caplog.text
    assert copies <= keys(backend.store)
    assert read_node(backend, node) == CONTENTS


@pytest.mark.long
def test_what_a_killed_first_upload_left_goes(backend):
    begin(backend)
    publish(backend, "other")
    left = keys(backend.store, "alice/team/node/") | keys(backend.store, begun_prefix(FOLDER))
    assert len(left) == 3
    assert collect(backend) == left
    assert not left & keys(backend.store)
    assert collect(backend) == set()


def test_what_a_killed_upload_of_a_known_name_left_goes(backend):
    kept = publish(backend)
    begun = begin(backend, id=kept.id)
    begun.put([(file, Body.of(CONTENTS[file.key])) for file in begun._request.files])
    assert keys(backend.store, begun_prefix(FOLDER)) == set()
    left = keys(backend.store, f"alice/team/node/{begun._request.op}/")
    assert len(left) == 2
    assert collect(backend) == left
    assert read_node(backend, backend.stat(f"{FOLDER}/node")) == CONTENTS


def test_what_a_killed_first_upload_left_goes_when_only_its_name_is_looked_at(backend):
    begin(backend)
    begin(backend, "other")
    left = keys(backend.store, "alice/team/node/")
    assert left < collect(backend, f"{FOLDER}/node")
    assert len(keys(backend.store, "alice/team/other/")) == 2
    assert len(keys(backend.store, begun_prefix(FOLDER))) == 1


def test_a_published_upload_leaves_no_record_that_it_was_begun(backend):
    publish(backend)
    assert keys(backend.store, begun_prefix(FOLDER)) == set()


def test_an_upload_begun_by_another_process_leaves_no_record_once_it_is_published(tree):
    op = begin(tree, id="1")._request.op
    assert len(keys(tree.store, begun_prefix(FOLDER))) == 1
    publish(tree, id="1", op=op, resumed=True)
    assert keys(tree.store, begun_prefix(FOLDER)) == set()


def test_a_copy_in_another_spelling_of_a_name_stays(tree):
    publish(tree)
    copies = copy_below(tree.store, "alice/team/node/", "alice/team/Node/")
    assert not collect(tree) & set(copies)
    assert set(copies) <= keys(tree.store)


def test_an_upload_in_another_spelling_of_a_deleted_name_is_known(tree):
    publish(tree)
    tree.delete(f"{FOLDER}/node")
    left = f"alice/team/Node/{begin(tree, 'Node')._request.op}/a"
    assert left in collect(tree)


def test_an_upload_that_moved_to_another_name_leaves_nothing(tree):
    begun = begin(tree, strategy="new", alternative_name="node_2")
    publish(tree, id="another")
    begun.commit()
    assert begun.commit().name == "node_2"
    collect(tree)
    assert keys(tree.store, begun_prefix(FOLDER)) == set()
    assert {node.name for node in tree.list(FOLDER)} == {"node", "node_2"}
    assert not keys(tree.store, f"alice/team/node/{begun._request.op}/")


def test_a_record_of_an_upload_that_is_under_way_stays_with_its_files(tree):
    begin(tree)
    there = keys(tree.store)
    assert tree.collect(grace_s=3600.0, apply=True).objects == ()
    assert keys(tree.store) == there


def test_a_record_stays_as_long_as_files_that_it_speaks_of(tree):
    begun = begin(tree)
    record = next(iter(keys(tree.store, begun_prefix(FOLDER))))
    old = tree.store._objects[record]
    tree.store._objects[record] = (old[0], type(old[1])(key=record, size=old[1].size, modified=0.0))
    assert tree.collect(grace_s=3600.0, apply=True).objects == ()
    assert record in keys(tree.store)
    assert begun.commit().name == "node"


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"v": 1}', b'{"name": 1}', b"\xff", b"[" * 4096])
def test_a_damaged_record_makes_nothing_ours(tree, damage):
    begin(tree)
    (record,) = keys(tree.store, begun_prefix(FOLDER))
    tree.store.put(record, Body.of(damage))
    assert collect(tree) == set()
    assert len(keys(tree.store, "alice/team/node/")) == 2


def test_a_record_that_cannot_be_removed_is_left_to_the_collector(tree):
    class KeepsRecords(StoreWrapper):
        def delete(self, keys):
            found = [*keys]
            if any("/.em/uploads/" in key for key in found):
                raise BackendPermissionError("not allowed")
            self.inner.delete(found)

    node = publish(MemoryBackend(KeepsRecords(tree.store), "memory://here"))
    left = keys(tree.store, begun_prefix(FOLDER))
    assert len(left) == 1
    assert collect(tree) == left
    assert read_node(tree, node) == CONTENTS


@pytest.mark.parametrize("driver", ["obstore", "fsspec"])
@pytest.mark.parametrize("service", ["s3", "moto"])
def test_uploads_in_parts_of_other_programs_stay(request, driver, service):
    place = request.getfixturevalue(service)
    client = boto3.session.Session().client("s3", endpoint_url=place.endpoint, region_name=place.region)
    uri = place.new_root()
    root = uri.removeprefix(f"s3://{place.bucket}/") + "/"
    theirs = {
        f"{root}backup/node/{OP}/large.bin",
        f"{root}alice/team/copy/{OP}/large.bin",
        f"{root}.em/other.bin",
        f"{root}alice/team/.em/other.bin",
        f"{root}elsewhere/.em/index.json",
    }
    ours = {f"{root}alice/team/node/{OP}/large.bin", f"{root}alice/team/begun/{OP}/large.bin"}
    with open_backend(f"{uri}?driver={driver}") as backend:
        publish(backend)
        begin(backend, "begun")
        for key in theirs | ours:
            client.create_multipart_upload(Bucket=place.bucket, Key=key)
        found = {root + key for key in collect(backend)}
        assert not found & theirs
        assert found >= ours
    pending = client.list_multipart_uploads(Bucket=place.bucket, Prefix=root).get("Uploads", [])
    assert {upload["Key"] for upload in pending} == theirs
    client.close()


class TestTemporaryFiles:
    @pytest.fixture
    def root(self, tmp_path):
        with open_backend(f"file://{tmp_path}/store") as backend:
            publish(backend)
        (tmp_path / "store/.em/tmp").mkdir(exist_ok=True)
        return tmp_path / "store"

    def test_their_age_is_told_by_the_clock_of_the_store(self, root, monkeypatch):
        young = root / ".em/tmp/0123456789abcdefghij"
        young.write_text("of an upload in progress")
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 30 * 86400)
        assert list(LocalStore(root).sweep(72 * 3600.0)) == []
        monkeypatch.setattr(time, "time", lambda: now - 30 * 86400)
        os.utime(young, (now - 80 * 3600, now - 80 * 3600))
        assert [info.key for info in LocalStore(root).sweep(72 * 3600.0)] == [".em/tmp/0123456789abcdefghij"]

    def test_those_of_others_stay(self, root):
        ours, theirs = root / ".em/tmp/0123456789abcdefghij", root / ".em/tmp/notes.txt"
        ours.write_text("of a killed process")
        theirs.write_text("theirs")
        with open_backend(f"file://{root}") as backend:
            assert collect(backend) == {".em/tmp/0123456789abcdefghij"}
        assert theirs.read_text() == "theirs"
        assert not ours.exists()

    def test_who_may_only_read_is_told_of_everything_else(self, root, caplog):
        (root / ".em/tmp/0123456789abcdefghij").write_text("of a killed process")

        class ReadOnly(LocalStore):
            def put(self, key, body, *, if_absent=False):
                raise BackendPermissionError(f"{key}: you may not write")

        with open_backend(f"file://{root}") as backend:
            begun = begin(backend, "other")
        backend = LocalBackend(ReadOnly(root), f"file://{root}")
        found = {info.key for info in backend.collect(grace_s=-60.0).objects}
        assert f"alice/team/other/{begun._request.op}/a" in found
        with pytest.raises(BackendPermissionError):
            backend.collect(grace_s=-60.0, apply=True)

    def test_who_may_not_sweep_is_told_when_something_was_to_go(self, root):
        class NoSweeper(LocalStore):
            def sweep(self, older_than_s):
                raise BackendPermissionError("you may not list uploads in parts")

        backend = LocalBackend(NoSweeper(root), f"file://{root}")
        assert backend.collect(grace_s=-60.0).objects == ()
        with pytest.raises(BackendPermissionError, match="you may not list"):
            backend.collect(grace_s=-60.0, apply=True)
