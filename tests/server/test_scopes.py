"""What a key allows of what its user may do: reading only, writing too, or one folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.server.scene import CONTENT, code
from tests.server.sending import document, upload
from tests.services.aistore import AIStorePlace, Someone


@pytest.fixture
def scoped(server: AIStorePlace, alice: Someone) -> Callable[..., Someone]:
    """Alice with another key."""

    def make(**more: Any) -> Someone:
        return Someone(server.url, alice.name, server.accounts.add_key(alice.name, **more)[1])

    return make


@pytest.fixture
def folder(alice: Someone) -> str:
    return f"/{alice.name}/mnist"


@pytest.fixture
def node(alice: Someone, folder: str) -> dict[str, Any]:
    upload(alice, f"/{alice.name}/other", "secret", CONTENT)
    return upload(alice, folder, "cnn", CONTENT)


def test_a_key_that_reads_changes_nothing(alice, scoped, folder, node):
    reader = scoped(scope="read")
    assert reader.ask("GET", "nodes", params={"path": node["path"]}).json()["permission"] == "view"
    at = {"path": node["path"], "generation": node["generation"], "key": "file.bin"}
    assert reader.ask("GET", "nodes/content", params=at).content == CONTENT["file.bin"]
    op = document(folder, "new", CONTENT, makeFolder=False)
    begun = alice.ask("POST", "uploads", json=op)
    assert begun.status_code == 200
    refused = [
        reader.ask("POST", "uploads", json=document(folder, "b", CONTENT, makeFolder=False)),
        reader.ask("PUT", f"uploads/{op['op']}/file", params={"key": "file.bin"}, data=CONTENT["file.bin"]),
        reader.ask("POST", f"uploads/{op['op']}/commit"),
        reader.ask("DELETE", f"uploads/{op['op']}"),
        reader.ask("POST", "folders", json={"path": f"{folder}/x"}),
        reader.ask("DELETE", "nodes", params={"path": node["path"]}),
        reader.ask("POST", "nodes/move", json={"path": node["path"], "folder": f"/{alice.name}/default"}),
        reader.ask("PUT", "shares", json={"path": node["path"], "kind": "public", "level": "view"}),
        reader.ask("GET", "keys"),
        reader.ask("POST", "keys", json={}),
    ]
    assert [(answer.status_code, code(answer)) for answer in refused] == [(403, "forbidden")] * len(refused)
    assert alice.ask("GET", "nodes", params={"path": node["path"]}).json()["generation"] == node["generation"]
    assert alice.ask("GET", f"uploads/{op['op']}").status_code == 200


def test_a_key_that_writes_manages_neither_shares_nor_keys(alice, scoped, folder, node):
    writer = scoped(scope="write")
    upload(writer, folder, "new", CONTENT)
    assert writer.ask("DELETE", "nodes", params={"path": f"{folder}/new"}).status_code == 204
    share = {"path": node["path"], "kind": "public", "level": "view"}
    for answer in (
        writer.ask("PUT", "shares", json=share),
        writer.ask("GET", "shares", params={"path": node["path"]}),
        writer.ask("POST", "keys", json={}),
        writer.ask("GET", "keys"),
    ):
        assert code(answer) == "forbidden"
        assert "scope" in answer.json()["error"]["message"]


def test_a_key_of_one_folder_sees_nothing_else(alice, scoped, folder, node):
    bound = scoped(folder=folder)
    assert bound.ask("GET", "nodes", params={"path": node["path"]}).json()["permission"] == "own"
    upload(bound, f"{folder}/deep", "new", CONTENT)
    listed = [
        [
            (item["name"], item["permission"])
            for item in bound.ask("GET", "nodes/children", params={"path": path}).json()["items"]
        ]
        for path in ("/", f"/{alice.name}", folder)
    ]
    assert listed == [[(alice.name, "pass")], [("mnist", "own")], [("cnn", "own"), ("deep", "own")]]
    outside = f"/{alice.name}/other"
    for answer, status in (
        (bound.ask("GET", "nodes", params={"path": f"{outside}/secret"}), 404),
        (bound.ask("GET", "nodes/children", params={"path": outside}), 404),
        (bound.ask("GET", "nodes/versions", params={"path": f"{outside}/secret"}), 404),
        (bound.ask("POST", "uploads", json=document(outside, "b", CONTENT, makeFolder=False)), 404),
        (bound.ask("POST", "uploads", json=document(f"/{alice.name}/new", "b", CONTENT)), 404),
        (bound.ask("POST", "folders", json={"path": f"{folder}2"}), 404),
        (bound.ask("POST", "nodes/move", json={"path": node["path"], "folder": outside}), 404),
        (bound.ask("POST", "nodes/move", json={"path": f"{outside}/secret", "folder": folder}), 404),
        (bound.ask("DELETE", "nodes", params={"path": folder, "recursive": True}), 403),
        (bound.ask("POST", "keys", json={}), 403),
    ):
        assert answer.status_code == status, answer.text


def test_a_share_reaches_no_further_than_the_key(server, alice, bob, folder, node):
    server.accounts.share(folder, "user", bob.name, "edit", alice.name)
    reader = Someone(server.url, bob.name, server.accounts.add_key(bob.name, scope="read")[1])
    assert reader.ask("GET", "nodes", params={"path": node["path"]}).json()["permission"] == "view"
    items = reader.ask("GET", "nodes/children", params={"path": folder}).json()["items"]
    assert [item["permission"] for item in items] == ["view"]
    assert reader.ask("DELETE", "nodes", params={"path": node["path"]}).status_code == 403
    home = Someone(server.url, bob.name, server.accounts.add_key(bob.name, folder=f"/{bob.name}")[1])
    assert home.ask("GET", "nodes", params={"path": node["path"]}).status_code == 404


def test_an_administrator_needs_a_key_without_bounds(server, admin):
    for more in ({"scope": "write"}, {"folder": f"/{admin.name}"}):
        bound = Someone(server.url, admin.name, server.accounts.add_key(admin.name, **more)[1])
        assert bound.ask("GET", "users").status_code == 403
    assert admin.ask("GET", "users").status_code == 200


def test_keys_are_made_within_the_one_that_asks_and_end_with_it(server, alice):
    made = alice.ask("POST", "keys", json={"note": "job", "scope": "all"}).json()
    assert made["parent"] == alice.ask("GET", "keys").json()["items"][0]["id"]
    child = Someone(server.url, alice.name, made["key"])
    grandchild = child.ask("POST", "keys", json={"scope": "read", "folder": f"/{alice.name}/x"}).json()
    assert (grandchild["scope"], grandchild["folder"], grandchild["parent"]) == ("read", f"/{alice.name}/x", made["id"])
    reader = Someone(server.url, alice.name, grandchild["key"])
    me = reader.ask("GET", "user").json()
    assert (me["scope"], me["folder"]) == ("read", f"/{alice.name}/x")
    assert alice.ask("DELETE", f"keys/{made['id']}").status_code == 204
    assert code(child.ask("GET", "user")) == code(reader.ask("GET", "user")) == "key_revoked"


def test_a_narrow_key_may_revoke_itself_and_no_other(server, alice):
    info, text = server.accounts.add_key(alice.name, scope="read")
    other = server.accounts.add_key(alice.name, scope="read")[0]
    reader = Someone(server.url, alice.name, text)
    assert reader.ask("DELETE", f"keys/{other.id}").status_code == 403
    assert reader.ask("DELETE", f"keys/{info.id}").status_code == 204
    assert code(reader.ask("GET", "user")) == "key_revoked"
