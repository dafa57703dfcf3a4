"""Copies of a node from one backend to another: id, metadata and files, every byte checked."""

from __future__ import annotations

from uuid import uuid4

import pytest

from t9k.em import session
from t9k.em.artifact import Artifact
from t9k.em.errors import Conflict, CorruptData, Diverged, FolderNotFound, InvalidInput, InvalidName, NotFound
from t9k.em.loading import fetch_artifact
from t9k.em.records import Outcome
from t9k.em.transfer.copying import copy_node


@pytest.fixture
def target():
    return session.backend_at(f"memory://{uuid4()}")


@pytest.fixture
def artifact(backend, tmp_path) -> Artifact:
    artifact = Artifact({"name": "a", "labels": ["x"]})
    (tmp_path / "f").write_bytes(b"data" * 1000)
    artifact.add_file("f", "d/f")
    artifact.upload()
    return artifact


def content(backend, path: str) -> dict[str, bytes]:
    node = backend.stat(path)
    return {file.key: b"".join(backend.read(node, file)) for file in backend.files(node)}


def test_is_the_same_node_elsewhere(artifact, backend, target):
    outcome, node = copy_node(backend, "/alice/default/a", target, "/bob/x", make_folder=True)
    assert (outcome, node.path, node.id, node.generation) == (Outcome.PUBLISHED, "/bob/x/a", artifact.id, 1)
    assert node.metadata == backend.stat("/alice/default/a").metadata
    assert content(target, "/bob/x/a") == content(backend, "/alice/default/a")
    assert copy_node(backend, "/alice/default/a", target, "/bob/x")[0] is Outcome.UNCHANGED


def test_within_one_backend_goes_too(artifact, backend):
    copy_node(backend, "/alice/default/a", backend, "/alice/copy", make_folder=True)
    assert content(backend, "/alice/copy/a") == content(backend, "/alice/default/a")


def test_of_a_version_is_that_version(artifact, backend, target):
    artifact.add_file("f", "more")
    artifact.upload()
    copy_node(backend, "/alice/default/a@1", target, "/alice/default")
    assert "objects/more" not in content(target, "/alice/default/a")


def test_follows_the_strategy(artifact, backend, target):
    other = Artifact({"name": "a"})
    other.send(target, "/alice/default")
    with pytest.raises(Conflict):
        copy_node(backend, "/alice/default/a", target, "/alice/default", strategy="error")
    assert copy_node(backend, "/alice/default/a", target, "/alice/default", strategy="skip")[0] is Outcome.SKIPPED
    _, node = copy_node(backend, "/alice/default/a", target, "/alice/default")
    assert node.path == f"/alice/default/{artifact.alternative_name}"
    _, node = copy_node(backend, "/alice/default/a", target, "/alice/default", strategy="replace")
    assert (node.path, node.id) == ("/alice/default/a", artifact.id)


def test_of_what_cannot_be_copied_is_told(artifact, backend, target):
    with pytest.raises(InvalidInput, match="em.mirror copies it with all that is in it"):
        copy_node(backend, "/alice/default", target, "/alice/default")
    with pytest.raises(NotFound):
        copy_node(backend, "/alice/default/b", target, "/alice/default")
    with pytest.raises(FolderNotFound):
        copy_node(backend, "/alice/default/a", target, "/alice/x")
    with pytest.raises(InvalidName, match="without '@' and digits"):
        copy_node(backend, "/alice/default/a", target, "/alice/default@1")
    assert target.list("/") == []


def test_of_damaged_bytes_publishes_nothing(artifact, backend, target, monkeypatch):
    read = backend.read
    monkeypatch.setattr(backend, "read", lambda *args: (chunk.replace(b"data", b"DATA") for chunk in read(*args)))
    with pytest.raises(CorruptData, match="'objects/d/f' of /alice/default/a in .* is not what was uploaded"):
        copy_node(backend, "/alice/default/a", target, "/alice/default")
    assert target.list("/alice/default") == []


class TestVersions:
    """What is there is never replaced by something that does not come from it."""

    @pytest.fixture
    def newer(self, artifact, backend) -> Artifact:
        artifact.labels = ["good"]
        artifact.upload()
        return artifact

    @pytest.mark.parametrize("strategy", ["new", "error", "skip"])
    def test_an_older_one_is_refused_where_a_newer_one_is(self, newer, backend, strategy):
        with pytest.raises(Diverged):
            copy_node(backend, "/alice/default/a@1", backend, "/alice/default", strategy=strategy)
        assert backend.stat("/alice/default/a").metadata["labels"] == ["good"]

    def test_an_older_one_is_put_back_when_told_to(self, newer, backend):
        copy_node(backend, "/alice/default/a@1", backend, "/alice/default", strategy="replace")
        assert backend.stat("/alice/default/a").metadata["labels"] == ["x"]

    def test_a_newer_one_comes_on_top_of_the_copy_of_an_older_one(self, artifact, backend, target):
        copy_node(backend, "/alice/default/a", target, "/bob/x", make_folder=True)
        artifact.labels = ["good"]
        artifact.upload()
        outcome, node = copy_node(backend, "/alice/default/a", target, "/bob/x")
        assert (outcome, node.generation, node.metadata["labels"]) == (Outcome.PUBLISHED, 2, ["good"])
        with pytest.raises(Diverged):
            copy_node(backend, "/alice/default/a@1", target, "/bob/x")
        with pytest.raises(Diverged):
            copy_node(target, "/bob/x/a@1", backend, "/alice/default")  # a backup of an older state
        assert copy_node(target, "/bob/x/a", backend, "/alice/default")[0] is Outcome.UNCHANGED

    def test_what_was_changed_there_is_not_replaced(self, artifact, backend, target, tmp_path, monkeypatch):
        copy_node(backend, "/alice/default/a", target, "/bob/x", make_folder=True)
        monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", str(tmp_path / "bob"))
        there = fetch_artifact(target, "/bob/x/a")
        there.description = "changed by bob"
        there.send(target, "/bob/x")
        artifact.labels = ["good"]
        artifact.upload()
        with pytest.raises(Diverged):
            copy_node(backend, "/alice/default/a", target, "/bob/x")
        assert target.stat("/bob/x/a").metadata["description"] == "changed by bob"
