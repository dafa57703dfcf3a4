"""`Params`: a dict with attributes, which uploads once for every change and refuses what no file can keep."""

from __future__ import annotations

import copy
import enum
import json
import math
import pickle
import threading
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from t9k.em.containers import Params
from t9k.em.errors import EMError, IncompleteWarning, InvalidHparams

Uploads = list[dict[str, Any]]


@pytest.fixture
def uploads() -> Uploads:
    return []


@pytest.fixture
def params(uploads: Uploads) -> Params:
    return Params(uploads.append, {"lr": 0.1, "opt": {"name": "sgd", "betas": (0.9, 0.99)}, "layers": [1, 2]})


START = {"lr": 0.1, "opt": {"name": "sgd", "betas": [0.9, 0.99]}, "layers": [1, 2]}


class TestAccess:
    def test_starts_with_the_initial_ones_and_uploads_nothing(self, params: Params, uploads: Uploads) -> None:
        assert params.as_dict() == START
        assert uploads == []
        assert Params(upload=uploads.append).as_dict() == {}

    def test_items_are_attributes(self, params: Params, uploads: Uploads) -> None:
        params["epochs"] = 10
        params.batch_size = 32
        assert (params.epochs, params["batch_size"]) == (10, 32)
        assert uploads == [{**START, "epochs": 10}, {**START, "epochs": 10, "batch_size": 32}]

    def test_nested_items_are_attributes(self, params: Params, uploads: Uploads) -> None:
        params["opt"]["lr"] = 1
        params.opt.lr = 2
        params["opt"].name = "adam"
        assert [upload["opt"].get("lr") for upload in uploads] == [1, 2, 2]
        assert uploads[-1] == params.as_dict()
        assert params.opt.as_dict() == {"name": "adam", "betas": [0.9, 0.99], "lr": 2}
        assert isinstance(params.opt, Params)

    def test_tuples_stay_tuples_until_they_are_kept(self, params: Params) -> None:
        assert params.opt.betas == (0.9, 0.99)
        assert params.opt.as_dict()["betas"] == [0.9, 0.99]

    def test_deleting_uploads(self, params: Params, uploads: Uploads) -> None:
        del params["lr"]
        del params.opt.name
        del params.layers
        assert uploads[-1] == {"opt": {"betas": [0.9, 0.99]}}
        assert len(uploads) == 3
        with pytest.raises(KeyError):
            del params["lr"]
        with pytest.raises(AttributeError, match="no hyperparameter 'lr'"):
            del params.lr

    def test_is_a_mutable_mapping(self, params: Params) -> None:
        assert isinstance(params, MutableMapping)
        assert dict(params) == {**params}
        assert list(params) == list(params.keys()) == ["lr", "opt", "layers"]
        assert ("lr", 0.1) in params.items()
        assert 0.1 in params.values()
        assert params.keys() & {"lr", "x"} == {"lr"}
        assert "x" not in params
        assert params.get("x", 3) == 3
        assert len(params) == 3

    def test_removing_ways_give_plain_values(self, params: Params, uploads: Uploads) -> None:
        opt = params.pop("opt")
        assert type(opt) is dict
        assert opt == {"name": "sgd", "betas": (0.9, 0.99)}
        assert params.pop("opt", None) is None
        assert params.popitem() == ("layers", [1, 2])
        params.clear()
        params.clear()
        assert [len(upload) for upload in uploads] == [2, 1, 0]
        for empty in (params.popitem, lambda: params.pop("x")):
            with pytest.raises(KeyError):
                empty()

    def test_setdefault_keeps(self, params: Params, uploads: Uploads) -> None:
        assert params.setdefault("lr", 5) == 0.1
        assert uploads == []
        assert params.setdefault("x", 5) == 5
        assert len(uploads) == 1

    @pytest.mark.parametrize("name", ["update", "items", "keys", "as_dict", "parse", "_private", "_state", "__class__"])
    def test_names_of_methods_and_private_ones_are_items_only(
        self, params: Params, uploads: Uploads, name: str
    ) -> None:
        with pytest.raises(AttributeError, match=rf"write \['{name}'\] instead"):
            setattr(params, name, 1)
        with pytest.raises(AttributeError, match=rf"write \['{name}'\] instead"):
            delattr(params, name)
        assert uploads == []
        params[name] = 1
        assert params.as_dict()[name] == 1
        assert callable(params.update)

    def test_a_missing_attribute_suggests_a_near_one(self, params: Params) -> None:
        with pytest.raises(AttributeError, match="no hyperparameter 'layer'; did you mean 'layers'"):
            _ = params.layer
        with pytest.raises(AttributeError, match=r"no hyperparameter 'zzzzzz'$"):
            _ = params.zzzzzz
        with pytest.raises(AttributeError, match="starts with '_'"):
            _ = params._x
        assert not hasattr(params, "x")
        assert {"lr", "update"} <= set(dir(params))

    def test_a_view_follows_its_path(self, params: Params, uploads: Uploads) -> None:
        opt = params.opt
        params["opt"] = {"name": "adam"}
        opt.lr = 1
        assert uploads[-1]["opt"] == {"name": "adam", "lr": 1}
        for gone in (None, 1):
            params["opt"] = gone
            with pytest.raises(KeyError, match=r"hparams\['opt'\] is no dict"):
                opt["lr"] = 2
            assert not hasattr(opt, "lr")
            assert "no dict" in repr(opt)
            assert "update" in dir(opt)

    def test_equals_dicts(self, params: Params) -> None:
        assert params == START
        assert params.__eq__(1) is NotImplemented
        assert START == params  # noqa: SIM300 - the other way round
        assert params == Params(print, START)
        assert params.opt == {"name": "sgd", "betas": (0.9, 0.99)}
        assert params != {**START, "lr": 1}
        assert params != {1: 2}
        assert params.__class__(print, {1: 2}) == {"1": 2}
        assert params != [("lr", 0.1)]
        with pytest.raises(TypeError, match="unhashable"):
            hash(params)

    def test_repr_shows_the_values(self, params: Params) -> None:
        assert repr(params.opt) == "Params({'name': 'sgd', 'betas': (0.9, 0.99)})"
        params.layers.append(params.layers)
        assert "[1, 2, [...]]" in repr(params)

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
    def test_a_copy_is_complete_and_uploads_nothing(self, params: Params, uploads: Uploads, copied: Any) -> None:
        other = copied(params)
        assert other == params
        other.opt.lr = 1
        other.layers.append(3)
        assert uploads == []
        assert params.as_dict() == START
        assert copied(params.as_dict()) == START
        assert copied(params.opt) == START["opt"]


