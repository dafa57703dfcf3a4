from __future__ import annotations

import decimal
import enum
import fractions
import json
import math
import warnings

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from t9k.em.errors import InvalidMetric, RecoveredDataWarning
from t9k.em.local import metrics
from t9k.em.local.files import LineAppender
from t9k.em.local.yamlwriter import dump

TIME = "2023-08-17T08:05:24.390002Z"
types = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


def line(value=0.1, step=1, epoch=None, name="loss") -> bytes:
    return metrics.encode({name: value}, step, epoch, TIME)


def entry(value=0.1, step=1, name="loss"):
    return {"value": {name: value}, "sequence": {"step": step, "timestamp": TIME}}


class TestCanonicalType:
    @pytest.mark.parametrize(
        ("canonical", "forms"),
        [
            ("train", ["train", "training"]),
            ("val", ["val", "validate", "validation"]),
            ("test", ["test", "testing", "eval", "evaluate", "evaluation"]),
            ("Training", ["Training"]),
            ("my type/1", ["my type/1"]),
        ],
    )
    def test_forms(self, canonical, forms):
        assert {metrics.canonical_type(form) for form in forms} == {canonical}

    @pytest.mark.parametrize("type_", ["", None, 1, b"train", "a\nb", "\x00", "\x85", "\ud800"])
    def test_refusals(self, type_):
        with pytest.raises(InvalidMetric, match="type of metrics"):
            metrics.canonical_type(type_)


class TestFileName:
    @pytest.mark.parametrize(
        ("type_", "name"),
        [
            ("training", "train.yaml"),
            ("my-own_type.2", "my-own_type.2.yaml"),
            ("Loss", "%4coss.yaml"),
            ("a/b c", "a%2fb%20c.yaml"),
            ("../x", "%2e.%2fx.yaml"),
            (".hidden", "%2ehidden.yaml"),
            ("con", "%63on.yaml"),
            ("lpt1.x", "%6cpt1.x.yaml"),
            ("console", "console.yaml"),
            ("100%", "100%25.yaml"),
            ("é", "%c3%a9.yaml"),
        ],
    )
    def test_is_safe_and_can_be_turned_back(self, type_, name):
        assert metrics.file_name(type_) == name
        assert metrics.type_of(name) == metrics.canonical_type(type_)

    @given(types)
    def test_of_any_type_is_short_and_has_one_case(self, type_):
        name = metrics.file_name(type_)
        assert len(name) <= 255
        assert name.isascii()
        assert name == name.lower()
        assert not set(name) & set('/\\:*?"<>| ')
        assert metrics.type_of(name) in (metrics.canonical_type(type_), None)

    @given(types, types)
    def test_is_never_shared(self, one, other):
        if metrics.canonical_type(one) != metrics.canonical_type(other):
            assert metrics.file_name(one) != metrics.file_name(other)

    def test_of_long_types_is_hashed_and_says_so(self):
        names = [metrics.file_name("x" * n) for n in (200, 201, 10_000)]
        assert len(set(names)) == 3
        assert [metrics.type_of(name) for name in names] == ["x" * 200, None, None]

    @pytest.mark.parametrize("name", ["train", "train.yml", ".yaml", "%ff.yaml", "%0a.yaml"])
    def test_of_other_files_is_refused(self, name):
        with pytest.raises(InvalidMetric, match="not the name of a metrics file"):
            metrics.type_of(name)


class Color(enum.IntEnum):
    RED = 3


class FakeTorchTensor:
    """Duck type of a PyTorch tensor."""

    def __init__(self, *values):
        self.values = values
        self.shape = (len(values),)

    def item(self):
        if len(self.values) != 1:
            raise RuntimeError(f"a Tensor with {len(self.values)} elements cannot be converted to Scalar")
        return self.values[0]

    def numpy(self):
        raise TypeError("can't convert cuda tensor to numpy")


class FakeTensorFlowTensor:
    """Duck type of an eager TensorFlow tensor, which has no `item`."""

    def __init__(self, value):
        self.value = value

    def numpy(self):
        return np.asarray(self.value)


