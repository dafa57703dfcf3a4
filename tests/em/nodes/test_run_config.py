"""The run config file: arguments of `create_run` in YAML, each of the right type, or an error that names it."""

from __future__ import annotations

import pytest

from t9k.em.errors import InvalidConfig
from t9k.em.nodes.run_config import MAX_BYTES, read_run_config

WHOLE = """
name: cnn_keras
hparams: &h
  batch_size: 32
  opt: {lr: 1e-3, betas: [0.9, .nan]}
labels:
- Keras
description: Train a simple CNN.
auto_upload: true
folder: cv/mnist
make_folder: no
conflict_strategy: skip
"""


def read(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_run_config(path)


def test_gives_the_arguments_in_it(tmp_path):
    given = read(tmp_path, WHOLE)
    assert given.pop("hparams")["opt"]["lr"] == 0.001
    assert given == {
        "name": "cnn_keras",
        "labels": ["Keras"],
        "description": "Train a simple CNN.",
        "auto_upload": True,
        "folder": "cv/mnist",
        "make_folder": False,
        "conflict_strategy": "skip",
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "name:\nhparams: null\n"])
def test_keys_without_a_value_count_as_missing(tmp_path, text):
    assert read(tmp_path, text) == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("- a\n", "must be a mapping like 'name: mnist', not a list"),
        ("just text", "not a str"),
        ("nmae: x", "unknown key 'nmae'; known are: name, hparams"),
        ("1: x", "unknown key 1"),
        ("name: 3", "needs a string for 'name', not 3"),
        ("hparams: [1]", "needs a mapping for 'hparams'"),
        ("labels: x", "needs a list of strings for 'labels'"),
        ("labels: [1]", "needs a list of strings for 'labels'"),
        ("auto_upload: 1", "needs true or false for 'auto_upload'"),
        ("make_folder: 'yes'", "needs true or false for 'make_folder'"),
        ("name: [", "line 2: .*; correct it"),
        ("name: a\nname: b", "line 2: the key 'name' occurs twice"),
        ("a: !!python/object/apply:os.system [x]", "not allowed, only plain data"),
        (
            "a: &a [x]\n"
            + "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}' if i else '*a'] * 9)}]\n" for i in range(9)),
            "aliases stand for more",
        ),
        (b"name: \xff", "not UTF-8"),
        ("x" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, advice):
    with pytest.raises(InvalidConfig, match=advice):
        read(tmp_path, text)


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, path):
    with pytest.raises(InvalidConfig, match="cannot read the run config .*check the path"):
        read_run_config(tmp_path / path)