class TestLiveLists:
    def test_a_list_changed_in_place_is_not_lost(self, params: Params, uploads: Uploads) -> None:
        params.layers.append((3, {"a": 1}))
        assert params.as_dict()["layers"] == [1, 2, [3, {"a": 1}]]
        assert uploads == []
        params.lr = 1
        assert uploads[0]["layers"] == [1, 2, [3, {"a": 1}]]

    def test_as_dict_shares_nothing(self, params: Params, uploads: Uploads) -> None:
        taken = params.as_dict()
        taken["layers"].append(9)
        taken["opt"]["name"] = "x"
        params.lr = 0.1
        uploads[0]["layers"].clear()
        assert params.as_dict() == START

    def test_what_is_given_is_copied(self, params: Params) -> None:
        given: dict[str, Any] = {"sizes": [1, [2]], "d": {"a": 1}}
        params.update(given)
        given["sizes"][1].append(3)
        given["d"]["a"] = 2
        assert params["sizes"] == [1, [2]]
        assert params.d.a == 1

    def test_what_is_put_into_a_list_is_converted_with_one_warning(self, params: Params, uploads: Uploads) -> None:
        params.layers.append(object())
        with pytest.warns(IncompleteWarning, match=r"hparams\['layers'\]\[2\] is of type object"):
            kept = params.as_dict()
        params.lr = 1  # where another warning would be an error
        assert uploads[-1]["layers"] == kept["layers"] == [1, 2, "<object object>"]