class TestEncode:
    def test_is_one_line_as_specified(self):
        assert metrics.encode({"loss": 0.1, "acc": 1}, 500, 1, TIME).decode() == (
            '- {"value":{"loss":0.1,"acc":1},"sequence":{"epoch":1,"step":500,"timestamp":"' + TIME + '"}}\n'
        )
        assert metrics.encode({}, -1, None, TIME).decode() == (
            '- {"value":{},"sequence":{"step":-1,"timestamp":"' + TIME + '"}}\n'
        )

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (1e-05, "1.0e-5"),
            (1.5e300, "1.5e+300"),
            (-0.0, "-0.0"),
            (math.nan, '"NaN"'),
            (math.inf, '"Infinity"'),
            (-math.inf, '"-Infinity"'),
            (2**63 + 1, "9223372036854775809"),
            (True, "1"),
            (Color.RED, "3"),
            (decimal.Decimal("0.5"), "0.5"),
            (fractions.Fraction(1, 4), "0.25"),
            (np.float64(0.1), "0.1"),
            (np.float32(0.5), "0.5"),
            (np.float16(0.5), "0.5"),
            (np.longdouble(0.5), "0.5"),
            (np.int64(7), "7"),
            (np.bool_(True), "1"),
            (np.array(0.5), "0.5"),
            (np.array([[0.5]]), "0.5"),
            (np.float32("nan"), '"NaN"'),
            (FakeTorchTensor(0.5), "0.5"),
            (FakeTensorFlowTensor(0.5), "0.5"),
            (FakeTensorFlowTensor([3]), "3"),
        ],
    )
    def test_numbers_of_all_libraries(self, value, text):
        assert f'{{"loss":{text}}}'.encode() in line(value)

    @pytest.mark.parametrize(
        "value",
        [
            *[
                "0.1",
                b"1",
                None,
                1j,
                [1],
                {"a": 1},
                object(),
                pytest.param(2**2000, id="huge"),
                decimal.Decimal("sNaN"),
            ],
            *[
                np.array([1, 2]),
                np.array([]),
                np.array("x"),
                np.str_("1"),
                np.complex64(1),
                np.datetime64("2020-01-01"),
            ],
            *[FakeTorchTensor(1, 2), FakeTensorFlowTensor([1, 2]), FakeTensorFlowTensor("x"), FakeTorchTensor(2**2000)],
        ],
    )
    def test_refusals_name_the_metric(self, value):
        with pytest.raises(InvalidMetric, match="metric 'loss'"):
            line(value)

    def test_an_array_is_refused_with_its_shape(self):
        with pytest.raises(InvalidMetric, match=r"not ndarray of shape \(2, 3\); log its mean"):
            line(np.zeros((2, 3)))

    @pytest.mark.parametrize("name", ["", 1, None, "\ud800", ("a",)])
    def test_names(self, name):
        with pytest.raises(InvalidMetric, match="name of .* metric"):
            line(name=name)
        assert b'"loss"' in line(name=np.str_("loss"))

    @pytest.mark.parametrize("value", [[("loss", 1)], None, "loss"])
    def test_metrics_that_are_no_dict(self, value):
        with pytest.raises(InvalidMetric, match="must be a dict"):
            metrics.encode(value, 1, None, TIME)

    @pytest.mark.parametrize(
        "bad", [1.0, True, "1", np.float64(1), np.bool_(True), [1], pytest.param(2**2000, id="huge")]
    )
    def test_steps_must_be_integers(self, bad):
        with pytest.raises(InvalidMetric, match="step"):
            line(step=bad)

    @pytest.mark.parametrize(
        "bad", [math.nan, math.inf, True, "1", np.bool_(True), [1], [1.5, 2], pytest.param(2**2000, id="huge")]
    )
    def test_epochs_must_be_finite_numbers(self, bad):
        with pytest.raises(InvalidMetric, match="epoch"):
            line(epoch=bad)

    @pytest.mark.parametrize("epoch", [0.0, 0.5, 1.0, 1e-9, -2.5, 1e300, np.float32(0.5), np.array(0.5)])
    def test_epochs_may_be_fractions(self, path, epoch):
        for encode in (lambda: line(epoch=epoch), lambda: metrics.encode_now({"loss": 1}, 1, epoch)):
            path.write_bytes(encode())
            [read] = metrics.read(path)
            assert repr(read["sequence"]["epoch"]) == repr(float(epoch))
            assert repr(yaml.safe_load(path.read_bytes())[0]["sequence"]["epoch"]) == repr(float(epoch))

    def test_steps_and_epochs_of_numpy(self):
        assert b'{"epoch":2,"step":1,' in line(step=np.int64(1), epoch=np.array(2))
        with pytest.raises(InvalidMetric, match="step"):
            line(step=None)

    @given(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.floats() | st.integers() | st.sampled_from([1e-6, -3e-7, 1.5e-9, 5e-324, 1e-5, 1e16, 0.0]),
        ),
        st.integers(-(2**64), 2**64),
    )
    @example({'":1e-': 1e-6, "\\": -2e-6, "a": 1e-300}, 1)
    def test_is_one_line_of_yaml_for_any_reader(self, tmp_path_factory, values, step):
        path = tmp_path_factory.mktemp("m") / "train.yaml"
        timed = metrics.encode(values, step, 1, TIME)
        assert json.loads(timed[2:])["sequence"] == {"epoch": 1, "step": step, "timestamp": TIME}
        # `encode_now` goes another way when it has seen the names.
        for data in (timed, *(metrics.encode_now(values, step, 1) for _ in range(2))):
            assert data.count(b"\n") == 1
            expected = json.loads(data[2:])
            for loader in (yaml.SafeLoader, yaml.CSafeLoader):
                assert repr(yaml.load(data, loader)) == repr([expected])
            path.write_bytes(data)
            (read,) = metrics.read(path)
            assert repr(read["value"]) == repr(values)
            assert read["sequence"] == {**expected["sequence"], "epoch": 1, "step": step}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.yaml"


