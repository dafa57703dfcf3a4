"""The audit log: who did what, by which key, and nothing secret."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.scene import CONTENT
from tests.server.sending import upload
from tests.services.aistore import AIStorePlace, Someone, aistore

from t9k.em.errors import InvalidInput
from t9k.em.server.audit import MOST_CHARS, AuditLog


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AIStorePlace]:
    directory = tmp_path_factory.mktemp("audited")
    with aistore(directory, audit=str(directory / "audit.jsonl"), allow_query_keys=True) as place:
        yield place


def entries(server: AIStorePlace, count: int, **wanted: str) -> list[dict[str, Any]]:
    """The entries with some fields, when there are so many: they are written after the answer was sent."""
    before = time.monotonic() + 10
    path = server.directory / "audit.jsonl"
    while True:
        # A file that was moved away is back with its next entry.
        text = path.read_text() if path.exists() else ""
        lines = map(json.loads, text.split("\n")[:-1])
        found = [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]
        if len(found) >= count or time.monotonic() > before:
            assert len(found) == count
            return found
        time.sleep(0.01)


def test_tells_who_did_what_by_which_key_and_from_where(audited):
    alice = audited.someone(prefix="alice")
    folder = f"/{alice.name}/mnist"
    node = upload(alice, folder, "cnn", CONTENT)
    at = {"path": node["path"], "generation": node["generation"], "key": "file.bin"}
    answer = alice.ask("GET", "nodes/content", params=at)
    alice.ask("PUT", "shares", json={"path": folder, "kind": "public", "level": "view"})
    alice.ask("DELETE", "nodes", params={"path": node["path"]})
    found = entries(audited, 6, user=alice.name)
    (key,) = audited.accounts.keys(alice.name)
    assert {(line["key_id"], line["address"]) for line in found} == {(key.id, "127.0.0.1")}
    told = {line["operation"]: line for line in found}
    assert list(told) == ["begin", "putBatch", "commit", "content", "share", "delete"]
    assert {told[name]["path"] for name in ("begin", "putBatch", "commit", "content", "delete")} == {node["path"]}
    assert told["commit"]["op"] == told["putBatch"]["op"] == told["begin"]["op"]
    assert (told["content"]["key"], told["content"]["status"]) == ("file.bin", 200)
    assert told["content"]["request"] == answer.headers["X-Request-Id"]
    assert (told["share"]["path"], told["share"]["kind"], told["share"]["level"]) == (folder, "public", "view")
    assert told["delete"]["status"] == 204


def test_tells_who_makes_and_revokes_keys_and_users(audited):
    admin = audited.someone(is_admin=True, prefix="admin")
    made = admin.ask("POST", "keys", json={"scope": "read"}).json()
    admin.ask("DELETE", f"keys/{made['id']}")
    name = f"new{admin.name}"
    admin.ask("POST", "users", json={"name": name})
    admin.ask("PATCH", f"users/{name}", json={"disabled": True})
    found = entries(audited, 4, user=admin.name)
    assert [line["operation"] for line in found] == ["addKey", "revokeKey", "addUser", "changeUser"]
    assert (found[0]["made"], found[0]["scope"], found[1]["id"]) == (made["id"], "read", made["id"])
    assert (found[2]["name"], found[3]["name"], found[3]["disabled"]) == (name, name, True)


def test_whom_a_request_concerns_does_not_stand_in_the_place_of_who_made_it(audited):
    admin, mallory = audited.someone(is_admin=True, prefix="admin"), audited.someone(prefix="mallory")
    group = f"group{admin.name}"
    admin.ask("POST", "groups", json={"name": group})
    admin.ask("PUT", f"groups/{group}/members/{mallory.name}")
    admin.ask("DELETE", f"groups/{group}/members/{mallory.name}")
    _, added, removed = entries(audited, 3, user=admin.name)
    assert [added["operation"], removed["operation"]] == ["addMember", "removeMember"]
    assert (added["name"], added["target_user"], removed["target_user"]) == (group, mallory.name, mallory.name)
    entries(audited, 0, user=mallory.name)


def test_tells_what_was_refused(audited):
    alice, bob = audited.someone(prefix="alice"), audited.someone(prefix="bob")
    assert bob.ask("GET", "nodes", params={"path": f"/{alice.name}/x"}).status_code == 404
    (line,) = entries(audited, 1, user=bob.name)
    assert (line["operation"], line["path"], line["status"]) == ("stat", f"/{alice.name}/x", 404)
    nobody = Someone(audited.url, "nobody", "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab")
    assert nobody.ask("GET", "nodes", params={"path": "/unknown"}).status_code == 401
    (line,) = entries(audited, 1, path="/unknown")
    assert (line["user"], line["key_id"], line["status"]) == ("", "", 401)


def test_holds_no_key_and_only_its_owner_reads_it(audited):
    alice = audited.someone(prefix="alice")
    made = alice.ask("POST", "keys", json={}).json()["key"]
    alice.session.get(f"{audited.url}/apis/v1/user", params={"apikey": alice.key}, headers={"Authorization": ""})
    entries(audited, 2, user=alice.name)
    text = (audited.directory / "audit.jsonl").read_text()
    assert alice.key not in text
    assert made not in text
    assert stat.S_IMODE((audited.directory / "audit.jsonl").stat().st_mode) == 0o600


def test_goes_on_in_a_new_file_when_the_old_one_was_moved_away(audited):
    alice = audited.someone(prefix="alice")
    alice.ask("GET", "user")
    entries(audited, 1, user=alice.name)
    path = audited.directory / "audit.jsonl"
    path.rename(path.with_suffix(".1"))
    alice.ask("GET", "user")
    assert [line["operation"] for line in entries(audited, 1, user=alice.name)] == ["me"]


def test_an_entry_is_bounded_and_one_line(audited):
    alice = audited.someone(prefix="alice")
    path = f"/{alice.name}/" + "x" * 5000
    alice.ask("GET", "nodes", params={"path": path})
    alice.ask("GET", "nodes", params={"path": "/a\u2028b"})
    found = entries(audited, 2, user=alice.name)
    assert [line["path"] for line in found] == [path[:MOST_CHARS], "/a\u2028b"]


def test_without_the_option_there_is_none(server, alice):
    alice.ask("GET", "user")
    assert '"audit"' not in server.log()


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path):
    with pytest.raises(InvalidInput, match="audit log .* cannot be written: .* choose another --audit"):
        AuditLog(str(tmp_path / "missing" / "audit.jsonl"))