class TestUpdate:
    def test_uploads_once(self, params: Params, uploads: Uploads) -> None:
        params.update({"a": 1, "b": 2, "opt": {"lr": 1}})
        assert uploads == [{**START, "a": 1, "b": 2, "opt": {"lr": 1}}]

    def test_without_override_only_adds(self, params: Params, uploads: Uploads) -> None:
        params.update(
            {"lr": 9, "new": {"a": 1}, "opt": {"name": "x", "lr": {"b": 2}}, "layers": {"c": 3}}, override=False
        )
        assert uploads == [
            {**START, "new": {"a": 1}, "opt": {"name": "sgd", "betas": [0.9, 0.99], "lr": {"b": 2}}},
        ]
        params.update({"lr": 1, "opt": {"name": "y"}}, False)
        assert len(uploads) == 1, "nothing changed, nothing to upload"

    def test_of_nothing_uploads_nothing(self, params: Params, uploads: Uploads) -> None:
        params.update({})
        assert uploads == []

    def test_of_a_nested_part_uploads_all(self, params: Params, uploads: Uploads) -> None:
        params.opt.update({"lr": 1}, override=False)
        assert uploads == [{**START, "opt": {"name": "sgd", "betas": [0.9, 0.99], "lr": 1}}]

    def test_takes_what_that_of_a_dict_takes(self, params: Params, uploads: Uploads) -> None:
        class Keyed:
            def keys(self) -> list[str]:
                return ["k"]

            def __getitem__(self, key: str) -> str:
                return key.upper()

        params.update(lr=1, a=2)
        params.update({"lr": 2}, lr=3)
        params.update([("b", 4)], c=5)
        params.update(Keyed())
        params.update({"lr": 9}, override=False, a=9, d=6)
        params.update(new_params={"e": 7})
        assert uploads[-1] == {**START, "lr": 3, "a": 2, "b": 4, "c": 5, "k": "K", "d": 6, "e": 7}
        assert len(uploads) == 6

    def test_takes_other_mappings(self, params: Params) -> None:
        params.update(MappingProxyType({"a": OrderedDict(b=1)}))
        params["again"] = params.a
        params["all"] = params
        params.update(Params(print, {"c": 1}))
        assert params.again == {"b": 1}
        assert params["all"]["again"] == {"b": 1}
        assert type(params.as_dict()["a"]) is dict
        params.a.b = 2
        assert params.again.b == 1

    def test_an_upload_that_fails_keeps_the_change(self) -> None:
        def fail(_: object) -> None:
            raise OSError("disk")

        params = Params(fail)
        with pytest.raises(OSError, match="disk"):
            params.lr = 1
        assert params.lr == 1

    def test_upload_may_read_and_its_uploads_come_in_order(self) -> None:
        seen: list[int] = []
        ours = Params(lambda hparams: seen.append(len(ours) if hparams == ours else -1))

        def change(k: int) -> None:
            for i in range(20):
                ours[f"{k}-{i}"] = i

        threads = [threading.Thread(target=change, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == list(range(1, 121))

    def test_iteration_survives_other_threads(self, params: Params) -> None:
        for key in params:
            params[f"{key}2"] = 1
        assert len(params) == 6


class Pair(NamedTuple):
    a: int
    b: int


class Color(str, enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class TestValues:
    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (np.float64(0.5), 0.5),
            (np.float32(0.5), 0.5),
            (np.int64(3), 3),
            (np.bool_(True), True),
            (np.str_("a"), "a"),
            (np.array(2), 2),
            (np.array([[2.5]]), 2.5),
            (Pair(1, 2), [1, 2]),
            (Color.RED, "red"),
            (Size.BIG, 3),
            ([np.int8(1), (np.float16(1), {"a": np.array([1])})], [1, [1.0, {"a": 1}]]),
            (2**63, 2**63),
            ("\x00\n😀", "\x00\n😀"),
            ((), []),
        ],
    )
    def test_become_plain(self, uploads: Uploads, value: Any, kept: Any) -> None:
        Params(uploads.append)["x"] = value
        assert uploads == [{"x": kept}]
        assert repr(uploads[0]["x"]) == repr(kept), "exact types"

    def test_nan_and_infinities_are_kept(self, uploads: Uploads) -> None:
        params = Params(uploads.append, {"a": math.nan, "b": [math.inf, -math.inf]})
        assert math.isnan(params.a)
        assert params.b == [math.inf, -math.inf]
        assert params == params.as_dict()

    @pytest.mark.parametrize("bad", [None, 1, "x", b"x", [1], [("a", 1, 2)], [([], 1)], object, np.zeros(2)])
    def test_what_cannot_be_a_dict_is_refused_before_anything_changes(
        self, params: Params, uploads: Uploads, bad: Any
    ) -> None:
        with pytest.raises(InvalidHparams, match="hparams must be a dict") as caught:
            params.update(bad)
        assert isinstance(caught.value, EMError)
        with pytest.raises(InvalidHparams, match=r"hparams\['opt'\] must be a dict"):
            params.opt.update(bad)
        if bad is not None:
            with pytest.raises(InvalidHparams):
                Params(uploads.append, bad)
        assert params.as_dict() == START
        assert uploads == []

    def test_a_value_may_occur_twice(self, uploads: Uploads) -> None:
        shared = [1]
        Params(uploads.append)["x"] = {"a": shared, "b": [shared, shared]}
        assert uploads == [{"x": {"a": [1], "b": [[1], [1]]}}]

    def test_tensors_without_item_become_numbers(self, uploads: Uploads) -> None:
        class Tensor:  # as those of TensorFlow; the real ones are in tests/frameworks
            def numpy(self) -> Any:
                return np.float32(0.5)

        Params(uploads.append)["x"] = Tensor()
        assert uploads == [{"x": 0.5}]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
hparams = st.dictionaries(text, values, max_size=4)
keys = st.sampled_from(["a", "b", "update", "_x", "é"])


def listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: listed(element) for key, element in value.items()}
    return [listed(element) for element in value] if isinstance(value, (list, tuple)) else value


