"""A backend may hold anything, and somebody may have put links in the way: nothing is written outside, or left behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from t9k import em
from t9k.em import session
from t9k.em.backend import Backend
from t9k.em.errors import (
    BackendError,
    CorruptData,
    CorruptManifest,
    EMError,
    LocalError,
    NotFound,
    SymlinkError,
)
from t9k.em.local import objects
from t9k.em.names import alternative_name
from t9k.em.records import ARTIFACT, RUN, Body, Draft
from t9k.em.transfer.uploading import upload_node

CLIMBING = [
    "../../etc/passwd",
    "a/../../b",
    "/etc/passwd",
    "a//b",
    "./a",
    "..\\x",
    "C:\\x",
    "a/C:x",
    "CON",
    ".em/state.yaml",
    "a\0b",
    "a\nb",
    "\ud800",
    "",
    "a/",
    None,
    1,
    ["a"],
]
METADATA = b"type: %s\nname: x\nalternative_name: x_1\n"
SHA = hashlib.sha256(b"data").hexdigest()


def publish(
    backend: Backend, kind: str, files: dict[str, bytes], metadata: dict[str, Any] | None = None, name: str = "x"
) -> None:
    """Uploads any bytes as a node."""
    draft = Draft(kind=kind, name=name, alternative_name=alternative_name(name), id="1", metadata=metadata or {})
    bodies = {key: Body.of(data) for key, data in files.items()}
    if kind == ARTIFACT:
        bodies.setdefault("index.yaml", Body.of(objects.HEADER))
    upload_node(backend, "/alice/default", draft, bodies, strategy="replace")


def load(kind: str) -> Any:
    return em.load_run("default/x") if kind == RUN else em.load_artifact("default/x")


@pytest.fixture
def tamper(tmp_path):
    """Changes the record of the node `x` in a local store, from where nobody checked it."""
    session.login(str(tmp_path / "store"))

    def change(how) -> None:
        [path] = (tmp_path / "store" / "alice" / "default" / ".em" / "h" / "x").glob("*.json")
        record = json.loads(path.read_bytes())
        how(record)
        path.chmod(0o600)
        path.write_text(json.dumps(record))

    return change


def nothing_is_left(kind: str) -> bool:
    parent = Path(".em/runs" if kind == RUN else ".em/artifacts")
    return not parent.exists() or list(parent.iterdir()) == []


KINDS = pytest.mark.parametrize("kind", [RUN, ARTIFACT])


@pytest.mark.parametrize("key", CLIMBING)
@KINDS
def test_keys_of_the_manifest_that_climb_out_are_refused(tamper, snapshot, tmp_path, kind, key):
    publish(session.current(), kind, {"metadata.yaml": METADATA % kind.encode(), "objects/f": b"data"})
    tamper(lambda record: record["files"][-1].update(key=key))
    before = snapshot()
    with pytest.raises(CorruptManifest, match="damaged"):
        load(kind)
    assert snapshot() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["files"][0].update(size=-1),
        lambda record: record["files"][0].update(size=1e400),
        lambda record: record["files"][0].update(size="1"),
        lambda record: record["files"][0].update(sha256="../x"),
        lambda record: record["files"][0].update(op="../../.."),
        lambda record: record["files"].append(record["files"][0]),
        lambda record: record["files"].append({**record["files"][0], "key": "METADATA.yaml"}),
        lambda record: record.update(files="x"),
        lambda record: record.update(files=None),
        lambda record: record.update(name="../../x"),
        lambda record: record.update(manifest={"op": "../..", "sha256": SHA}),
    ],
)
@KINDS
def test_records_that_cannot_be_are_refused(tamper, snapshot, kind, change):
    publish(session.current(), kind, {"metadata.yaml": METADATA % kind.encode()})
    tamper(change)
    before = snapshot()
    with pytest.raises(CorruptManifest, match="damaged"):
        load(kind)
    assert snapshot() == before


@KINDS
def test_a_size_that_is_not_that_of_the_bytes_is_refused(tamper, kind):
    publish(session.current(), kind, {"metadata.yaml": METADATA % kind.encode()})

    def grow(record) -> None:
        record["files"][-1]["size"] += 1
        record["size"] += 1

    tamper(grow)
    with pytest.raises(CorruptData, match="is not what was uploaded"):
        load(kind)
    assert nothing_is_left(kind)


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a\x1b[2J", "a/b", 5, ["x"], {"a": 1}])
@KINDS
def test_an_alternative_name_that_climbs_out_is_refused(backend, kind, name):
    publish(backend, kind, {"metadata.yaml": METADATA % kind.encode()}, {"alternative_name": name})
    with pytest.raises(CorruptData, match="can(not)? be used"):
        load(kind)
    assert nothing_is_left(kind)


@pytest.mark.parametrize(
    "text",
    [
        "type: {kind}\nname: x\nlabels: !!python/object/apply:os.system ['touch pwned']\n",
        "!!python/object/new:os.system ['touch pwned']\n",
        "type: {kind}\nname: x\nlabels: !!python/name:os.system\n",
        "type: {kind}\nname: &a x\ndescription: *a\n",
        "a: &a [x, x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)),
        "type: {kind}\nname: ../x\n",
        "type: {kind}\nname: 'a\\x1b'\n",
        'type: {kind}\nname: "a\\0b"\n',
        'type: {kind}\nname: "a\\e[2J"\n',
        "type: {kind}\nname: x\nalternative_name: ../../x\n",
        "type: {kind}\nname: x\nid: [1]\n",
        "type: {kind}\nname: x\nlabels: 7\n",
        "type: {kind}\n",
        "type: Folder\nname: x\n",
        "type: [{kind}]\nname: x\n",
        "- x\n",
        "",
        "\0\0\0\0",
        "x" * (11 << 20),
        "[" * 100_000,
    ],
)
@KINDS
def test_metadata_that_cannot_be_is_refused_and_nothing_is_made_of_it(backend, snapshot, kind, text):
    publish(backend, kind, {"metadata.yaml": text.replace("{kind}", kind).encode()})
    with pytest.raises(CorruptData, match=f"is no {kind} that can be used"):
        load(kind)
    assert nothing_is_left(kind)
    assert not Path("pwned").exists()


def test_a_node_without_metadata_is_refused(backend):
    publish(backend, RUN, {"stdout.log": b""})
    publish(backend, ARTIFACT, {"objects/f": b"data"}, name="y")
    with pytest.raises(CorruptData, match="is no Run"):
        em.load_run("default/x")
    with pytest.raises(NotFound, match="has no file 'metadata.yaml'"):
        em.load_artifact("default/y")
    assert nothing_is_left(RUN)
    assert nothing_is_left(ARTIFACT)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hyperparameters.yaml", "- [a, 2]\n"),
        ("hyperparameters.yaml", "a: !!python/name:os.system\n"),
        ("index.yaml", "metrics: {a: ../../x, 5: y}\n"),
        ("index.yaml", "metrics: [x]\n"),
    ],
)
def test_other_files_of_a_run_that_cannot_be_are_refused(backend, name, text):
    publish(backend, RUN, {"metadata.yaml": METADATA % b"Run", name: text.encode()})
    with pytest.raises(CorruptData, match="is no Run that can be used"):
        em.load_run("default/x")
    assert nothing_is_left(RUN)


@pytest.mark.filterwarnings("ignore::t9k.em.errors.RecoveredDataWarning")
def test_a_run_full_of_nonsense_is_loaded_and_stays_in_its_directory(backend, snapshot, tmp_path):
    files = {
        "metadata.yaml": METADATA % b"Run",
        "index.yaml": b"metrics: {train: ../../../outside.yaml}\n",
        "metrics/train.yaml": b'- {"value": {"a": 1}, "sequence": {"step": 1}}\n\0\0\0\xff\n- !!python/name:os.system\n',
        "metrics/%2e%2e%2foutside.yaml": b"- x\n",
        "stdout.log": b"\x1b]0;pwned\x07",
        "objects/x": b"x",
        "deep/er/unknown": b"x",
    }
    publish(backend, RUN, files)
    run = em.load_run("default/x")
    assert run.metrics["train"] == [{"value": {"a": 1}, "sequence": {"step": 1}}]
    run.log("train", {"a": 2}, step=2)
    run.log("../outside", {"a": 2}, step=2)
    run.finish()
    run.upload()
    assert len(run.metrics["../outside"]) == 1
    written = {Path(path).relative_to(tmp_path).parts[0] for path in snapshot()}
    assert written - {"store", ".em", ".home"} == set()
    assert len(list(Path(".em/runs").iterdir())) == 1


def index(*records: object) -> bytes:
    return objects.HEADER + b"".join(b"- %s\n" % json.dumps(record).encode() for record in records)


FILE = {"key": "f", "size": 4, "sha256": SHA}


@pytest.mark.parametrize(
    "data",
    [
        *(index({**FILE, "key": key}) for key in CLIMBING),
        index({**FILE, "size": -1}),
        index({**FILE, "size": 1e400}),
        index({**FILE, "sha256": "../../x"}),
        index({"key": "f", "uri": "x"}),
        index({"key": "f", "uri": "https://user:seCret@host/x"}),
        index({"key": "f", "uri": 5}),
        index({"key": "f"}),
        index(FILE, {**FILE, "key": "F"}),
        index(FILE, {**FILE, "key": "f/g"}),
        index([1], 2, None),
        b"objects: 5\n",
        b"objects: {f: 1}\n",
        b"- 1\n",
        b"",
        b"objects:\n- !!python/object/apply:os.system [touch pwned]\n",
        b"objects:\n- &a [*a]\n",
        objects.HEADER + b"- " + b'{"a":' * 100_000 + b"\n",
        objects.HEADER + b'- {"key": "f", "x": ' + b"[" * 100_000 + b"\n",
        b"\xff\xfe",
        b"\0" * 100,
    ],
)
def test_an_index_that_cannot_be_is_refused(backend, data):
    publish(backend, ARTIFACT, {"metadata.yaml": METADATA % b"Artifact", "index.yaml": data})
    with pytest.raises(CorruptData, match="is no Artifact that can be used") as caught:
        em.load_artifact("default/x")
    assert "seCret" not in str(caught.value)
    assert nothing_is_left(ARTIFACT)
    assert not Path("pwned").exists()


@pytest.mark.long
def test_an_index_of_a_million_objects_is_read():
    count = 1_000_000
    data = objects.HEADER + b"".join(
        b'- {"key": "a/%d", "size": 1, "sha256": "%064d"}\n' % (number, number) for number in range(count)
    )
    assert len(objects.decode(data, "index")) == count


@pytest.fixture
def loaded(backend):
    """An artifact of two files and a reference, of which only the metadata was loaded."""
    files = {
        "metadata.yaml": METADATA % b"Artifact",
        "index.yaml": index(
            {**FILE, "key": "d/f"},
            {**FILE, "key": "missing"},
            {**FILE, "key": "other", "sha256": "0" * 64},
            {"key": "passwd", "uri": "file:///etc/passwd"},
        ),
        "objects/d/f": b"data",
        "objects/other": b"data",
        "objects/unlisted": b"data",
    }
    publish(backend, ARTIFACT, files)
    return em.load_artifact("default/x")


def test_an_object_that_only_the_index_knows_is_not_found(loaded, snapshot):
    assert Path(loaded.local).is_dir()  # made by this, as by the first `get`
    before = snapshot()
    with pytest.raises(NotFound, match="has no file 'objects/missing'"):
        loaded.get("missing")
    with pytest.raises(NotFound, match="has no object 'missing'"):
        loaded.open("missing")
    with pytest.raises(NotFound):
        loaded.download()
    assert snapshot() == before


def test_an_object_that_only_the_manifest_knows_is_left(loaded):
    loaded.download(["d/f"])
    with pytest.raises(NotFound):
        loaded.get("unlisted")


def test_bytes_that_are_not_those_of_the_index_are_refused(loaded, snapshot):
    assert Path(loaded.local).is_dir()  # made by this, as by the first `get`
    before = snapshot()
    with pytest.raises(CorruptData):
        loaded.get("other")
    with pytest.raises(CorruptData):
        loaded.open("other").read()
    assert snapshot() == before


def test_a_reference_to_a_local_file_is_not_read_or_uploaded(loaded, backend, monkeypatch):
    opened = []
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *args, **kwargs: opened.append(str(self)) or real(self, *args, **kwargs)
    )
    loaded.download(["d/f", "passwd"])
    with pytest.raises(EMError):
        loaded.upload("elsewhere", make_folder=True)
    assert "/etc/passwd" not in opened


class TestInTheWay:
    @pytest.fixture
    def outside(self, tmp_path) -> Path:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "f").write_bytes(b"keep")
        return outside

    @pytest.mark.parametrize("place", ["objects", "objects/d"])
    def test_a_link_instead_of_a_directory_is_refused(self, loaded, outside, snapshot, place):
        path = Path(loaded.local) / place
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(outside)
        before = snapshot(outside)
        if place == "objects/d":
            (outside / "f").unlink()
            before = snapshot(outside)
        with pytest.raises(SymlinkError, match="remove (the link|it)"):
            loaded.download(["d/f"])
        assert snapshot(outside) == before

    @pytest.mark.parametrize("leads", ["f", "missing"])
    def test_a_link_instead_of_a_file_is_refused(self, loaded, outside, snapshot, leads):
        path = Path(loaded.local) / "objects" / "d" / "f"
        path.parent.mkdir(parents=True)
        path.symlink_to(outside / leads)
        before = snapshot(outside)
        for use in (loaded.get, lambda key: loaded.download([key])):
            with pytest.raises(SymlinkError, match="is a symbolic link.* remove the link"):
                use("d/f")
        assert snapshot(outside) == before

    @pytest.mark.parametrize("place", ["objects", "objects/d", "objects/d/f"])
    def test_something_else_there_is_told(self, loaded, place):
        path = Path(loaded.local) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if place == "objects/d/f":
            path.mkdir()
        else:
            path.write_bytes(b"")
        with pytest.raises(LocalError, match="is in the way of a download of .*; move it away"):
            loaded.get("d/f")

    def test_a_link_in_place_of_the_private_directory_is_not_followed_by_a_fetch(self, backend, outside, snapshot):
        publish(backend, RUN, {"metadata.yaml": METADATA % b"Run"})
        Path(".em/runs").mkdir(parents=True)
        Path(".em/runs/x_1").symlink_to(outside)
        before = snapshot(outside)
        run = em.load_run("default/x")
        assert Path(run.local).name != "x_1"
        assert snapshot(outside) == before

    def test_a_link_instead_of_an_object_is_not_uploaded(self, backend, outside):
        artifact = em.create_artifact("a")
        artifact.add_file(str(outside / "f"))
        path = Path(artifact.get("f"))
        path.unlink()
        path.symlink_to(outside / "f")
        with pytest.raises(EMError):
            artifact.upload()
        assert [node.name for node in backend.list("/alice/default")] == []


def test_a_name_that_lies_about_its_kind_is_refused(backend):
    publish(backend, RUN, {"metadata.yaml": METADATA % b"Artifact"})
    with pytest.raises(CorruptData, match="is no Run that can be used"):
        em.load_run("default/x")
    assert nothing_is_left(RUN)


@KINDS
def test_errors_of_a_hostile_backend_are_backend_errors(backend, kind):
    publish(backend, kind, {"metadata.yaml": b"- x\n"})
    with pytest.raises(BackendError):
        load(kind)
