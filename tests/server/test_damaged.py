"""Records that somebody damaged in the bucket, or made up: the server answers for all others, and says which they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.server.sending import read, upload

from t9k.em.registry import open_backend

CONTENT = {"a.bin": b"a" * 10}
HOSTILE: dict[str, dict[str, Any]] = {
    "NaN": {"metadata": {"loss": math.nan}},
    "an infinity": {"metadata": {"x": [-math.inf]}},
    "a lone surrogate": {"metadata": {"labels": ["\ud800"]}},
    "a lone surrogate for a kind": {"kind": "\udfff"},
    "a count beyond 64 bits": {"collected": 2**70},
    "a time that is none": {"time": "x"},
    "metadata that are a list": {"metadata": [1]},
}


@pytest.fixture
def folder(alice):
    path = f"/{alice.name}/f"
    for name in ("m", "other"):
        upload(alice, path, name, CONTENT)
    return path


@pytest.fixture
def damage(server, folder):
    """Changes the record of a node in the store."""

    def change(changes: dict[str, Any] | bytes, name: str = "m") -> None:
        path = Path(server.settings["root"].removeprefix("file://")) / f"{folder[1:]}/.em/h/{name}/00000001.json"
        data = changes if isinstance(changes, bytes) else json.dumps(json.loads(path.read_bytes()) | changes).encode()
        path.write_bytes(data)

    return change


def names(who, path):
    answer = who.ask("GET", "nodes/children", params={"path": path})
    assert answer.status_code == 200, answer.text
    return [node["name"] for node in answer.json()["items"]]


@pytest.mark.parametrize("what", HOSTILE)
def test_the_folder_of_a_hostile_record_is_listed_and_deleted(alice, folder, damage, what):
    damage(HOSTILE[what])
    assert names(alice, folder) == ["other"]
    for route in ("nodes", "nodes/versions"):
        told = alice.ask("GET", route, params={"path": f"{folder}/m"})
        assert told.status_code == 500
        assert told.json()["error"]["code"] == "corrupt_manifest"
    assert alice.ask("DELETE", "nodes", params={"path": folder}).json()["error"]["code"] == "conflict"
    assert alice.ask("DELETE", "nodes", params={"path": folder, "recursive": "true"}).status_code == 204
    assert alice.ask("GET", "nodes", params={"path": folder}).status_code == 404


def test_a_node_with_a_damaged_record_is_deleted_and_uploaded_again(alice, folder, damage):
    damage(b"damaged")
    assert alice.ask("DELETE", "nodes", params={"path": f"{folder}/m"}).status_code == 204
    node = upload(alice, folder, "m", CONTENT)
    assert node["generation"] == 3
    assert read(alice, node, "a.bin").content == CONTENT["a.bin"]
    assert names(alice, folder) == ["m", "other"]
    versions = alice.ask("GET", "nodes/versions", params={"path": f"{folder}/m"}).json()["items"]
    assert [version["generation"] for version in versions] == [3, 2]


def test_a_client_lists_and_deletes_beside_a_hostile_record(server, alice, folder, damage):
    damage(HOSTILE["NaN"])
    with open_backend(server.url, api_key=alice.key) as backend:
        assert [node.name for node in backend.list(folder)] == ["other"]
        backend.delete(folder, recursive=True)
        assert not [node for node in backend.list(f"/{alice.name}") if node.name == "f"]
