"""`artifact.fs`: other libraries read files, or parts of them, out of an artifact where it is."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from tests.em.webserver import web_server

from t9k import em
from t9k.em import session
from t9k.em.artifact import Artifact
from t9k.em.errors import (
    BackendPermissionError,
    BackendUnavailable,
    CorruptData,
    EMError,
    InvalidInput,
    NotFound,
    PathNotFound,
)
from t9k.em.objects.filesystem import ArtifactFileSystem

FILES = {
    "a.csv": b"x,y\n1,2\n3,4\n",
    "data/one": b"1" * 1000,
    "data/deep/two": b"",
    "data/[x]*?": b"odd",
    "large": random.Random(2).randbytes(3_000_000),
}


def make(files: dict[str, bytes], name: str = "a") -> Artifact:
    artifact = em.create_artifact(name)
    for key, data in files.items():
        path = Path("made", key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        artifact.add_file(str(path), key)
    return artifact


def loaded_from(backend, artifact: Artifact) -> Artifact:
    artifact.upload()
    shutil.rmtree(artifact.local)
    return em.load_artifact(f"default/{artifact.name}")


@pytest.fixture(params=["here", "remote"])
def artifact(request, backend) -> Artifact:
    made = make(FILES)
    made.add_reference("https://host/corpus.tar", "refs/corpus")
    Path("referred").write_bytes(b"what is referred to")
    made.add_reference(Path("referred").absolute().as_uri(), "refs/file")
    return loaded_from(backend, made) if request.param == "remote" else made


@pytest.fixture
def remote(backend) -> Artifact:
    return loaded_from(backend, make(FILES))


class Traffic:
    """What is asked of a backend, and how many bytes it gives."""

    def __init__(self, backend, monkeypatch) -> None:
        self.calls: list[str] = []
        self.size = 0
        for name in ("stat", "files", "read"):
            monkeypatch.setattr(backend, name, self._counted(name, getattr(backend, name)))

    def _counted(self, name, call):
        def counted(*args):
            self.calls.append(name)
            return self._chunks(call(*args)) if name == "read" else call(*args)

        return counted

    def _chunks(self, chunks) -> Iterator[bytes]:
        for chunk in chunks:
            self.size += len(chunk)
            yield chunk


class TestLooking:
    def test_directories_are_those_in_keys(self, artifact):
        fs = artifact.fs
        assert fs.ls("", detail=False) == ["a.csv", "data", "large", "refs"]
        assert fs.ls("/data/", detail=False) == ["data/[x]*?", "data/deep", "data/one"]
        assert [info["type"] for info in fs.ls("data")] == ["file", "directory", "file"]
        assert fs.ls("data/one", detail=False) == ["data/one"]
        assert fs.find("") == sorted([*FILES, "refs/corpus", "refs/file"])
        assert fs.find("data", maxdepth=1) == ["data/[x]*?", "data/one"]
        assert fs.glob("data/*") == ["data/[x]*?", "data/deep", "data/one"]
        assert fs.glob("**/o*") == ["data/one"]
        assert list(fs.walk("data")) == [
            ("data", ["deep"], ["[x]*?", "one"]),
            ("data/deep", [], ["two"]),
        ]
        assert fs.du("data") == 1003

    def test_files_have_what_the_artifact_knows(self, artifact):
        fs = artifact.fs
        known = {data["key"]: data for data in artifact.objects}
        assert fs.info("data/one") == {
            "name": "data/one",
            "type": "file",
            "size": 1000,
            "sha256": known["data/one"]["sha256"],
        }
        assert fs.info("refs/corpus") == {
            "name": "refs/corpus",
            "type": "file",
            "size": None,
            "uri": "https://host/corpus.tar",
        }
        assert fs.info("refs/file")["size"] == len(b"what is referred to")
        assert fs.info("data") == {"name": "data", "type": "directory", "size": 0}
        assert fs.info("")["type"] == "directory"

    def test_kinds_are_told_apart(self, artifact):
        fs = artifact.fs
        for path, expected in {
            "a.csv": (True, True, False),
            "/data/one": (True, True, False),
            "data": (True, False, True),
            "data/deep/": (True, False, True),
            "": (True, False, True),
            "dat": (False, False, False),
            "data/one/more": (False, False, False),
        }.items():
            assert (fs.exists(path), fs.isfile(path), fs.isdir(path)) == expected, path

    def test_what_is_not_there_is_no_file(self, artifact):
        fs = artifact.fs
        for use in (fs.info, fs.ls, fs.open, fs.cat_file, lambda path: fs.get_file(path, "copy")):
            with pytest.raises(FileNotFoundError, match="has no file or directory 'x'") as caught:
                use("x")
            assert isinstance(caught.value, NotFound)
        for use in (fs.open, fs.cat_file):
            with pytest.raises(PathNotFound, match="'data' is a directory"):
                use("data")
        assert not Path("copy").exists()

    def test_it_shows_what_is_added_later(self, backend):
        artifact = make({"a": b"1"})
        fs = artifact.fs
        assert fs.find("") == ["a"]
        artifact.add_file("made/a", "d/b")
        assert fs.find("") == ["a", "d/b"]
        artifact.parse_from_dict({**artifact.to_dict(), "objects": {"c": {"size": 1, "sha256": "0" * 64}}})
        assert fs.find("") == ["c"]

    def test_an_empty_artifact_is_an_empty_directory(self, backend):
        fs = em.create_artifact("empty").fs
        assert fs.ls("") == []
        assert fs.find("") == []


class TestReading:
    def test_gives_the_bytes(self, artifact):
        fs = artifact.fs
        for key, data in FILES.items():
            with fs.open(key) as stream:
                assert stream.read() == data
            assert fs.cat_file(key) == data
        assert fs.cat("data", recursive=True, on_error="omit") == {
            key: FILES[key] for key in FILES if key.startswith("data/")
        }
        assert fs.open("a.csv", "r").readlines() == ["x,y\n", "1,2\n", "3,4\n"]
        assert fs.head("large", 100) == FILES["large"][:100]
        assert fs.tail("large", 100) == FILES["large"][-100:]

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 10), (5, None), (None, 7), (-10, None), (-10, -5), (None, -2_999_990), (10, 10), (20, 10), (9**9, None)],
    )
    def test_gives_parts_as_slices_do(self, artifact, start, end):
        assert artifact.fs.cat_file("large", start, end) == FILES["large"][start:end]
        assert artifact.fs.cat_file("data/deep/two", start, end) == b""
        assert artifact.fs.cat_file("refs/file", start, end) == b"what is referred to"[start:end]

    def test_fetches_only_the_part(self, remote, backend, monkeypatch):
        fs = remote.fs
        fs.cat_file("a.csv")
        traffic = Traffic(backend, monkeypatch)
        assert fs.cat_file("large", 1000, 1100) == FILES["large"][1000:1100]
        ranges = fs.cat_ranges(["large"] * 3, [0, 10, -5], [5, 20, None])
        assert ranges == [FILES["large"][:5], FILES["large"][10:20], FILES["large"][-5:]]
        assert fs.cat_ranges(["large", "a.csv"], 0, 3) == [FILES["large"][:3], b"x,y"]
        assert traffic.size == 100 + 20 + 6
        assert traffic.calls == ["read"] * 6

    def test_a_range_that_fails_is_given_or_raised(self, remote):
        data, error = remote.fs.cat_ranges(["a.csv", "x"], [0, 0], [3, 3])
        assert data == b"x,y"
        assert isinstance(error, PathNotFound)
        with pytest.raises(PathNotFound):
            remote.fs.cat_ranges(["a.csv", "x"], [0, 0], [3, 3], on_error="raise")

    def test_looks_the_artifact_up_once(self, remote, backend, monkeypatch):
        traffic = Traffic(backend, monkeypatch)
        for _ in range(3):
            for key in FILES:
                remote.open(key).read()
                remote.fs.cat_file(key)
        assert traffic.calls.count("stat") == traffic.calls.count("files") == 1

    def test_looks_it_up_again_after_another_login(self, remote, backend, store, monkeypatch):
        assert remote.fs.cat_file("a.csv") == FILES["a.csv"]
        traffic = Traffic(session.login(store), monkeypatch)
        assert remote.fs.cat_file("a.csv") == FILES["a.csv"]
        assert traffic.calls == ["stat", "files", "read"]

    def test_a_reference_is_opened_as_the_artifact_opens_it(self, artifact):
        with artifact.fs.open("refs/file") as stream:
            assert stream.read() == b"what is referred to"
        Path("referred").write_bytes(b"something else")
        with pytest.raises(EMError, match="has changed"):
            artifact.fs.open("refs/file")

    def test_files_are_copied_whole(self, artifact):
        fs = artifact.fs
        fs.get_file("large", "deep/copy")
        assert Path("deep/copy").read_bytes() == FILES["large"]
        fs.get("data/", "all", recursive=True)
        found = {str(path.relative_to("all")): path.read_bytes() for path in Path("all").rglob("*") if path.is_file()}
        assert found == {key.removeprefix("data/"): FILES[key] for key in FILES if key.startswith("data/")}
        buffer = io.BytesIO()
        fs.get_file("large", buffer)
        assert buffer.getvalue() == FILES["large"]

    def test_a_copy_tells_how_far_it_is(self, artifact):
        callback = fsspec.Callback()
        artifact.fs.get_file("large", "copy", callback=callback)
        assert (callback.size, callback.value) == (3_000_000, 3_000_000)

    def test_many_threads_may_read(self, remote):
        fs = remote.fs
        large = FILES["large"]
        stream = fs.open("large")
        lock = threading.Lock()

        def one(number: int) -> None:
            at = number * 7919 % len(large)
            assert fs.cat_file("large", at, at + 5000) == large[at : at + 5000]
            with fs.open("large") as own:
                own.seek(at)
                assert own.read(5000) == large[at : at + 5000]
            with lock:
                stream.seek(at)
                assert stream.read(5000) == large[at : at + 5000]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(50)))


class TestDamage:
    @pytest.fixture
    def damaged(self, tmp_path) -> Artifact:
        em.login(str(tmp_path / "store"))
        made = make(FILES)
        made.upload()
        shutil.rmtree(made.local)
        [path] = (tmp_path / "store").rglob("objects/large")
        path.chmod(0o600)
        path.write_bytes(b"x" + FILES["large"][1:])
        return em.load_artifact("default/a")

    def test_is_found_by_who_reads_all(self, damaged):
        fs = damaged.fs
        for use in (
            lambda: fs.open("large").read(),
            lambda: fs.cat_file("large"),
            lambda: fs.get_file("large", "copy"),
            lambda: fs.cat(["large", "a.csv"]),
        ):
            with pytest.raises(CorruptData, match="object 'large' of artifact 'a'"):
                use()
        assert not Path("copy").exists()

    def test_of_the_size_is_found_by_who_reads_the_end(self, damaged, tmp_path):
        [path] = (tmp_path / "store").rglob("objects/large")
        for size in (-1, 1):
            path.write_bytes(FILES["large"][:-1] if size < 0 else FILES["large"] + b"x")
            with pytest.raises(CorruptData):
                damaged.fs.cat_file("large", -100)
            with damaged.fs.open("large") as stream:
                stream.seek(-100, os.SEEK_END)
                with pytest.raises(CorruptData):
                    stream.read()


class TestWriting:
    def test_is_refused(self, artifact, snapshot):
        fs = artifact.fs
        Path("new").write_bytes(b"new")
        before = snapshot(), artifact.objects
        for use in (
            lambda: fs.open("new", "wb"),
            lambda: fs.open("a.csv", "ab"),
            lambda: fs.open("a.csv", "r+b"),
            lambda: fs.open("new", "w"),
            lambda: fs.pipe_file("new", b""),
            lambda: fs.pipe("new", b""),
            lambda: fs.write_bytes("new", b""),
            lambda: fs.write_text("new", ""),
            lambda: fs.put_file("new", "new"),
            lambda: fs.put("new", "new"),
            lambda: fs.upload("new", "new"),
            lambda: fs.touch("new"),
            lambda: fs.mkdir("new"),
            lambda: fs.makedirs("new/x"),
            lambda: fs.rmdir("data"),
            lambda: fs.rm("a.csv"),
            lambda: fs.rm_file("a.csv"),
            lambda: fs.rm("data", recursive=True),
            lambda: fs.delete("a.csv"),
            lambda: fs.mv("a.csv", "b.csv"),
            lambda: fs.rename("a.csv", "a.csv"),
            lambda: fs.cp_file("a.csv", "b.csv"),
            lambda: fs.copy("a.csv", "b.csv"),
        ):
            with pytest.raises(PermissionError, match="can only be read; add objects with `add_file`") as caught:
                use()
            assert isinstance(caught.value, BackendPermissionError)
        assert (snapshot(), artifact.objects) == before


class TestElsewhere:
    def test_a_pickle_is_the_address(self, remote, backend):
        data = pickle.dumps(remote.fs)
        assert len(data) < 400
        again = pickle.loads(data)
        assert again.find("") == remote.fs.find("")
        assert {key: again.cat_file(key) for key in FILES} == FILES
        assert again.open("large").read() == FILES["large"]
        assert again == remote.fs
        assert hash(again) == hash(remote.fs)
        assert pickle.loads(pickle.dumps(again)).cat_file("a.csv") == FILES["a.csv"]

    def test_json_is_the_address_too(self, remote, backend):
        text = remote.fs.to_json()
        assert json.loads(text) == {
            "cls": "t9k.em.objects.filesystem:ArtifactFileSystem",
            "protocol": "em-artifact",
            "args": [],
            "uri": backend.uri,
            "path": "/alice/default/a@1",
        }
        for again in (fsspec.AbstractFileSystem.from_json(text), ArtifactFileSystem.from_dict(remote.fs.to_dict())):
            assert type(again) is ArtifactFileSystem
            assert again.cat_file("a.csv") == FILES["a.csv"]

    def test_a_newer_version_does_not_change_it(self, remote, backend, store):
        again = pickle.loads(pickle.dumps(remote.fs))
        opened = ArtifactFileSystem(backend.uri, "/alice/default/a")
        assert opened.find("") == sorted(FILES)
        newer = make({"a.csv": b"new"}, "b")
        newer.name = newer.alternative_name = "a"
        newer.upload(conflict_strategy="replace")
        session.login(store)
        for fs in (again, opened):
            assert fs.cat_file("a.csv") == FILES["a.csv"]
        assert ArtifactFileSystem(backend.uri, "/alice/default/a").cat_file("a.csv") == b"new"

    def test_one_that_was_just_uploaded_has_an_address(self, backend):
        artifact = make(FILES)
        with pytest.raises(InvalidInput, match="upload it first"):
            pickle.dumps(artifact.fs)
        artifact.upload()
        assert pickle.loads(pickle.dumps(artifact.fs)).cat_file("a.csv") == FILES["a.csv"]
        artifact.add_file("made/a.csv", "more")
        with pytest.raises(InvalidInput, match="upload it first"):
            pickle.dumps(artifact.fs)
        artifact.upload()
        assert pickle.loads(pickle.dumps(artifact.fs)).find("") == sorted([*FILES, "more"])

    def test_it_is_opened_by_its_address(self, remote, backend):
        fs = ArtifactFileSystem(backend.uri, "/alice/default/a")
        assert fs.cat_file("a.csv") == FILES["a.csv"]
        assert fs == remote.fs
        assert ArtifactFileSystem(backend.uri, "/alice/default/a") is not fs
        for path in ("/alice/default/x", "/alice/default"):
            with pytest.raises(NotFound):
                ArtifactFileSystem(backend.uri, path).ls("")

    def test_a_backend_that_does_not_answer_is_not_an_absent_file(self, remote, backend, monkeypatch):
        def unavailable(path):
            raise BackendUnavailable("later")

        fs = pickle.loads(pickle.dumps(remote.fs))
        monkeypatch.setattr(backend, "stat", unavailable)
        for use in (fs.exists, fs.isfile, fs.isdir, fs.info, fs.ls):
            with pytest.raises(BackendUnavailable):
                use("a.csv")

    def test_references_are_opened_there(self, backend):
        made = make({"a": b"1"})
        Path("referred").write_bytes(b"it")
        made.add_reference(Path("referred").absolute().as_uri(), "r")
        made.upload()
        fs = pickle.loads(pickle.dumps(made.fs))
        with fs.open("r") as stream:
            assert stream.read() == b"it"
        assert fs.cat_file("r") == b"it"

    def test_references_to_the_web_leave_no_file_behind(self, backend, monkeypatch, tmp_path):
        monkeypatch.setenv("EM_REFERENCE_HOSTS", "127.0.0.1")
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        made = em.create_artifact("a")
        with web_server() as server:
            made.add_reference(server.serve("/corpus", b"0123456789"), "corpus")
            made.upload()
            fs = pickle.loads(pickle.dumps(made.fs))
            with fs.open("corpus") as stream:
                assert list(temporary.iterdir()) == []
                stream.seek(5)
                assert stream.read() == b"56789"
            assert fs.cat_file("corpus", -3) == b"789"

    def test_another_content_is_another_file_system(self, backend):
        one, other = make(FILES).fs, make({**FILES, "a.csv": b"other"}, "b").fs
        assert one != other
        assert one.ukey("a.csv") != other.ukey("a.csv")
        assert one.ukey("large") == other.ukey("large")

    def test_another_process_reads_it(self, tmp_path):
        em.login(str(tmp_path / "store"))
        data = pickle.dumps(loaded_from(None, make(FILES)).fs)
        code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).cat_file('a.csv'))"
        ended = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
        assert ended.stdout.decode().strip() == str(FILES["a.csv"])

    def test_a_forked_child_reads_it(self, tmp_path):
        em.login(str(tmp_path / "store"))
        fs = loaded_from(None, make(FILES)).fs
        assert fs.cat_file("a.csv") == FILES["a.csv"]
        stream = fs.open("large")
        start = stream.read(1000)
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            is_right = fs.cat_file("large") == FILES["large"] and start + stream.read() == FILES["large"]
            is_right = is_right and fs.cat_ranges(["large"] * 4, 0, 9) == [FILES["large"][:9]] * 4
            os.write(into, b"right" if is_right else b"wrong")
            os._exit(0)
        os.close(into)
        assert start + stream.read() == FILES["large"]
        assert os.read(out, 10) == b"right"
        os.close(out)
        assert os.waitpid(child, 0)[1] == 0


ROWS, GROUPS = 2_600_000, 26


@pytest.fixture(scope="module")
def table():
    import pyarrow as pa

    numbers = np.random.default_rng(0)
    return pa.table({"id": np.arange(ROWS, dtype="int32"), "value": numbers.random(ROWS, dtype="float32")})


class TestLibraries:
    @pytest.fixture
    def parquet(self, table, backend) -> Artifact:
        """20 MB in 26 row groups."""
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(table, buffer, row_group_size=ROWS // GROUPS, compression="none", use_dictionary=False)
        assert len(buffer.getvalue()) > 20_000_000
        return loaded_from(backend, make({"d/x.parquet": buffer.getvalue()}))

    def test_pyarrow_reads_one_row_group(self, parquet, table, backend, monkeypatch):
        import pyarrow.parquet as pq

        traffic = Traffic(backend, monkeypatch)
        with parquet.fs.open("d/x.parquet") as stream, pq.ParquetFile(stream) as file:
            group = file.read_row_group(3)
        assert group.equals(table.slice(3 * ROWS // GROUPS, ROWS // GROUPS))
        assert traffic.size < 0.1 * 20_000_000
        assert traffic.calls.count("read") < 6

    def test_pandas_reads_one_column_by_a_filter(self, parquet, backend, monkeypatch):
        import pandas as pd

        traffic = Traffic(backend, monkeypatch)
        frame = pd.read_parquet("d/x.parquet", filesystem=parquet.fs, columns=["id"], filters=[("id", "<", 10)])
        assert list(frame["id"]) == list(range(10))
        assert traffic.size < 0.15 * 20_000_000

    def test_pyarrow_reads_a_directory(self, backend):
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        files = {}
        for number in range(3):
            buffer = io.BytesIO()
            pq.write_table(pa.table({"x": [number, number + 10]}), buffer)
            files[f"set/part-{number}.parquet"] = buffer.getvalue()
        remote = loaded_from(backend, make(files))
        rows = ds.dataset("set", filesystem=remote.fs, format="parquet").to_table().column("x").to_pylist()
        assert sorted(rows) == [0, 1, 2, 10, 11, 12]

    def test_pyarrow_is_told_of_damage(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        em.login(str(tmp_path / "store"))
        buffer = io.BytesIO()
        pq.write_table(pa.table({"x": [1]}), buffer)
        remote = loaded_from(None, make({"x.parquet": buffer.getvalue()}))
        [path] = (tmp_path / "store").rglob("objects/x.parquet")
        path.chmod(0o600)
        path.write_bytes(buffer.getvalue()[:-1] + b"x")
        with pytest.raises(CorruptData):
            pq.read_table("x.parquet", filesystem=remote.fs)

    def test_pandas_reads_a_csv(self, remote):
        import pandas as pd

        assert pd.read_csv(remote.fs.open("a.csv")).to_dict("list") == {"x": [1, 3], "y": [2, 4]}

    def test_safetensors_are_read_one_by_one(self, backend, monkeypatch):
        from safetensors.numpy import load, save

        tensors = {name: np.random.default_rng(0).random((500, 500)).astype("float32") for name in ("a", "b", "c")}
        remote = loaded_from(backend, make({"m.safetensors": save(tensors)}))
        fs = remote.fs
        loaded = load(fs.cat_file("m.safetensors"))
        assert all((loaded[name] == tensors[name]).all() for name in tensors)
        traffic = Traffic(backend, monkeypatch)
        size = int.from_bytes(fs.cat_file("m.safetensors", 0, 8), "little")
        header = json.loads(fs.cat_file("m.safetensors", 8, 8 + size))
        start, end = (8 + size + at for at in header["b"]["data_offsets"])
        tensor = np.frombuffer(fs.cat_file("m.safetensors", start, end), "<f4").reshape(header["b"]["shape"])
        assert (tensor == tensors["b"]).all()
        assert traffic.size == 8 + size + 1_000_000

    def test_an_archive_is_read_one_member_at_a_time(self, backend, monkeypatch):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number in range(20):
                archive.writestr(f"{number}", bytes([number]) * 1_000_000)
        remote = loaded_from(backend, make({"x.zip": buffer.getvalue()}))
        traffic = Traffic(backend, monkeypatch)
        with remote.fs.open("x.zip") as stream, zipfile.ZipFile(stream) as archive:
            assert archive.read("7") == b"\7" * 1_000_000
        assert traffic.size < 2_500_000

    def test_numpy_reads_an_array(self, backend):
        array = np.arange(100_000)
        buffer = io.BytesIO()
        np.save(buffer, array)
        remote = loaded_from(backend, make({"x.npy": buffer.getvalue()}))
        assert (np.load(remote.fs.open("x.npy")) == array).all()


@pytest.mark.long
def test_it_works_on_s3(s3, monkeypatch, table):
    import pyarrow.parquet as pq

    backend = session.login(s3.new_root())
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=ROWS // GROUPS, compression="none", use_dictionary=False)
    files = {**FILES, "x.parquet": buffer.getvalue()}
    remote = loaded_from(backend, make(files))
    fs = remote.fs
    assert {key: fs.open(key).read() for key in files} == files
    assert {key: fs.cat_file(key) for key in files} == files
    again = pickle.loads(pickle.dumps(fs))
    assert again.cat_ranges(["large"] * 20, [*range(20)], 100_000) == [FILES["large"][at:100_000] for at in range(20)]
    assert s3.secret_key not in pickle.dumps(fs).decode("latin-1") + fs.to_json() + repr(fs)
    traffic = Traffic(backend, monkeypatch)
    with fs.open("x.parquet") as stream, pq.ParquetFile(stream) as file:
        group = file.read_row_group(3)
    assert group.equals(table.slice(3 * ROWS // GROUPS, ROWS // GROUPS))
    assert traffic.size < 0.1 * len(files["x.parquet"])