class TestRead:
    def test_an_empty_file(self, path):
        path.write_bytes(b"")
        assert metrics.read(path) == []
        with pytest.raises(FileNotFoundError):
            metrics.read(path.parent / "missing")

    def test_what_was_appended_in_any_order_of_steps(self, path):
        with LineAppender(path) as lines:
            for step in (3, 1, 2):
                lines.append(line(step=step))
        assert metrics.read(path) == [entry(step=3), entry(step=1), entry(step=2)]

    def test_blank_lines_are_nothing(self, path):
        path.write_bytes(b"\n" + line() + b"\n \n" + line())
        assert metrics.read(path) == [entry(), entry()]

    @pytest.mark.parametrize("torn", [line()[:20], line()[:-1], b"-", b"\0" * 100, line()[:20] + b"\0" * 100])
    def test_a_torn_tail_is_left_out_and_reported(self, path, torn):
        path.write_bytes(line() + torn)
        with pytest.warns(RecoveredDataWarning, match=rf"train.yaml: left out line 2, .* \({len(torn)} bytes\)"):
            assert metrics.read(path) == [entry()]

    @pytest.mark.parametrize(
        "damaged",
        [
            line()[:30] + b"\n",
            b"\0" * 50 + line(),
            b"\xff\xfe\n",
            b"- {]}\n",
            b'- {"value": {"loss": "high"}, "sequence": {"step": 1}}\n',
            b'- {"value": {"loss": 1}, "sequence": {"step": 1.5}}\n',
            b'- {"value": {"loss": 1}, "sequence": {"step": 1, "epoch": "2"}}\n',
            b'- {"value": {"loss": 1}, "sequence": {"step": 1, "timestamp": 5}}\n',
            b'- {"value": {"loss": 1}}\n',
            b"- " + b'{"a":' * 5000 + b"\n",
        ],
    )
    def test_damaged_lines_in_the_middle_are_left_out_and_reported(self, path, damaged):
        path.write_bytes(line(step=1) + damaged + damaged + line(step=2) + damaged)
        with pytest.warns(RecoveredDataWarning) as caught:
            assert metrics.read(path) == [entry(step=1), entry(step=2)]
        messages = [str(warning.message) for warning in caught]
        assert f"left out lines 2 to 3, damaged or incomplete ({2 * len(damaged)} bytes)" in messages[0]
        assert "left out line 5" in messages[1]

    def test_iterate_gives_entries_one_by_one(self, path):
        path.write_bytes(line(step=1) * 3)
        entries = metrics.iterate(path)
        assert next(entries) == entry(step=1)
        path.write_bytes(b"")
        entries.close()

    def test_a_null_epoch_is_none(self, path):
        path.write_bytes(b'- {"value": {}, "sequence": {"epoch": null, "step": 1}}\n')
        assert metrics.read(path) == [{"value": {}, "sequence": {"step": 1}}]


class TestForeignFiles:
    ENTRIES = [entry(step=1), entry(2, step=2), entry(math.inf, step=3)]  # noqa: RUF012

    @pytest.mark.parametrize(
        "text",
        [
            dump(ENTRIES),
            yaml.safe_dump(ENTRIES).encode(),
            yaml.safe_dump(ENTRIES, default_flow_style=None, width=40).encode(),
            yaml.safe_dump(ENTRIES, default_flow_style=True, width=9999).encode(),
            yaml.safe_dump(ENTRIES, explicit_start=True).encode(),
            b"# a comment\n" + line(step=1) + line(2, step=2) + line(math.inf, step=3),
            line(step=1) + line(2, step=2).replace(b', "sequence"', b',\n   "sequence"') + line(math.inf, step=3),
            json.dumps([entry(step=1), entry(2, step=2), entry("Infinity", step=3)]).encode(),
        ],
    )
    def test_are_read_as_yaml(self, path, text):
        path.write_bytes(text)
        assert metrics.read(path) == self.ENTRIES

    def test_may_be_appended_to(self, path):
        path.write_bytes(yaml.safe_dump(self.ENTRIES).encode())
        with LineAppender(path) as lines:
            lines.append(line(step=4))
        assert metrics.read(path) == [*self.ENTRIES, entry(step=4)]

    @pytest.mark.parametrize("text", [b"a: 1\nb: 2\n", b"- 1\n- 2\n", b"- a: [\n"])
    def test_that_are_something_else_are_reported_as_damaged(self, path, text):
        path.write_bytes(text)
        with pytest.warns(RecoveredDataWarning, match=rf"left out line.* \({len(text)} bytes\)"):
            assert metrics.read(path) == []

    def test_no_warning_without_damage(self, path):
        path.write_bytes(line())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metrics.read(path)
