"""What a run says of models and datasets of Asset Hub stays what it was on the way through a server."""

from __future__ import annotations

import pytest

from t9k import em
from t9k.ah import core

MODEL = core.Model(path="model/llm/gpt2")
ASSETS = [
    MODEL,
    core.Dataset(path="dataset/text/wiki"),
    core.Branch(asset=MODEL, name="main"),
    core.Tag(asset=MODEL, name="v1"),
    core.Commit(asset=MODEL, id="4e48f2ab"),
]


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: type(asset).__name__)
def test_it_keeps_its_identity_through_upload_and_load(server, alice, asset):
    em.login(alice.url, api_key=alice.key)
    run = em.create_run(name="r")
    run.mark_input(asset)
    run.mark_output(asset)
    run.upload(folder="f", make_folder=True)
    loaded = em.load_run(f"/{alice.name}/f/r")
    assert loaded.associations == run.associations
    (record,) = loaded.associations["input"]
    assert (record["type"], record["reference"]) == (type(asset).__name__, asset.reference)
