"""Records of Asset Hub: what can be one, what it is called, and the way to JSON and back."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t9k.ah import core
from t9k.ah.core import Branch, Commit, Dataset, Folder, Model, Tag, from_dict
from t9k.em.errors import InvalidInput, InvalidName

GPT2 = Model(path="/alice/t9k-assethub/model/llm/gpt2", id="1c0d", labels=["a", "b"], description="small")
MNIST = Dataset(path="dataset/cv/mnist")

names = st.text("abzé0-_. ", min_size=1, max_size=12).filter(lambda name: name == name.strip() and name.strip("."))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
common = {"id": texts, "description": texts, "labels": st.lists(texts.filter(str.strip), max_size=3)}
users = st.one_of(st.just(""), names.map(lambda user: f"/{user}/t9k-assethub/"))


def places(cls: Any, root: str, parts: int) -> st.SearchStrategy[Any]:
    below = st.lists(names, min_size=parts, max_size=parts)
    return st.builds(cls, path=st.builds(lambda user, p: user + "/".join([root, *p]), users, below), **common)


assets = places(Model, "model", 2) | places(Dataset, "dataset", 2)
records = st.one_of(
    assets,
    places(Folder, "model", 1),
    places(Folder, "dataset", 1),
    st.builds(Branch, asset=assets, name=names, **common),
    st.builds(Tag, asset=assets, name=names, **common),
    st.builds(Commit, **{**common, "asset": assets, "id": st.from_regex(r"[0-9a-fA-F]{4,64}", fullmatch=True)}),
)


@given(records)
def test_json_and_back_is_the_same(record: Any) -> None:
    data = json.loads(json.dumps(record.to_dict()))
    assert data == record.to_dict()
    assert from_dict({**data, "from a later version": 1}) == record
    assert type(record).from_dict(data) == record
    assert data["kind"] == type(record).__name__
    assert hash(record) == hash(from_dict(data))


@pytest.mark.parametrize(
    ("record", "reference", "name", "path"),
    [
        (GPT2, "model/llm/gpt2", "gpt2", "/alice/t9k-assethub/model/llm/gpt2"),
        (MNIST, "dataset/cv/mnist", "mnist", "dataset/cv/mnist"),
        (Folder(path="/bob/t9k-assethub/model/llm"), "model/llm", "llm", "/bob/t9k-assethub/model/llm"),
        (Folder(path="dataset/cv", name="cv"), "dataset/cv", "cv", "dataset/cv"),
        (Branch(asset=GPT2, name="main"), "model/llm/gpt2:main", "main", GPT2.path),
        (Branch(asset=MNIST, name="fix/labels"), "dataset/cv/mnist:fix/labels", "fix/labels", MNIST.path),
        (Tag(asset=GPT2, name="v1"), "model/llm/gpt2:v1", "v1", GPT2.path),
        (Commit(asset=MNIST, id="AB12cd"), "dataset/cv/mnist:ab12cd", "ab12cd", MNIST.path),
        (Commit(MNIST, "0123456789ab"), "dataset/cv/mnist:0123456789ab", "01234567", MNIST.path),
    ],
)
def test_reference_name_and_path(record: Any, reference: str, name: str, path: str) -> None:
    assert (record.reference, record.name, record.path) == (reference, name, path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "model",
        "model/llm",
        "dataset/llm/gpt2",
        "model//gpt2",
        "model/llm/gpt2/",
        "model/llm/..",
        "model/./gpt2",
        "model/llm/gpt2:v1",
        "model/llm/a@1",
        "model/llm/a\\b",
        "model/llm/a\n",
        "model/llm/ a",
        "model/llm/\ud800",
        "model/llm/" + "é" * 128,
        "/alice/model/llm/gpt2",
        "/alice",
        "//t9k-assethub/model/llm/gpt2",
        "/alice/t9k-assethub/dataset/llm/gpt2",
        None,
        7,
    ],
)
def test_refuses_what_is_no_path_of_a_model(path: Any) -> None:
    with pytest.raises(InvalidName):
        Model(path=path)


def test_the_name_is_the_end_of_the_path() -> None:
    assert Model(path="model/llm/gpt2", name="gpt2").name == "gpt2"
    for name in ("gpt3", "llm/gpt2", ""):
        with pytest.raises(InvalidName):
            Model(path="model/llm/gpt2", name=name)


@pytest.mark.parametrize("name", ["", "a:b", "a//b", "/a", "a b\x00", None])
@pytest.mark.parametrize("cls", [Branch, Tag])
def test_refuses_names_of_no_branch_or_tag(cls: Any, name: Any) -> None:
    with pytest.raises(InvalidName, match=cls.__name__):
        cls(asset=GPT2, name=name)


@pytest.mark.parametrize("commit_id", ["", "abc", "ghij", "a" * 65, "abcd\n", None, 1234])
def test_refuses_ids_of_no_commit(commit_id: Any) -> None:
    with pytest.raises(InvalidInput, match="4 to 64 hexadecimal digits"):
        Commit(asset=GPT2, id=commit_id)


@pytest.mark.parametrize(
    "arguments",
    [{"labels": "a"}, {"labels": None}, {"labels": [1]}, {"labels": [" "]}, {"id": 1}, {"description": None}],
)
def test_refuses_values_of_other_types(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Model(path="model/llm/gpt2", **arguments)


def test_a_version_belongs_to_a_model_or_dataset() -> None:
    with pytest.raises(InvalidInput, match="Model or Dataset, not Folder"):
        Tag(asset=Folder(path="model/llm"), name="v1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"kind": "model"},
        {"kind": ["Model"]},
        {"kind": "Model"},
        {"kind": "Tag", "name": "v1"},
        {"kind": "Tag", "name": "v1", "asset": None},
        {"kind": "Tag", "name": "v1", "asset": {"kind": "Tag"}},
        {"kind": "Commit", "asset": GPT2.to_dict()},
    ],
)
def test_refuses_data_of_no_record(data: Any) -> None:
    with pytest.raises(InvalidInput):
        from_dict(data)


def test_a_class_takes_its_own_kind_only() -> None:
    with pytest.raises(InvalidInput, match="is a Model, not a Dataset"):
        Dataset.from_dict(GPT2.to_dict())


def test_records_cannot_change() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        GPT2.path = "x"  # type: ignore[misc]
    assert GPT2.labels == ("a", "b")


def test_all_is_the_public_surface() -> None:
    public = {name for name, value in vars(core).items() if getattr(value, "__module__", "") == core.__name__}
    assert {name for name in public if not name.startswith("_")} == set(core.__all__)


class TestAsTheSdkPublishesThem:
    """The calls and attributes of `t9k.ah.core` in TensorStack's reference."""

    FOLDER = Folder("/alice/t9k-assethub/model/llm", "f0", "alice", "Model", "llm", ["x"], "models", "{}")

    def test_a_folder(self) -> None:
        folder = self.FOLDER
        assert (folder.path, folder.id, folder.owner, folder.kind) == (
            "/alice/t9k-assethub/model/llm",
            "f0",
            "alice",
            "Model",
        )
        assert (folder.name, list(folder.labels), folder.description, folder.extra) == ("llm", ["x"], "models", "{}")
        assert folder.alive
        assert Folder("dataset/cv", id_="", owner="bob", asset_kind="Dataset").kind == "Dataset"

    @pytest.mark.parametrize("contradiction", [{"owner": "bob"}, {"asset_kind": "Dataset"}, {"asset_kind": "model"}])
    def test_a_folder_whose_path_says_something_else_is_refused(self, contradiction: dict[str, str]) -> None:
        with pytest.raises(InvalidInput, match="as its path"):
            Folder("/alice/t9k-assethub/model/llm", **contradiction)

    def test_a_model(self) -> None:
        model = Model("1c0d", self.FOLDER, "gpt2", ["a"], "small", "extra")
        assert model == Model(
            id_="1c0d", folder=self.FOLDER, name="gpt2", labels=["a"], description="small", extra="extra"
        )
        assert (model.id, model.folder, model.name, list(model.labels)) == ("1c0d", self.FOLDER, "gpt2", ["a"])
        assert (model.path, model.kind) == ("/alice/t9k-assethub/model/llm/gpt2", "Model")
        assert (model.description, model.extra, model.owner, model.alive) == ("small", "extra", "alice", True)
        assert from_dict(json.loads(json.dumps(model.to_dict()))) == model
        assert GPT2.folder.path == "/alice/t9k-assethub/model/llm"

    def test_a_dataset(self) -> None:
        dataset = Dataset("9a", Folder("dataset/cv"), "mnist", [], "", "")
        assert (dataset.path, dataset.kind, dataset.commit_id) == ("dataset/cv/mnist", "Dataset", "")
        assert Dataset(path="dataset/cv/mnist", commit_id="AB12").commit_id == "ab12"
        with pytest.raises(InvalidInput, match="4 to 64"):
            Dataset(path="dataset/cv/mnist", commit_id="x")

    def test_an_asset_lies_in_its_folder(self) -> None:
        with pytest.raises(InvalidName, match="path .* of a Dataset must be"):
            Dataset("", self.FOLDER, "mnist", [], "", "")
        with pytest.raises(InvalidInput, match="must be a Folder, not str"):
            Model("", "model/llm", "gpt2", [], "", "")  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="does not lie in its folder"):
            Model(folder=self.FOLDER, path="model/llm/gpt2")
        with pytest.raises(InvalidInput, match="needs a folder and a name"):
            Model("1c0d")

    @pytest.mark.parametrize(("cls", "kind"), [(Branch, "branch"), (Tag, "tag")])
    def test_a_branch_and_a_tag(self, cls: type[Branch | Tag], kind: str) -> None:
        ref = cls(GPT2, "v1", "0123456789AB")
        assert (ref.asset, ref.name, ref.commit_id, ref.kind, ref.alive) == (GPT2, "v1", "0123456789ab", kind, True)
        assert from_dict(ref.to_dict()) == ref
        with pytest.raises(InvalidInput, match="4 to 64"):
            cls(GPT2, "v1", "main")

    def test_records_can_be_pickled_copied_and_changed_into_others(self) -> None:
        model = Model("1c0d", self.FOLDER, "gpt2", ["a"], "small", "extra")
        for record in (
            self.FOLDER,
            model,
            Branch(model, "main", "abcd"),
            Tag(MNIST, "v1"),
            Commit(model, "0123456789"),
        ):
            assert pickle.loads(pickle.dumps(record)) == copy.deepcopy(record) == record
            assert attrs.evolve(record, description="new").description == "new"

    def test_a_commit(self) -> None:
        commit = Commit(GPT2, "0123456789ab")
        assert (commit.asset, commit.id, commit.name, commit.kind) == (GPT2, "0123456789ab", "01234567", "commit")
        assert commit.alive
        assert commit == Commit(asset=GPT2, id_="0123456789ab")
