"""Who may do what: every route with every role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from attrs import frozen
from tests.server.scene import CONTENT, ROLES, Scene, code, make_scene
from tests.server.sending import document
from tests.services.aistore import Someone

from t9k.em.server.app import bare_app

OPEN = dict.fromkeys(ROLES, 200)
ANYBODY = OPEN | {"nobody": 401}
READERS = {
    "nobody": 401,
    "stranger": 404,
    "passing": 404,
    "viewer": 200,
    "member": 200,
    "editor": 200,
    "owner": 200,
    "admin": 404,
}


def readers(**others: int) -> dict[str, int]:
    return READERS | others


def editors(status: int = 200, **others: int) -> dict[str, int]:
    return readers(viewer=403, member=403, editor=status, owner=status, passing=404, node_editor=404) | others


def own(status: int = 200, **others: int) -> dict[str, int]:
    return readers(viewer=403, member=403, editor=403, owner=status, node_editor=403) | others


def administrators(status: int = 200) -> dict[str, int]:
    return dict.fromkeys(ROLES, 403) | {"nobody": 401, "admin": status}


@frozen
class Row:
    """One kind of request.

    Attributes:
        operation: The `operationId` of its route.
        statuses: Role -> status of the answer.
        ask: Makes the request.
        name: Tells it from others to the same route.
    """

    operation: str
    statuses: dict[str, int]
    ask: Callable[[Someone, Scene, str], requests.Response]
    name: str = ""


def node(scene: Scene, **more: Any) -> dict[str, Any]:
    return {"path": scene.node["path"], "generation": scene.node["generation"], **more}


def run(scene: Scene, **more: Any) -> dict[str, Any]:
    return {"path": scene.run["path"], "generation": scene.run["generation"], **more}


def begun(who: Someone, scene: Scene, role: str) -> str:
    """An upload of somebody: their own where they may, and else that of the owner."""
    del who
    return scene.upload(role if role in ("editor", "owner") else "owner")


def upload_row(operation: str, ask: Callable[[Someone, str], requests.Response], status: int = 204) -> Row:
    """What concerns an upload in progress: whoever did not begin it finds none."""
    statuses = dict.fromkeys(ROLES, 404) | {"nobody": 401, "editor": status, "owner": status}
    return Row(operation, statuses, lambda who, scene, role: ask(who, begun(who, scene, role)))


def put_all(who: Someone, op: str) -> requests.Response:
    return who.ask("PUT", f"uploads/{op}/file", params={"key": "file.bin"}, data=CONTENT["file.bin"])


def committed(who: Someone, op: str) -> requests.Response:
    put_all(who, op)
    return who.ask("POST", f"uploads/{op}/commit")


def joined(who: Someone, op: str) -> requests.Response:
    who.ask("PUT", f"uploads/{op}/part", params={"key": "file.bin", "start": 0}, data=CONTENT["file.bin"])
    return who.ask("POST", f"uploads/{op}/join", json={"key": "file.bin"})


def begin(who: Someone, scene: Scene, name: str, **changes: Any) -> requests.Response:
    return who.ask("POST", "uploads", json=document(scene.shared, name, CONTENT, makeFolder=False, **changes))


def own_key(who: Someone) -> str:
    answer = who.ask("GET", "keys")
    return answer.json()["items"][0]["id"] if answer.ok else "0123456789abcdef"


def grow(who: Someone, scene: Scene) -> requests.Response:
    scene.people["owner"].ask("POST", "runs/append", params=run(scene, key="log", start=0), data=b"x")
    return who.ask("GET", "runs/content", params=run(scene, key="log"))


ROWS = [
    Row("health", OPEN, lambda who, scene, role: who.ask("GET", "/health")),
    Row("ready", OPEN, lambda who, scene, role: who.ask("GET", "/ready")),
    Row("metrics", OPEN, lambda who, scene, role: who.ask("GET", "/metrics")),
    Row("version", OPEN, lambda who, scene, role: who.ask("GET", "version")),
    Row("userinfo", ANYBODY, lambda who, scene, role: who.ask("GET", "/oauth2/userinfo")),
    Row("me", ANYBODY, lambda who, scene, role: who.ask("GET", "user")),
    Row(
        "stat",
        readers(node_editor=200),
        lambda who, scene, role: who.ask("GET", "nodes", params={"path": scene.node["path"]}),
    ),
    Row(
        "stat",
        readers(node_editor=404),
        lambda who, scene, role: who.ask("GET", "nodes", params={"path": scene.other["path"]}),
        "a sibling",
    ),
    Row(
        "stat",
        readers(node_editor=200, passing=200),
        lambda who, scene, role: who.ask("GET", "nodes", params={"path": scene.shared}),
        "the folder",
    ),
    Row("stat", ANYBODY, lambda who, scene, role: who.ask("GET", "nodes", params={"path": "/"}), "the root"),
    Row(
        "children",
        readers(node_editor=200, passing=200),
        lambda who, scene, role: who.ask("GET", "nodes/children", params={"path": scene.shared}),
    ),
    Row(
        "versions",
        readers(node_editor=200),
        lambda who, scene, role: who.ask("GET", "nodes/versions", params={"path": scene.node["path"]}),
    ),
    Row("files", readers(node_editor=200), lambda who, scene, role: who.ask("GET", "nodes/files", params=node(scene))),
    Row(
        "content",
        readers(node_editor=200),
        lambda who, scene, role: who.ask("GET", "nodes/content", params=node(scene, key="file.bin")),
    ),
    Row(
        "signContent",
        {role: 501 if status == 200 else status for role, status in readers(node_editor=200).items()},
        lambda who, scene, role: who.ask("GET", "nodes/content/signed", params=node(scene, key="file.bin")),
    ),
    Row(
        "makeFolder",
        editors(node_editor=403, passing=403),
        lambda who, scene, role: (
            who.ask("POST", "folders", json={"path": f"{scene.shared}/more"})
            if role not in ("node_editor", "passing")
            else who.ask("POST", "folders", json={"path": scene.shared})
        ),
    ),
    Row(
        "makeFolder",
        editors(),
        lambda who, scene, role: who.ask("POST", "folders", json={"path": f"{scene.shared}/unseen"}),
        "one that is not there",
    ),
    Row(
        "damage",
        readers(node_editor=200),
        lambda who, scene, role: who.ask("GET", "nodes/damage", params=node(scene)),
    ),
    Row(
        "reportDamage",
        readers(node_editor=200),
        lambda who, scene, role: who.ask("POST", "nodes/damage", json=node(scene, key="file.bin")),
    ),
    Row(
        "move",
        editors(node_editor=403, editor=403),
        lambda who, scene, role: who.ask(
            "POST", "nodes/move", json={"path": scene.node["path"], "folder": f"/{scene.people['owner'].name}/team"}
        ),
        "out of the share",
    ),
    Row(
        "move",
        editors(node_editor=403),
        lambda who, scene, role: who.ask(
            "POST", "nodes/move", json={"path": scene.node["path"], "folder": f"{scene.shared}/deep"}
        ),
    ),
    Row(
        "delete",
        editors(204, node_editor=403),
        lambda who, scene, role: who.ask("DELETE", "nodes", params={"path": scene.node["path"]}),
    ),
    Row(
        "delete",
        own(204, node_editor=403, passing=403),
        lambda who, scene, role: who.ask("DELETE", "nodes", params={"path": scene.shared, "recursive": True}),
        "the shared folder",
    ),
    Row("begin", editors(node_editor=403, passing=403), lambda who, scene, role: begin(who, scene, "new")),
    Row(
        "begin",
        editors(node_editor=200, passing=403),
        lambda who, scene, role: begin(who, scene, "m", strategy="replace"),
        "an update of the node",
    ),
    upload_row("uploadState", lambda who, op: who.ask("GET", f"uploads/{op}"), 200),
    Row(
        "dropUpload",
        dict.fromkeys(ROLES, 204) | {"nobody": 401},  # of another's nothing is dropped, see below
        lambda who, scene, role: who.ask("DELETE", f"uploads/{begun(who, scene, role)}"),
    ),
    upload_row("putFile", put_all),
    upload_row("putBatch", lambda who, op: who.ask("POST", f"uploads/{op}/batch", data=b"")),
    upload_row(
        "putPart",
        lambda who, op: who.ask("PUT", f"uploads/{op}/part", params={"key": "file.bin", "start": 0}, data=b"01234"),
    ),
    upload_row("parts", lambda who, op: who.ask("GET", f"uploads/{op}/parts", params={"key": "file.bin"}), 200),
    upload_row("joinParts", joined),
    upload_row("signFile", lambda who, op: who.ask("POST", f"uploads/{op}/sign", json={"key": "file.bin"}), 501),
    upload_row(
        "completeSigned", lambda who, op: who.ask("POST", f"uploads/{op}/signed", json={"key": "file.bin"}), 501
    ),
    upload_row("commit", committed, 200),
    Row(
        "append",
        editors(node_editor=200),
        lambda who, scene, role: who.ask("POST", "runs/append", params=run(scene, key="log", start=0), data=b"x"),
    ),
    Row("grown", readers(node_editor=200), lambda who, scene, role: who.ask("GET", "runs/grown", params=run(scene))),
    Row("grownContent", readers(node_editor=200), lambda who, scene, role: grow(who, scene)),
    Row(
        "shares",
        own(node_editor=403),
        lambda who, scene, role: who.ask("GET", "shares", params={"path": scene.node["path"]}),
    ),
    Row(
        "share",
        own(node_editor=403),
        lambda who, scene, role: who.ask(
            "PUT", "shares", json={"path": scene.node["path"], "kind": "public", "level": "view"}
        ),
    ),
    Row(
        "unshare",
        own(204, node_editor=403, passing=403),
        lambda who, scene, role: who.ask(
            "DELETE", "shares", params={"path": scene.shared, "kind": "user", "name": scene.people["viewer"].name}
        ),
    ),
    Row("keys", ANYBODY, lambda who, scene, role: who.ask("GET", "keys")),
    Row(
        "addKey", dict.fromkeys(ROLES, 201) | {"nobody": 401}, lambda who, scene, role: who.ask("POST", "keys", json={})
    ),
    Row(
        "revokeKey",
        dict.fromkeys(ROLES, 404) | {"nobody": 401, "owner": 204},
        lambda who, scene, role: who.ask("DELETE", f"keys/{own_key(scene.people['owner'])}"),
    ),
    Row("users", administrators(), lambda who, scene, role: who.ask("GET", "users")),
    Row(
        "addUser",
        administrators(201),
        lambda who, scene, role: who.ask("POST", "users", json={"name": f"x{scene.group}"}),
    ),
    Row(
        "changeUser",
        administrators(),
        lambda who, scene, role: who.ask("PATCH", f"users/{scene.people['viewer'].name}", json={"disabled": True}),
    ),
    Row("groups", administrators(), lambda who, scene, role: who.ask("GET", "groups")),
    Row(
        "addGroup",
        administrators(201),
        lambda who, scene, role: who.ask("POST", "groups", json={"name": f"x{scene.group}"}),
    ),
    Row("removeGroup", administrators(204), lambda who, scene, role: who.ask("DELETE", f"groups/{scene.group}")),
    Row(
        "addMember",
        administrators(204),
        lambda who, scene, role: who.ask("PUT", f"groups/{scene.group}/members/{scene.people['viewer'].name}"),
    ),
    Row(
        "removeMember",
        administrators(204),
        lambda who, scene, role: who.ask("DELETE", f"groups/{scene.group}/members/{scene.people['member'].name}"),
    ),
]


def test_every_route_has_its_row():
    described = {
        operation["operationId"]
        for operations in bare_app().openapi()["paths"].values()
        for operation in operations.values()
    }
    assert described == {row.operation for row in ROWS}


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.operation} {row.name}".strip())
def test_each_role_gets_what_it_may(server, row):
    assert set(row.statuses) == set(ROLES)
    scene = make_scene(server)
    found = {}
    for role in ROLES:
        answer = row.ask(scene.people[role], scene, role)
        found[role] = answer.status_code
        if answer.status_code >= 400:
            assert (
                code(answer)
                in {
                    401: ("key_missing",),
                    403: ("forbidden",),
                    404: ("not_found", "upload_not_found"),
                    501: ("not_supported",),
                }[answer.status_code]
            )
        elif role != ROLES[-1]:
            scene = make_scene(server)  # what was there before somebody changed it
    assert found == row.statuses


def test_who_drops_the_upload_of_another_changes_nothing(server):
    scene = make_scene(server)
    op = scene.upload("owner")
    assert scene.people["editor"].ask("DELETE", f"uploads/{op}").status_code == 204
    assert committed(scene.people["owner"], op).json()["outcome"] == "published"
