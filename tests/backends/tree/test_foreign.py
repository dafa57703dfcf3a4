"""What others keep in the same store is left alone: nothing stumbles over it, and nothing deletes it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import boto3
import pytest

from t9k.em.errors import BackendPermissionError
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k.em.testing.uploads import make_request, upload
from t9k_em_backends.tree.foreign import is_temporary, split_upload

OP = "20260101T000000.000000Z-abcdefghij"


def publish(backend, path):
    folder, _, name = path.rpartition("/")
    contents = {"file": b"data"}
    return upload(backend, make_request(folder, name, contents, strategy="replace"), contents)


def as_nobody(work) -> None:
    """Runs something in a child without the rights of root."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            work()
            code = 0
        finally:
            if code:
                import traceback

                traceback.print_exc(file=sys.__stderr__)
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else")
class TestClosedDirectories:
    @pytest.fixture
    def root(self, tmp_path) -> Path:
        for directory in (tmp_path, *tmp_path.parents):
            if directory.stat().st_uid == os.getuid() and directory != Path("/"):
                directory.chmod(0o755)
        root = tmp_path / "store"
        with open_backend(f"file://{root}") as backend:
            publish(backend, "/alice/team/node")
            backend.list("/alice/team")
        for found, directories, files in os.walk(root):
            for name in [".", *directories, *files]:
                os.chown(Path(found) / name, 65534, 65534)
        for name in ("lost+found", "alice/.snapshot"):
            (root / name / "inner").mkdir(parents=True)
            (root / name / "inner" / "file").write_text("theirs")
            (root / name).chmod(0o700)
        return root

    def test_they_are_left_aside_with_one_warning(self, root, caplog):
        def work():
            with open_backend(f"file://{root}") as backend, caplog.at_level(logging.WARNING):
                assert [node.path for node in backend.list("/alice/team")] == ["/alice/team/node"]
                backend.list("/")
                publish(backend, "/alice/team/other")
                caplog.clear()
                found = backend.collect(grace_s=0, apply=True)
                assert not any("lost+found" in info.key or ".snapshot" in info.key for info in found.objects)
                warnings = [record.getMessage() for record in caplog.records]
                assert len(warnings) == 1, warnings
                assert "2 directories may not be read" in warnings[0]
                assert {node.path for node in backend.list("/alice/team")} == {"/alice/team/node", "/alice/team/other"}

        as_nobody(work)
        assert (root / "lost+found/inner/file").read_text() == "theirs"
        assert (root / "alice/.snapshot/inner/file").read_text() == "theirs"

    def test_but_records_that_may_not_be_read_are_an_error_for_what_they_name_would_be_collected(self, root):
        (root / "alice/team/.em/h").chmod(0o000)
        os.chown(root / "alice/team/.em/h", 0, 0)

        def work():
            with open_backend(f"file://{root}") as backend:
                for use in (lambda: backend.collect(grace_s=0, apply=True), lambda: backend.list("/alice/team")):
                    with pytest.raises(BackendPermissionError):
                        use()

        as_nobody(work)
        (root / "alice/team/.em/h").chmod(0o700)
        with open_backend(f"file://{root}") as backend:
            node = backend.stat("/alice/team/node")
            assert b"".join(backend.read(node, backend.files(node)[0])) == b"data"

    def test_a_root_that_may_not_be_read_is_an_error(self, root):
        root.chmod(0o000)
        os.chown(root, 0, 0)

        def work():
            with pytest.raises(BackendPermissionError), open_backend(f"file://{root}") as backend:
                backend.collect(grace_s=0)

        as_nobody(work)


def test_files_with_names_that_are_none_are_left_alone(tmp_path, caplog):
    root = tmp_path / "store"
    with open_backend(f"file://{root}") as backend:
        node = publish(backend, "/alice/team/node")
        op = backend.files(node)[0].op
        odd = [
            os.fsencode(root) + b"/caf\xe9",
            os.fsencode(root) + b"/alice/team/node/" + op.encode() + b"/caf\xe9",
            os.fsencode(root) + b"/alice/team/.em/h/caf\xe9/00000001.json",
            os.fsencode(root) + b"/alice/team/.em/h/Upper/00000001.json",
            os.fsencode(root) + b"/alice/team/.em/h/node/.em/h/node/00000009.json",
            os.fsencode(root) + b"/alice/team/.em/h/node/00000000.json",
            os.fsencode(root) + b"/alice/team/.em/h/stray",
            os.fsencode(root) + b"/.em/tmp/directory/file",
        ]
        for path in odd:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(b"theirs")
        assert [found.path for found in backend.list("/alice/team")] == ["/alice/team/node"]
        assert backend.stat("/alice/team/node").generation == 1
        publish(backend, "/alice/team/node")
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert not {os.fsdecode(path) for path in odd} & {
                f"{root}/{info.key}" for info in backend.collect(grace_s=0, apply=True).objects
            }
        assert len([record for record in caplog.records if "left alone" in record.getMessage()]) == 1
        assert all(os.path.exists(path) for path in odd)


