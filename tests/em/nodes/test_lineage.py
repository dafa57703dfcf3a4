"""Lineage and history: what a run took in and put out, where it is, and what metadata may hold."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from t9k import em
from t9k.ah.core import Branch, Commit, Dataset, Folder, Model, Tag
from t9k.em import create_artifact, load_artifact, load_run, login, session
from t9k.em.errors import Conflict, IncompleteWarning, InvalidInput
from t9k.em.metadata import associations_of, labels_of, mapping_of, text_of
from t9k.em.nodes import history, lineage
from t9k.em.run import Run

GPT2 = Model(path="/alice/t9k-assethub/model/llm/gpt2", id="1c0d", labels=["a"])
MNIST = Dataset(path="dataset/cv/mnist")
ASSETS = [
    GPT2,
    MNIST,
    Folder(path="model/llm"),
    Branch(asset=GPT2, name="main"),
    Tag(asset=MNIST, name="v1"),
    Commit(asset=GPT2, id="abcdef12"),
]


@pytest.fixture
def run():
    return Run({"name": "r"})


@pytest.fixture
def artifact(tmp_path):
    (tmp_path / "f.txt").write_text("data")
    artifact = create_artifact("a")
    artifact.add_file("f.txt")
    return artifact


class TestMarking:
    def test_an_artifact_is_recorded_by_its_id_and_names(self, run, artifact):
        run.mark_input(artifact)
        record = {"type": "Artifact", "id": artifact.id, "name": "a", "alternative_name": artifact.alternative_name}
        assert run.associations == {"input": [record], "output": []}
        assert load_run(run.local).associations == run.associations

    @pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.kind)
    def test_an_asset_is_recorded_by_its_path_and_reference(self, run, asset):
        run.mark_input(asset)
        run.mark_input(asset)
        [record] = run.associations["input"]
        assert (record["type"], record["path"], record["reference"]) == (
            type(asset).__name__,
            asset.path,
            asset.reference,
        )
        assert load_run(run.local).associations == run.associations

    def test_assets_of_two_users_are_two(self, run):
        run.mark_input(Branch(asset=Model(path="/alice/t9k-assethub/model/llm/gpt2"), name="main"))
        run.mark_input(Branch(asset=Model(path="/bob/t9k-assethub/model/llm/gpt2"), name="main"))
        assert len(run.associations["input"]) == 2

    def test_the_same_thing_again_renews_its_record(self, run, artifact, backend):
        run.mark_output(artifact)
        artifact.upload()
        run.mark_output(artifact)
        [record] = run.associations["output"]
        assert (record["path"], record["generation"]) == ("/alice/default/a", "1")

    def test_one_thing_may_be_input_and_output(self, run, artifact):
        run.mark_input(artifact)
        run.mark_output(artifact)
        assert run.associations["input"] == run.associations["output"] != []

    @pytest.mark.parametrize("resource", [None, "a", 1, {"type": "Artifact"}, object()])
    def test_other_things_are_refused(self, run, resource, snapshot):
        before = snapshot()
        for mark in (run.mark_input, run.mark_output):
            with pytest.raises(InvalidInput, match="mark an Artifact, or a Model, Dataset, Branch, Tag or Commit"):
                mark(resource)
        assert snapshot() == before


class TestUploadOfARun:
    def test_uploads_its_artifacts_once_and_records_where_they_went(self, run, artifact, backend):
        other = create_artifact("b")
        run.mark_input(artifact)
        run.mark_output(other)
        run.upload()
        run.upload()
        assert [(node.name, node.generation) for node in backend.list("/alice/default")] == [
            ("a", 1),
            ("b", 1),
            ("r", 1),
        ]
        for side, name in (("input", "a"), ("output", "b")):
            [record] = run.associations[side]
            assert (record["uri"], record["path"], record["generation"]) == (backend.uri, f"/alice/default/{name}", "1")
        assert backend.stat("/alice/default/r").metadata["associations"] == run.associations
        assert load_artifact(run.associations["input"][0]["path"]).id == artifact.id

    def test_goes_to_the_folder_of_the_run(self, run, artifact, backend):
        run.mark_output(artifact)
        run.upload("cv/mnist", make_folder=True)
        assert [node.name for node in backend.list("/alice/cv/mnist")] == ["a", "r"]

    def test_leaves_an_artifact_that_was_uploaded_before_where_it_is(self, run, artifact, backend):
        artifact.upload("elsewhere", make_folder=True)
        run.mark_output(artifact)
        run.upload()
        assert [node.name for node in backend.list("/alice/default")] == ["r"]
        assert run.associations["output"][0]["path"] == "/alice/elsewhere/a"

    def test_leaves_an_artifact_that_came_from_there_where_it_is(self, run, artifact, backend):
        artifact.upload("elsewhere", make_folder=True)
        shutil.rmtree(artifact.local)
        run.mark_input(load_artifact("elsewhere/a"))
        run.upload()
        assert [node.name for node in backend.list("/alice/default")] == ["r"]
        assert run.associations["input"][0]["path"] == "/alice/elsewhere/a"

    def test_records_the_place_in_the_backend_of_the_run(self, run, artifact, backend, tmp_path):
        artifact.upload()
        artifact.upload((tmp_path / "other").as_uri())
        run.mark_output(artifact)
        assert run.associations["output"][0]["uri"] == (tmp_path / "other").as_uri()
        run.upload()
        assert run.associations["output"][0]["uri"] == backend.uri

    def test_uploads_to_each_backend(self, run, artifact, backend, tmp_path):
        run.mark_output(artifact)
        run.upload()
        other = (tmp_path / "other").as_uri()
        run.upload(other)
        assert [node.name for node in session.backend_at(other).list("/alice/default")] == ["a", "r"]

    def test_can_do_without_artifacts_that_were_cleared_away_after_it(self, run, artifact, backend):
        run.mark_output(artifact)
        run.upload()
        shutil.rmtree(artifact.local)
        run.log("train", {"loss": 1}, step=1)
        run.upload()
        assert backend.stat("/alice/default/r").generation == 2
        assert run.associations["output"][0]["path"] == "/alice/default/a"

    def test_says_which_artifact_is_missing(self, run, artifact, backend):
        run.mark_output(artifact)
        shutil.rmtree(artifact.local)
        with pytest.warns(IncompleteWarning, match=f"{artifact.alternative_name}; put it back there"):
            run.upload()
        assert [node.name for node in backend.list("/alice/default")] == [run.name], "the run itself is not held up"

    def test_finds_them_after_the_project_was_moved(self, run, artifact, backend, tmp_path, monkeypatch):
        run.mark_output(artifact)
        run.finish()
        (tmp_path / "moved").mkdir()
        (tmp_path / ".em").rename(tmp_path / "moved" / ".em")
        em.upload(str(tmp_path / "moved" / ".em" / "runs"))
        assert {node.kind for node in backend.list("/alice/default")} == {"Run", "Artifact"}

    def test_sends_what_was_added_or_lost_since(self, run, artifact, backend):
        run.mark_output(artifact)
        run.upload()
        Path("later").write_bytes(b"later")
        artifact.add_file("later")
        run.upload()
        assert "later" in [found["key"] for found in em.load_artifact(f"default/{artifact.name}").objects]
        backend.delete(f"/alice/default/{artifact.name}")
        run.upload()
        assert backend.stat(f"/alice/default/{artifact.name}").id == artifact.id

    def test_takes_attributes_that_were_set_before_and_after_marking(self, run, artifact, backend):
        artifact.description = "best"
        run.mark_output(artifact)
        artifact.labels.append("keep")
        run.upload()
        assert backend.stat(f"/alice/default/{artifact.name}").metadata["labels"] == ["keep"]
        assert em.load_artifact(artifact.local).description == "best"

    @pytest.mark.parametrize("strategy", ["skip", "error"])
    def test_sends_no_artifact_of_a_run_that_stays_here(self, run, artifact, backend, strategy):
        em.create_run(name=run.name).upload()
        run.mark_output(artifact)
        with contextlib.suppress(Conflict):
            run.upload(conflict_strategy=strategy)
        assert [node.kind for node in backend.list("/alice/default")] == ["Run"]


class TestHistory:
    def test_has_every_upload_and_download(self, artifact, store, tmp_path, monkeypatch):
        backend = login(store) or session.current()
        artifact.upload()
        artifact.upload()
        artifact.add_file("f.txt", "g.txt")
        artifact.upload()
        artifact.upload("x", make_folder=True)
        places = [(entry["action"], entry["path"], entry["generation"]) for entry in artifact.remote]
        assert places == [
            ("upload", "/alice/default/a", "1"),
            ("upload", "/alice/default/a", "2"),
            ("upload", "/alice/x/a", "1"),
        ]
        assert {entry["uri"] for entry in artifact.remote} == {backend.uri}
        monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "loaded")
        loaded = load_artifact("x/a")
        assert [(entry["action"], entry["path"]) for entry in loaded.remote] == [("download", "/alice/x/a")]
        again = load_artifact("x/a")
        assert again.local == loaded.local
        assert len(again.remote) == 2

    def test_does_not_have_what_was_skipped(self, artifact, backend):
        create_artifact("a").upload()
        artifact.upload(conflict_strategy="skip")
        assert artifact.remote == []

    def test_knows_whether_the_last_upload_went_to_the_alternative_name(self):
        remote = [{"uri": "u", "path": "/a/x"}, {"uri": "u", "path": "/a/x_1"}, {"uri": "v", "path": "/a/x"}]
        assert history.is_at_alternative(remote, "u", "/a", "x_1")
        assert not history.is_at_alternative(remote, "v", "/a", "x_1")
        assert not history.is_at_alternative(remote, "u", "/b", "x_1")
        assert history.is_at_alternative([{"uri": "u", "path": "/x_1"}], "u", "/", "x_1")

    def test_knows_the_last_place_in_a_backend(self):
        first, second = {"uri": "u", "path": "/1"}, {"uri": "u", "path": "/2"}
        assert history.place_in([first, second, {"uri": "v", "path": "/3"}], "u") is second
        assert history.place_in([], "u") is None


class TestRecords:
    def test_are_renewed_in_place(self):
        records = [
            {"type": "Artifact", "id": "1"},
            {"type": "Model", "reference": "m"},
            {"type": "Artifact", "id": "2"},
        ]
        renewed = lineage.with_record(records, {"type": "Artifact", "id": "1", "path": "/x"})
        assert [record.get("path") for record in renewed] == ["/x", None, None]
        assert len(lineage.with_record(records, {"type": "Model", "reference": "n"})) == 4
        assert len(records) == 3

    def test_of_a_resource_of_another_type_tell_what_is_allowed(self):
        assert "Commit of t9k.ah.core" in str(lineage.refuse(1))


class TestMetadata:
    def test_gives_texts_and_lists(self):
        assert text_of({"a": "x", "b": None}, "a") == "x"
        assert text_of({"b": None}, "b") == text_of({}, "c") == ""
        assert labels_of({"labels": ("a", "b")}) == ["a", "b"]
        assert labels_of({"labels": None}) == labels_of({}) == []
        assert mapping_of({"a": 1}, "it") == {"a": 1}

    @pytest.mark.parametrize("value", [1, b"a", ["a"], "\udc80"])
    def test_refuses_what_is_no_text(self, value):
        with pytest.raises(InvalidInput, match="must be a str of valid Unicode"):
            text_of({"a": value}, "a")

    @pytest.mark.parametrize("value", ["x", 3, b"ab", [1], [b"a"], {"a": 1}, ["\udc80"]])
    def test_refuses_labels_that_are_none(self, value):
        with pytest.raises(InvalidInput, match="labels must be"):
            labels_of({"labels": value})

    @pytest.mark.parametrize(
        "value",
        [
            [],
            [1],
            {"input": 1},
            {"input": "abc"},
            {"input": [1]},
            {"input": [{}]},
            {"input": [{"type": "Artifact"}]},
            {"input": [{"type": "Artifact", "id": 1}]},
            {"input": [{"type": 1, "id": "1"}]},
            {"output": {"a": 1}},
        ],
    )
    def test_refuses_associations_that_are_none(self, value):
        if not value:
            assert associations_of({"associations": value}, ["input"]) == {"input": []}
            return
        with pytest.raises(InvalidInput, match="associations"):
            associations_of({"associations": value}, ["input", "output"])

    def test_refuses_what_is_no_dict(self):
        with pytest.raises(InvalidInput, match="it must be a dict, not 1"):
            mapping_of(1, "it")