def filled(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    result = {**new, **old}
    for key in old.keys() & new.keys():
        if isinstance(old[key], dict) and isinstance(new[key], dict):
            result[key] = filled(old[key], new[key])
    return result


@given(hparams)
def test_any_json_comes_back(data: dict[str, Any]) -> None:
    params = Params(print, data)
    assert params.as_dict() == json.loads(json.dumps(data)) == listed(data)
    assert params == data
    assert Params(print, params) == params


@given(hparams, hparams)
def test_update_without_override_is_a_union_that_keeps(old: dict[str, Any], new: dict[str, Any]) -> None:
    params = Params(lambda _: None, old)
    params.update(new, override=False)
    assert params.as_dict() == listed(filled(old, new))


class AgainstADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.uploads: Uploads = []
        self.params = Params(self.uploads.append)
        self.model: dict[str, Any] = {}
        self.changes = 0

    @rule(key=keys, value=values)
    def set_item(self, key: str, value: Any) -> None:
        self.params[key] = value
        self.model[key] = copy.deepcopy(value)
        self.changes += 1

    @rule(key=st.sampled_from(["a", "b", "é"]), value=values)
    def set_attribute(self, key: str, value: Any) -> None:
        setattr(self.params, key, value)
        self.model[key] = copy.deepcopy(value)
        self.changes += 1

    @rule(key=keys, inner=keys, value=values)
    def set_nested(self, key: str, inner: str, value: Any) -> None:
        if isinstance(self.model.get(key), dict):
            self.params[key][inner] = value
            self.model[key][inner] = copy.deepcopy(value)
            self.changes += 1

    @rule(key=keys, value=values)
    def append(self, key: str, value: Any) -> None:
        if isinstance(self.model.get(key), list):
            self.params[key].append(copy.deepcopy(value))
            self.model[key].append(copy.deepcopy(value))

    @rule(new=hparams)
    def update(self, new: dict[str, Any]) -> None:
        self.params.update(new)
        self.model.update(copy.deepcopy(new))
        self.changes += bool(new)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        if key in self.model:
            del self.params[key]
            del self.model[key]
            self.changes += 1
        else:
            with pytest.raises(KeyError):
                del self.params[key]

    @rule(key=keys, default=leaves)
    def pop(self, key: str, default: Any) -> None:
        self.changes += key in self.model
        assert self.params.pop(key, default) == self.model.pop(key, default)

    @precondition(lambda self: self.model)
    @rule()
    def popitem(self) -> None:
        assert self.params.popitem() == self.model.popitem()
        self.changes += 1

    @invariant()
    def same(self) -> None:
        assert self.params.as_dict() == listed(self.model)
        assert list(self.params) == list(self.model)
        assert self.params == self.model
        assert len(self.params) == len(self.model)
        assert len(self.uploads) == self.changes


TestAgainstADict = AgainstADict.TestCase