ODD_KEYS = [
    "alice//double",
    "//leading",
    "alice/../up",
    "alice/./here",
    f"alice/team/node/{OP}//x",
    "trailing/",
]


@pytest.mark.long
@pytest.mark.parametrize("driver", ["obstore", "fsspec"])
@pytest.mark.parametrize("at_root", [False, True], ids=["below", "at the root of the bucket"])
def test_keys_of_other_tools_in_a_bucket_are_left_alone(moto, driver, at_root):
    client = boto3.session.Session().client("s3", endpoint_url=moto.endpoint, region_name=moto.region)
    bucket = f"others-{driver}-{at_root}".lower()
    client.create_bucket(Bucket=bucket)
    root = "" if at_root else "root/"
    keys = [
        *(root + key for key in ODD_KEYS),
        f"{root}alice/team/.em/h//00000001.json",
        f"{root}alice/team/.em/h/X/00000001.json",
    ]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"theirs")
    client.create_multipart_upload(Bucket=bucket, Key=f"{root}backups/of-others.tar")
    with open_backend(f"s3://{bucket}/{root}?driver={driver}") as backend:
        publish(backend, "/alice/team/node")
        publish(backend, "/alice/team/node")
        assert [node.path for node in backend.list("/alice/team")] == ["/alice/team/node"]
        assert backend.list("/") is not None
        found = backend.collect(grace_s=-60, apply=True)
        assert not {root + info.key for info in found.objects} & {*keys, f"{root}backups/of-others.tar"}
        node = backend.stat("/alice/team/node")
        assert b"".join(backend.read(node, backend.files(node)[0])) == b"data"
    there = {found["Key"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert there >= set(keys)
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    client.close()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (f"alice/node/{OP}/file", ("/alice", "node", OP)),
        (f"node/{OP}/some/file", ("/", "node", OP)),
        (".em/tmp/abc", None),
        ("backups/of-others.tar", None),
        (f"{OP}/file", None),
        (f"alice/node/{OP}", None),
        (f"alice/../{OP}/file", None),
        (f"alice/node/{OP}//file", None),
    ],
)
def test_whose_file_it_is_is_told_by_its_key(key, found):
    assert split_upload(key) == found


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        (".em/tmp/0123456789abcdefghij", True),
        (f".em/tmp/parts-{'0' * 32}", True),
        (f".em/tmp/parts-{'0' * 32}-0123456789abcdefghij", True),
        (f".em/signed/{'0' * 64}", True),
        (".em/tmp/backup.tar", False),
        (".em/tmp/0123456789abcdefghij/file", False),
        (".em/other", False),
        ("alice/.em/tmp/0123456789abcdefghij", False),
    ],
)
def test_temporary_files_of_ours_are_told_by_their_key(key, ours):
    assert is_temporary(key) is ours


def test_a_directory_that_a_driver_of_fsspec_may_not_read_is_left_aside(webdav, monkeypatch, caplog):
    from t9k_em_backends.fsspec.plain import PlainStore

    with open_backend(f"{webdav.new_root()}?endpoint={webdav.endpoint}&unsafe_single_writer=true") as backend:
        publish(backend, "/alice/team/node")
        store = backend.store
        store.put("lost+found/inner/file", Body.of(b"theirs"))
        entries = PlainStore._entries
        closed: list[str] = []

        def refuse(self, directory):
            if "lost+found" in directory or directory in closed:
                raise BackendPermissionError(directory)
            return entries(self, directory)

        monkeypatch.setattr(PlainStore, "_entries", refuse)
        with caplog.at_level(logging.WARNING):
            keys = {info.key for info in store.list("")}
        assert not any("lost+found" in key for key in keys)
        assert any(key.startswith("alice/team/node/") for key in keys)
        assert "1 directories may not be read, 'lost+found' for one" in caplog.text
        for ours in ("", "alice/team/.em/h"):
            closed[:] = [ours]
            with pytest.raises(BackendPermissionError):
                list(store.list(""))
