"""Hyperparameters of all kinds: what each becomes, and that none stops a training."""

from __future__ import annotations

import argparse
import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import math
import pathlib
import re
import subprocess
import sys
import types
import uuid
import warnings
from typing import Any
from unittest.mock import Mock

import attrs
import numpy as np
import pandas as pd
import pydantic
import pytest
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from t9k import em
from t9k.em.containers import MAX_BYTES, Params
from t9k.em.errors import IncompleteWarning
from t9k.em.local import yamlfile
from t9k.em.run import Run


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    path: pathlib.Path = pathlib.Path("a/b")


@attrs.define
class Slotted:
    lr: float = 0.1
    color: Color = Color.RED


class Settings(pydantic.BaseModel):
    lr: float = 0.1
    out: pathlib.Path = pathlib.Path("out")


class HuggingFaceConfig:
    """As `transformers.PretrainedConfig`: no mapping, keys that are int, a method `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        return {"id2label": {0: "NEG", 1: "POS"}, "torch_dtype": np.dtype("float32"), "pruned_heads": {}}


class NoForm:
    def __repr__(self) -> str:
        return "NoForm(1)"


class FailingRepr:
    def __repr__(self) -> str:
        raise ValueError("no")


class LongRepr:
    def __repr__(self) -> str:
        return "x" * 1_000_000


class AnythingGoes:
    """Answers every attribute, as proxies and mocks do."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self


class ItemGivesItself:
    def item(self) -> object:
        return self


def function(*args: int, **named: int) -> None: ...


def kept(value: Any) -> Any:
    uploads: list[dict[str, Any]] = []
    Params(uploads.append)["x"] = value
    return uploads[0]["x"]


