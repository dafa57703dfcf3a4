"""Records of Asset Hub: what can be one, what it is called, and the way to JSON and back."""

from __future__ import annotations

import json
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
    assert data["kind"] == record.kind == type(record).__name__
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
    for name in ("gpt3", "llm/gpt2", "", None):
        with pytest.raises(InvalidName):
            Model(path="model/llm/gpt2", name=name)  # type: ignore[arg-type]


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
