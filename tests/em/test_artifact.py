"""Artifacts: what is added, uploaded, loaded and read back, every byte checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from t9k import em
from t9k.em.artifact import Artifact
from t9k.em.errors import (
    Conflict,
    CorruptData,
    CorruptLocalData,
    InvalidInput,
    InvalidKey,
    InvalidURI,
    KeyCollision,
    LocalError,
    NotALocalNode,
    NotFound,
    SecretInURI,
    SourceChanged,
    SymlinkError,
)
from t9k.em.objects import references

ODD_KEYS = [
    "#",
    "%2F",
    "%2e%2e",
    "?x",
    "a?versionId=3",
    "a b/ c d",
    "+",
    "*",
    "[x]/*",
    "~",
    "::",
    "😀/é/e\u0301x",
    "-rf",
    "$HOME/`x`",
    "'q\"",
    ".hidden/..x",
    "a/.em/b",
    "\u2028\ufeff\u200b",
    "key: [x]",
    "@3",
    "x" * 255,
    "/".join("d" * 50 for _ in range(15)),
]


@pytest.fixture
def artifact() -> Artifact:
    return em.create_artifact("a")


def make(path: str, data: bytes = b"data") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return path


def keys(artifact: Artifact) -> list[str]:
    return [data["key"] for data in artifact.objects]


def on_disk(artifact: Artifact) -> dict[str, bytes]:
    root = Path(artifact.local) / "objects"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class TestAddFile:
    @pytest.mark.parametrize(
        ("file_path", "obj_path", "key"),
        [
            ("1.png", None, "1.png"),
            ("1.png", "1.png", "1.png"),
            ("1.png", "a/", "a/1.png"),
            ("1.png", "a/1.png", "a/1.png"),
            ("1.png", "2.png", "2.png"),
            ("deep/er/1.png", None, "1.png"),
            ("deep/../1.png", "a/b/", "a/b/1.png"),
        ],
    )
    def test_gets_the_key_of_the_reference(self, artifact, file_path, obj_path, key):
        make("deep/er/1.png")
        make("1.png")
        artifact.add_file(file_path, obj_path)
        sha256 = hashlib.sha256(b"data").hexdigest()
        assert artifact.objects == [{"key": key, "size": 4, "sha256": sha256}]
        assert on_disk(artifact) == {key: b"data"}
        assert em.load_artifact(artifact.local).objects == artifact.objects

    def test_copies_so_that_the_original_does_not_matter(self, artifact):
        artifact.add_file(make("f"))
        make("f", b"changed")
        assert artifact.open("f").read() == b"data"

    def test_again_replaces_the_object(self, artifact):
        artifact.add_file(make("f"))
        artifact.add_file(make("f", b"changed"))
        assert keys(artifact) == ["f"]
        assert em.load_artifact(artifact.local).objects == artifact.objects
        assert artifact.open("f").read() == b"changed"

    def test_follows_a_link_that_was_given(self, artifact):
        Path("link").symlink_to(make("f"))
        artifact.add_file("link")
        assert on_disk(artifact) == {"link": b"data"}

    @pytest.mark.parametrize(
        ("obj_path", "error", "advice"),
        [
            ("../x", InvalidKey, "use a relative path like"),
            ("/etc/passwd", InvalidKey, "use a relative path like"),
            ("a//b", InvalidKey, "use a relative path like"),
            ("C:\\x", InvalidKey, "use a relative path like"),
            ("a/C:x", InvalidKey, "use a relative path like"),
            ("..\\x", InvalidKey, "use a relative path like"),
            ("CON", InvalidKey, "use a relative path like"),
            (".em/x", InvalidKey, "use a relative path like"),
            ("", InvalidKey, "use a relative path like"),
            ("a\0b", InvalidKey, "use a relative path like"),
            ("../", InvalidKey, "use a relative path like"),
            ("k" * 1025, InvalidKey, "use a relative path like"),
            ("/".join(["k" * 200] * 5) + "/" + "k" * 18, InvalidKey, "longer than 1024"),
            ("There", KeyCollision, "rename one"),
            ("there/x", KeyCollision, "rename one"),
        ],
    )
    def test_refuses_a_key_that_cannot_be_and_changes_nothing(self, artifact, snapshot, obj_path, error, advice):
        artifact.add_file(make("f"), "there")
        before = snapshot()
        with pytest.raises(error, match=advice):
            artifact.add_file("f", obj_path)
        assert snapshot() == before
        assert keys(artifact) == ["there"]
        artifact.add_file("f", "free")

    @pytest.mark.parametrize("source", ["nowhere", "directory", "pipe", "dangling", ""])
    def test_refuses_what_is_no_file_and_changes_nothing(self, artifact, snapshot, source):
        Path("directory").mkdir()
        os.mkfifo("pipe")
        Path("dangling").symlink_to("nowhere")
        before = snapshot(Path(artifact.local))
        with pytest.raises((LocalError, SymlinkError), match="give the (path of a )?file|only files"):
            artifact.add_file(source, "x")
        assert {path: data for path, data in snapshot(Path(artifact.local)).items() if data != "directory"} == {
            path: data for path, data in before.items() if data != "directory"
        }
        artifact.add_file(make("f"), "X")


class TestAddDir:
    @pytest.fixture(autouse=True)
    def _source(self):
        make("a/1.txt", b"1")
        make("a/sub/2.txt", b"2")

    @pytest.mark.parametrize(
        ("dir_path", "obj_path", "prefix"),
        [
            ("a/", None, "a"),
            ("a", None, "a"),
            ("a/", "a", "a"),
            ("a/", "b/", "b/a"),
            ("a/", "b/a", "b/a"),
            ("a", "b", "b"),
            ("a/sub/..", None, "a"),
        ],
    )
    def test_gets_the_keys_of_the_reference(self, artifact, dir_path, obj_path, prefix):
        artifact.add_dir(dir_path, obj_path)
        assert on_disk(artifact) == {f"{prefix}/1.txt": b"1", f"{prefix}/sub/2.txt": b"2"}
        assert keys(artifact) == [f"{prefix}/1.txt", f"{prefix}/sub/2.txt"]
        assert em.load_artifact(artifact.local).objects == artifact.objects

    def test_again_replaces_and_adds(self, artifact):
        artifact.add_dir("a")
        make("a/1.txt", b"new")
        make("a/3.txt", b"3")
        artifact.add_dir("a")
        assert on_disk(artifact) == {"a/1.txt": b"new", "a/sub/2.txt": b"2", "a/3.txt": b"3"}
        assert em.load_artifact(artifact.local).objects == artifact.objects

    @pytest.mark.parametrize("flaw", ["a/CON", "a/x\\y", "a/sub/1\n2", "a/1.TXT", os.fsdecode(b"a/\xff")])
    def test_adds_all_or_nothing(self, artifact, snapshot, flaw):
        make(flaw)
        before = snapshot(Path(artifact.local))
        with pytest.raises(InvalidInput):
            artifact.add_dir("a")
        assert snapshot(Path(artifact.local)) == before
        assert artifact.objects == []
        Path(flaw).unlink()
        artifact.add_dir("a")

    @pytest.mark.parametrize(
        ("obj_path", "error"), [("../x", InvalidKey), ("", InvalidKey), ("there", KeyCollision), (".em/", InvalidKey)]
    )
    def test_refuses_keys_that_cannot_be(self, artifact, snapshot, obj_path, error):
        artifact.add_file("a/1.txt", "there")
        before = snapshot()
        with pytest.raises(error):
            artifact.add_dir("a", obj_path)
        assert snapshot() == before

    def test_of_an_empty_directory_adds_nothing(self, artifact):
        Path("empty").mkdir()
        artifact.add_dir("empty")
        assert artifact.objects == []

    def test_of_no_directory_says_so(self, artifact):
        for path in ("nowhere", "a/1.txt"):
            with pytest.raises(LocalError, match="give the path of a directory, or use add_file"):
                artifact.add_dir(path)


class TestAddReference:
    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch):
        monkeypatch.setattr(references, "describe", lambda uri: {"size": 3, "etag": "e"})

    @pytest.mark.parametrize(
        ("obj_path", "key"), [(None, "model.pt"), ("m", "m"), ("deep/m", "deep/m"), ("deep/", "deep/model.pt")]
    )
    def test_keeps_the_uri_and_what_is_known(self, artifact, obj_path, key):
        artifact.add_reference("s3://bucket/x/model.pt?versionId=3", obj_path)
        record = {"key": key, "uri": "s3://bucket/x/model.pt?versionId=3", "size": 3, "etag": "e"}
        assert artifact.objects == [record]
        assert em.load_artifact(artifact.local).objects == [record]
        assert on_disk(artifact) == {}

    @pytest.mark.parametrize(
        ("uri", "error", "advice"),
        [
            ("model.pt", InvalidURI, "use one like"),
            ("/data/model.pt", InvalidURI, "use one like"),
            ("https://host/", InvalidKey, "as obj_path"),
            ("s3://key:seCret@bucket/x", SecretInURI, "leave it out"),
            ("https://host/x?token=seCret", SecretInURI, "leave it out"),
            ("https://host/There", KeyCollision, "rename one"),
        ],
    )
    def test_refuses_what_cannot_be_and_changes_nothing(self, artifact, snapshot, uri, error, advice):
        artifact.add_file(make("there"))
        before = snapshot()
        with pytest.raises(error, match=advice):
            artifact.add_reference(uri)
        assert snapshot() == before

    def test_is_never_fetched_without_being_asked(self, artifact, backend, tmp_path):
        artifact.add_reference("s3://bucket/model.pt")
        artifact.add_reference((tmp_path / "f").as_uri())
        artifact.download()
        artifact.upload()
        loaded = em.load_artifact("default/a")
        loaded.download()
        assert loaded.objects == sorted(artifact.objects, key=lambda data: data["key"])
        with pytest.raises(InvalidInput, match="open its uri with fsspec"):
            loaded.get("model.pt")

    def test_to_a_file_is_read_where_it_is(self, artifact, tmp_path):
        path = tmp_path / make("f", b"123")
        artifact.add_reference(path.as_uri())
        assert artifact.get("f") == str(path)
        with artifact.open("f") as stream:
            assert stream.read() == b"123"


class TestObjects:
    def test_that_are_not_there_are_named(self, artifact):
        for use in (artifact.get, artifact.open, lambda key: artifact.download([key])):
            with pytest.raises(NotFound, match="has no object 'x'; `objects` lists those there are"):
                use("x")

    def test_are_local_without_a_backend(self, artifact):
        artifact.add_file(make("f"), "deep/f")
        assert Path(artifact.get("deep/f")) == Path(artifact.local).absolute() / "objects" / "deep" / "f"
        artifact.download()
        with artifact.open("deep/f") as stream:
            assert (stream.read(2), stream.read()) == (b"da", b"ta")

    def test_added_by_two_holders_of_one_directory_are_all_kept(self, artifact, backend):
        other = em.load_artifact(artifact.local)
        artifact.add_file(make("one"))
        other.add_file(make("two"))
        other.upload()
        artifact.upload()
        assert [found["key"] for found in em.load_artifact(f"default/{artifact.name}").objects] == ["one", "two"]

    def test_of_runs_and_artifacts_below_a_directory_are_left_out(self, artifact):
        make("script.py")
        artifact.add_dir(".", "src")
        artifact.add_dir(".", "src")
        assert [found["key"] for found in artifact.objects] == ["src/script.py"]

    def test_fetched_and_then_damaged_are_fetched_again(self, artifact, backend):
        artifact.add_file(make("f"))
        artifact.upload()
        shutil.rmtree(artifact.local)
        loaded = em.load_artifact(f"default/{artifact.name}")
        Path(loaded.get("f")).write_bytes(b"BAD!")
        assert Path(loaded.get("f")).read_bytes() == b"data"

    def test_that_were_changed_behind_our_back_are_found_out(self, artifact, backend):
        artifact.add_file(make("f"))
        path = Path(artifact.get("f"))
        path.write_bytes(b"DATA")
        with artifact.open("f") as stream, pytest.raises(CorruptData, match="object 'f'"):
            stream.read()
        with pytest.raises(NotFound, match="missing or changed"):
            artifact.get("f")
        with pytest.raises(SourceChanged):
            artifact.upload()
        path.write_bytes(b"longer than before")
        with pytest.raises(SourceChanged, match="add it again"):
            artifact.upload()
        path.unlink()
        with pytest.raises(NotFound, match="was not loaded from a backend"):
            artifact.upload()
        assert backend.list("/alice/default") == []
        artifact.add_file("f")
        artifact.upload()

    def test_of_which_only_the_index_is_known_cannot_be_read(self):
        artifact = Artifact({"name": "a"}, {"f": {"size": 1, "sha256": "0" * 64}})
        for use in (lambda: artifact.get("f"), lambda: artifact.open("f"), artifact.download):
            with pytest.raises(NotFound, match="was not loaded from a backend"):
                use()


class TestLoad:
    @pytest.fixture
    def loaded(self, artifact, backend, monkeypatch) -> Artifact:
        for number in range(5):
            artifact.add_file(make("f", b"%d" % number * 100), f"d/{number}")
        artifact.upload()
        shutil.rmtree(artifact.local)
        return em.load_artifact("default/a")

    def test_brings_metadata_first_and_objects_when_asked(self, artifact, loaded):
        assert loaded.to_dict() == artifact.to_dict()
        assert on_disk(loaded) == {}
        loaded.download(["d/1", "d/3"])
        assert set(on_disk(loaded)) == {"d/1", "d/3"}
        assert Path(loaded.get("d/2")).read_bytes() == b"2" * 100
        with loaded.open("d/4") as stream:
            assert stream.read() == b"4" * 100
        assert set(on_disk(loaded)) == {"d/1", "d/2", "d/3"}
        loaded.download()
        assert on_disk(loaded) == {f"d/{number}": b"%d" % number * 100 for number in range(5)}

    def test_goes_on_in_another_process(self, loaded):
        em.logout()
        again = em.load_artifact(loaded.local)
        again.download()
        assert len(on_disk(again)) == 5

    def test_can_be_uploaded_elsewhere_whole(self, loaded, backend):
        loaded.upload("copy", make_folder=True)
        assert backend.stat("/alice/copy/a").file_count == 7
        assert len(on_disk(loaded)) == 5

    def test_can_be_changed_and_uploaded_as_an_update(self, loaded, backend):
        loaded.add_file(make("f", b"new"), "d/0")
        loaded.upload(conflict_strategy="error")
        assert backend.stat("/alice/default/a").generation == 2
        assert em.load_artifact("default/a").open("d/0").read() == b"new"

    def test_keeps_its_version_when_a_new_one_is_uploaded(self, loaded, backend):
        other = em.load_artifact("default/a@1")
        other.add_file(make("f", b"new"), "d/0")
        other.upload()
        assert em.load_artifact("default/a").open("d/0").read() == b"new"
        assert em.load_artifact("default/a@1").open("d/1").read() == b"1" * 100

    def test_tells_progress(self, loaded):
        class Progress:
            def __init__(self):
                self.plan, self.done = [], []

            def start(self, what, files, size):
                self.plan.append((what, files, size))

            def advance(self, files, size):
                self.done.append((files, size))

        progress = Progress()
        loaded.download(progress=progress)
        assert progress.plan == [("downloading a", 5, 500)]
        assert [sum(told) for told in zip(*progress.done, strict=True)] == [5, 500]

    def test_never_takes_bytes_of_another_version_for_those_of_its_own(self, loaded, backend, monkeypatch):
        other = Artifact({"name": "a"})
        other.add_file(make("f", b"other"), "d/0")
        other.upload(conflict_strategy="replace")
        read = backend.read

        def collected(node, file, *args):
            if node.generation == 1:
                raise NotFound("the bytes are gone")
            return read(node, file, *args)

        monkeypatch.setattr(backend, "read", collected)
        with pytest.raises(CorruptData, match="is not what its index says"):
            loaded.get("d/0")
        with pytest.raises(NotFound):
            loaded.get("d/1")
        assert on_disk(loaded) == {}

    def test_takes_the_same_bytes_from_a_newer_version(self, loaded, backend, monkeypatch):
        newer = em.load_artifact("default/a")
        newer.add_file(make("f", b"more"), "more")
        newer.upload()
        read = backend.read
        monkeypatch.setattr(
            backend, "read", lambda node, file, *args: iter(()) if node.generation == 1 else read(node, file, *args)
        )
        assert Path(em.load_artifact(loaded.local).get("d/1")).read_bytes() == b"1" * 100


@pytest.mark.parametrize("flaw", ["flipped", "cut", "longer", "gone"])
def test_damage_in_the_store_is_found_and_nothing_is_written(artifact, tmp_path, flaw):
    em.login(str(tmp_path / "store"))
    artifact.add_file(make("f", b"0123456789"))
    artifact.upload()
    shutil.rmtree(artifact.local)
    [path] = (tmp_path / "store").rglob("objects/f")
    path.chmod(0o600)
    if flaw == "gone":
        path.unlink()
    else:
        path.write_bytes({"flipped": b"0123456780", "cut": b"012345678", "longer": b"0123456789x"}[flaw])
    loaded = em.load_artifact("default/a")
    error = NotFound if flaw == "gone" else CorruptData
    with pytest.raises(error):
        loaded.get("f")
    with pytest.raises(error):
        loaded.open("f").read()
    assert on_disk(loaded) == {}


@pytest.mark.parametrize("kind", ["file", "add_dir"])
def test_odd_but_legal_keys_make_the_round_trip(backend, monkeypatch, kind):
    for key in ODD_KEYS:
        make(f"source/{key}", key.encode())
    artifact = em.create_artifact("odd #%2F?[x]* é😀")
    if kind == "add_dir":
        artifact.add_dir("source", "s")
    else:
        for key in ODD_KEYS:
            artifact.add_file(f"source/{key}", f"s/{key}")
    expected = {f"s/{key}": key.encode() for key in ODD_KEYS}
    assert on_disk(artifact) == expected
    index = yaml.safe_load((Path(artifact.local) / "index.yaml").read_bytes())
    assert {record["key"] for record in index["objects"]} == set(expected)
    artifact.upload("odd folder #?", make_folder=True)
    monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "loaded")
    loaded = em.load_artifact("odd folder #?/odd #%2F?[x]* é😀")
    loaded.download()
    assert on_disk(loaded) == expected
    for key, data in expected.items():
        with loaded.open(key) as stream:
            assert stream.read() == data


class TestUpload:
    def test_publishes_plain_files(self, artifact, tmp_path):
        artifact.add_file(make("f"), "weights/model.pt")
        em.login(str(tmp_path / "store"))
        artifact.upload()
        [path] = (tmp_path / "store" / "alice" / "default" / "a").rglob("objects/weights/model.pt")
        assert path.read_bytes() == b"data"

    def test_again_sends_only_what_changed(self, artifact, backend):
        artifact.add_file(make("f"), "same")
        artifact.upload()
        artifact.upload()
        assert backend.stat("/alice/default/a").generation == 1
        artifact.add_file(make("f", b"new"), "other")
        artifact.upload()
        node = backend.stat("/alice/default/a")
        ops = {file.key: file.op for file in backend.files(node)}
        assert node.generation == 2
        assert ops["objects/same"] == backend.files(backend.stat("/alice/default/a@1"))[2].op
        assert ops["objects/other"] != ops["objects/same"]

    def test_of_another_one_of_that_name_follows_the_strategy(self, artifact, backend):
        first = em.create_artifact("a")
        first.upload()
        artifact.upload(conflict_strategy="skip")
        assert artifact.remote == []
        with pytest.raises(Conflict):
            artifact.upload(conflict_strategy="error")
        artifact.upload()
        assert artifact.remote[-1]["path"] == f"/alice/default/{artifact.alternative_name}"
        artifact.upload("other", make_folder=True, conflict_strategy="replace")
        assert artifact.remote[-1]["path"] == "/alice/other/a"

    def test_that_was_interrupted_goes_on_in_another_process(self, artifact, backend, monkeypatch):
        for number in range(3):
            artifact.add_file(make("f", bytes([number]) * (9 << 20)), f"{number}")
        real = backend.begin
        sent: list[list[str]] = []
        left = [2]

        def begin(request):
            upload = real(request)
            put = upload.put

            def interrupted(items):
                if len(sent) >= left[0]:
                    raise KeyboardInterrupt
                sent.append([file.key for file, _ in items])
                put(items)

            upload.put = interrupted
            return upload

        monkeypatch.setattr(backend, "begin", begin)
        monkeypatch.setattr("t9k.em.parallel.WORKERS", 1)
        with pytest.raises(KeyboardInterrupt):
            artifact.upload()
        assert backend.list("/alice/default") == []
        assert artifact.remote == []
        left[0] = 10
        em.load_artifact(artifact.local).upload()
        assert sent == [["index.yaml", "metadata.yaml"], ["objects/0"], ["objects/1"], ["objects/2"]]
        assert backend.stat("/alice/default/a").file_count == 5
        assert list((Path(artifact.local) / ".em" / "uploads").iterdir()) == []

    def test_of_bytes_that_change_meanwhile_is_refused(self, artifact, backend, monkeypatch):
        artifact.add_file(make("f", b"x" * 1000))
        path = Path(artifact.get("f"))
        real = backend.begin

        def begin(request):
            path.write_bytes(b"y" * 1000)
            return real(request)

        monkeypatch.setattr(backend, "begin", begin)
        with pytest.raises(SourceChanged):
            artifact.upload()
        assert backend.list("/alice/default") == []


class TestDirectory:
    def test_of_something_else_is_refused(self, tmp_path):
        run = em.create_run()
        for directory in (tmp_path, Path(run.local), tmp_path / "nowhere"):
            with pytest.raises(NotALocalNode, match="is not the directory of an artifact"):
                Artifact._open_directory(directory)

    def test_is_not_changed_by_being_opened(self, artifact, snapshot):
        before = snapshot()
        opened = em.load_artifact(artifact.local)
        assert repr(opened) == f"Artifact(name='a', objects=0, local={artifact.local!r})"
        assert snapshot() == before

    def test_may_lack_an_index(self, artifact):
        (Path(artifact.local) / "index.yaml").unlink()
        assert em.load_artifact(artifact.local).objects == []

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("metadata.yaml", "type: Artifact\nname: a/b\n"),
            ("metadata.yaml", "type: Artifact\nname: a\ncreated_timestamp: [1]\n"),
            ("metadata.yaml", "type: Artifact\nname: [\n"),
            ("index.yaml", "objects: x\n"),
        ],
    )
    def test_that_is_damaged_is_named(self, artifact, name, text):
        (Path(artifact.local) / name).write_text(text)
        with pytest.raises(CorruptLocalData, match="good cop"):
            em.load_artifact(artifact.local)


class TestDict:
    FILE: ClassVar[dict[str, Any]] = {"size": 1, "sha256": "0" * 64}

    def test_of_an_artifact_makes_the_same_artifact(self, artifact):
        artifact.add_file(make("f"))
        data = artifact.to_dict()
        second = em.create_artifact("b")
        second.parse_from_dict(data)
        assert second.to_dict() == data
        assert em.load_artifact(second.local).to_dict() == data

    def test_replaces_all_there_was(self, artifact):
        artifact.add_file(make("f"), "x")
        artifact.parse_from_dict({"metadata": {"name": "b"}, "objects": {"y/z": self.FILE}})
        assert (artifact.name, artifact.alternative_name) == ("b", Path(artifact.local).name)
        with pytest.raises(LocalError, match="objects/x is in the way of object 'x/1'; move it away"):
            artifact.add_file("f", "x/1")
        artifact.add_file("f", "v/w")
        with pytest.raises(KeyCollision):
            artifact.add_file("f", "y")

    @pytest.mark.parametrize(
        "objects",
        [
            [1],
            "x",
            {"a": 1},
            {"../a": FILE},
            {1: FILE},
            {"a": {"size": -1, "sha256": "0" * 64}},
            {"a": {"size": 1, "sha256": "x"}},
            {"a": {"size": 1}},
            {"a": {"uri": "x"}},
            {"a": {"uri": "https://u:seCret@host/"}},
            {"a": {"uri": "https://host/x", "size": float("nan")}},
            {"a": {"uri": "https://host/x", "etag": b"x"}},
            {"a": FILE, "A": FILE},
            {"a": FILE, "a/b": FILE},
        ],
    )
    def test_in_a_wrong_form_changes_nothing(self, artifact, snapshot, objects):
        before = snapshot()
        with pytest.raises(InvalidInput) as caught:
            artifact.parse_from_dict({"metadata": {"name": "b"}, "objects": objects})
        with pytest.raises(InvalidInput):
            Artifact({"name": "b"}, objects)
        assert "seCret" not in str(caught.value)
        for metadata in (None, {}, {"name": "a/b"}):
            with pytest.raises(InvalidInput):
                artifact.parse_from_dict({"metadata": metadata, "objects": {}})
        assert artifact.name == "a"
        assert snapshot() == before