PIPELINE = sklearn.pipeline.make_pipeline(
    sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LogisticRegression(C=0.5)
)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({0: "NEG", 1: "POS"}, {"0": "NEG", "1": "POS"}),
        ({None: 1, True: 2, 1.5: 3, (1, "a"): 4, Color.BLUE: 5, pathlib.Path("p"): 6},
         {"null": 1, "true": 2, "1.5": 3, "(1, 'a')": 4, "blue": 5, "p": 6}),
        (HuggingFaceConfig(), {"id2label": {"0": "NEG", "1": "POS"}, "torch_dtype": "float32", "pruned_heads": {}}),
        (OmegaConf.create({"a": 1, "b": "${a}", "c": [1, {"d": 2}]}), {"a": 1, "b": 1, "c": [1, {"d": 2}]}),
        (OmegaConf.create([1, [2]]), [1, [2]]),
        (OmegaConf.structured(Optimizer), {"lr": 0.1, "betas": [0.9, 0.99], "path": "a/b"}),
        (OmegaConf.create({"a": "???", "b": "${oc.env:EM_NO_SUCH_VARIABLE}"}),
         {"a": "???", "b": "${oc.env:EM_NO_SUCH_VARIABLE}"}),
        (Optimizer(), {"lr": 0.1, "betas": [0.9, 0.99], "path": "a/b"}),
        (Slotted(), {"lr": 0.1, "color": "RED"}),
        (Settings(), {"lr": 0.1, "out": "out"}),
        (argparse.Namespace(lr=0.1, out=pathlib.Path("o")), {"lr": 0.1, "out": "o"}),
        (types.SimpleNamespace(a=types.SimpleNamespace(b=1)), {"a": {"b": 1}}),
        (collections.defaultdict(int, a=1), {"a": 1}),
        (collections.UserDict({1: 2}), {"1": 2}),
        (collections.deque([1, 2]), [1, 2]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset([2, 1]), [1, 2]),
        ({1: 1, 2: 2}.keys(), [1, 2]),
        (range(3), "range(0, 3)"),
        (Color.RED, "RED"),
        (Color.BLUE, "blue"),
        (dt.datetime(2020, 1, 2, 3, tzinfo=dt.timezone.utc), "2020-01-02T03:00:00+00:00"),
        (dt.date(2020, 1, 2), "2020-01-02"),
        (dt.timedelta(hours=1), "1:00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("0.5"), 0.5),
        (fractions.Fraction(1, 4), 0.25),
        (1 + 2j, "(1+2j)"),
        (b"text", "text"),
        (b"\xff\x00", "ff00"),
        (b"\xff" * 1000, "1000 bytes"),
        (re.compile("a+"), "a+"),
        (np.dtype("float32"), "float32"),
        (np.float32, "numpy.float32"),
        (int, "int"),
        (function, f"{__name__}.function"),
        (Optimizer, f"{__name__}.Optimizer"),
        (math, "math"),
        (len, "len"),
        (functools.partial(function, 1, a=2), {"function": f"{__name__}.function", "0": 1, "a": 2}),
        (np.array([1, 2]), [1, 2]),
        (np.array([]), []),
        (np.array([[0.5, 1]]), [[0.5, 1.0]]),
        (np.zeros((30, 40), np.float32), "ndarray of shape (30, 40), float32"),
        (np.ma.array([1, 2], mask=[False, True]), [1, None]),
        (np.ma.masked, None),
        (np.datetime64("2020-01-01"), "2020-01-01"),
        (np.timedelta64(5, "D"), "5 days"),
        (np.array(["2020-01-01"], "M8[D]"), ["2020-01-01"]),
        (np.complex64(1), "(1+0j)"),
        (np.longdouble(0.5), 0.5),
        (pd.Timestamp("2020-01-01"), "2020-01-01T00:00:00"),
        (pd.NaT, "NaT"),
        (pd.Series([1, 2]), [1, 2]),
        (pd.DataFrame({"a": [1, 2]}), "DataFrame of shape (2, 1)"),
        (array.array("i", [1, 2]), [1, 2]),
        (PIPELINE[1], {**PIPELINE[1].get_params(), "class": "sklearn.linear_model._logistic.LogisticRegression"}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_obvious_form_is_kept_without_a_warning(value: Any, plain: Any) -> None:
    assert kept(value) == plain
    assert repr(kept(value)) == repr(plain) or isinstance(plain, dict), "exact types"


def test_a_pipeline_tells_its_steps_and_their_parameters() -> None:
    steps = kept(PIPELINE)["steps"]
    assert [name for name, _ in steps] == ["standardscaler", "logisticregression"]
    assert steps[1][1]["C"] == 0.5


@pytest.mark.parametrize(
    ("value", "plain", "says"),
    [
        (NoForm(), "NoForm(1)", r"hparams\['x'\] is of type .*NoForm"),
        ([1, {"y": NoForm()}], [1, {"y": "NoForm(1)"}], r"hparams\['x'\]\[1\]\['y'\] is of type"),
        (object(), "<object object>", "is of type object"),
        (FailingRepr(), f"<{__name__}.FailingRepr, whose repr fails with ValueError>", "FailingRepr"),
        (LongRepr(), "x" * 1000 + "... (1000000 characters)", "LongRepr"),
        (AnythingGoes(), None, "AnythingGoes"),
        (Mock(), None, "Mock"),
        (ItemGivesItself(), None, "ItemGivesItself"),
        (pd.NA, "<NA>", "NAType"),
        ((index for index in [1]), None, "generator"),
        ({1: "int", "1": "str"}, {"1 (int)": "int", "1": "str"}, "another key '1'"),
        ({"1": "str", 1: "int", "1 (int)": 0}, {"1": "str", "1 (int)'": "int", "1 (int)": 0}, "another key '1'"),
        ("a\ud800", "a\\ud800", "lone surrogates"),
        ({"\udc00": 1}, {"\\udc00": 1}, "lone surrogates"),
        (1 << 20_000, "an int of 20001 bits", "20001 bits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_rest_becomes_text_with_one_warning(value: Any, plain: Any, says: str) -> None:
    with pytest.warns(IncompleteWarning, match=says) as warned:
        found = kept(value)
    assert plain is None or found == plain
    assert plain is not None or isinstance(found, str)
    assert len(warned) == 1
    assert warned[0].filename == __file__, "the line that gave it"


def test_a_proxy_of_nothing_that_raises_even_for_its_class_becomes_text() -> None:
    class Unbound:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            return "<unbound>"

    with pytest.warns(IncompleteWarning, match="Unbound"):
        assert kept(Unbound()) == "<unbound>"


def test_what_contains_itself_ends() -> None:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)
    with pytest.warns(IncompleteWarning, match=r"hparams\['x'\]\['a'\]\[1\] contains itself"):
        assert kept(value) == {"a": [1, "... (contains itself)"]}


def test_what_is_very_deep_ends() -> None:
    value: Any = 1
    for _ in range(5000):
        value = {"a": value}
    with pytest.warns(IncompleteWarning, match="nested more than 100 deep"):
        found = kept(value)
    assert yamlfile.load(yamlfile.dump(found)) == found


def test_many_are_told_in_one_warning() -> None:
    with pytest.warns(IncompleteWarning, match=r"'a'.*'b'.*'c'.*, and 2 more") as warned:
        Params(print, {name: NoForm() for name in "abcde"})
    assert len(warned) == 1


def test_warnings_that_are_errors_stop_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept(NoForm()) == "NoForm(1)"


@pytest.mark.parametrize(
    "given",
    [
        argparse.Namespace(lr=0.1),
        OmegaConf.create({"lr": 0.1}),
        types.MappingProxyType({"lr": 0.1}),
        [("lr", 0.1)],
        dataclasses.make_dataclass("Config", [("lr", float)])(0.1),
        type("Config", (), {"lr": 0.1, "run": lambda: None, "_x": 1}),
        type("Config", (), {"__init__": lambda self: setattr(self, "lr", 0.1)})(),
    ],
    ids=lambda given: type(given).__name__,
)
def test_all_of_a_runs_hyperparameters_may_be_a_config(given: Any) -> None:
    run = em.create_run(hparams=given)
    run.finish()
    assert em.load_run(run.local).hparams.as_dict() == {"lr": 0.1}


@pytest.mark.long
def test_names_that_are_no_str_find_what_they_set() -> None:
    params: Any = Params(lambda _: None)
    params.update({0: {1: "a"}})
    params[2] = 3
    assert params[0][1] == "a"
    assert 2 in params
    assert params.pop(2) == 3
    del params[0]
    assert params == {}


class TestSize:
    @pytest.mark.long
    def test_what_is_too_large_is_cut_in_the_file_and_the_rest_kept(self) -> None:
        run = Run({"name": "x"})
        with pytest.warns(IncompleteWarning, match=r"hparams\['data'\]\['text'\] takes \d+ bytes and is cut"):
            run.hparams.update({"lr": 0.1, "data": {"text": "é" * (11 << 20), "seed": 1, "rows": list(range(100))}})
        assert len(run.hparams.data.text) == 11 << 20, "the training's own value"
        loaded = em.load_run(run.local).hparams
        assert loaded.lr == 0.1
        assert loaded.data.seed == 1
        assert loaded.data.rows == list(range(100))
        assert loaded.data.text.endswith(f"é... ({11 << 20} characters)")

    @pytest.mark.long
    def test_a_long_list_is_described(self) -> None:
        with pytest.warns(IncompleteWarning, match=r"hparams\['x'\] takes"):
            assert re.fullmatch(r"2000000 elements, \d+ bytes", kept(list(range(2_000_000))))

    @pytest.mark.long
    def test_of_too_many_entries_some_are_left_out(self) -> None:
        with pytest.warns(IncompleteWarning, match=r"hparams\['x'\] has 400000 entries, of which \d+ are left out"):
            found = kept({f"name {index}": index for index in range(400_000)})
        assert 100_000 < len(found) < 400_000

    def test_what_fits_is_left_as_it_is(self) -> None:
        text = "x" * (MAX_BYTES - 10_000)
        assert kept(text) == text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=9) | st.dates()
    | st.timedeltas() | st.complex_numbers() | st.decimals() | st.fractions() | st.uuids() | st.functions(),
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner)
    | st.dictionaries(st.none() | st.integers() | st.text(max_size=3) | st.tuples(st.integers()), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.integers(0, 9) | st.text("0123456789", max_size=1), anything, max_size=4))
@pytest.mark.filterwarnings("ignore::t9k.em.errors.IncompleteWarning")
def test_whatever_is_given_can_be_read_back(given: dict[Any, Any]) -> None:
    plain = Params(print, given).as_dict()
    assert len(plain) == len(given)
    assert repr(yamlfile.load(yamlfile.dump(plain))) == repr(plain)


def test_no_library_is_imported_to_convert() -> None:
    code = (
        "import sys; from t9k.em.containers import Params; Params(print, {'a': object(), 'b': {1: {2}}}); "
        "print([name for name in ('numpy', 'omegaconf', 'torch', 'pandas', 'sklearn', 'argparse') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
