"""A folder that is shared in every way, and somebody for each of them."""

from __future__ import annotations

from typing import Any

import requests
from attrs import define, field
from tests.server.sending import document, upload
from tests.services.aistore import AIStorePlace, Someone

CONTENT = {"file.bin": b"0123456789"}
ROLES = ("nobody", "stranger", "passing", "viewer", "member", "editor", "node_editor", "owner", "admin")


@define
class Scene:
    """Users, the run `/<owner>/team/shared/r`, and the artifacts `/<owner>/team/shared/{m,n}` with `/<owner>/team/shared/deep/d`.

    Attributes:
        people: Role -> user: 'viewer' and 'editor' may view and edit the folder `shared`, 'member' views it as one of a
            group, 'node_editor' edits `m` and `r` alone, and for 'passing' `deep` is on the way to a shared node.
    """

    people: dict[str, Someone]
    shared: str = ""
    group: str = ""
    node: dict[str, Any] = field(factory=dict)
    other: dict[str, Any] = field(factory=dict)
    run: dict[str, Any] = field(factory=dict)

    def upload(self, role: str, **changes: Any) -> str:
        """Begins an upload to the shared folder as somebody who may; gives its op."""
        begun = document(self.shared, "new", CONTENT, makeFolder=False, **changes)
        assert self.people[role].ask("POST", "uploads", json=begun).status_code == 200
        op: str = begun["op"]
        return op


def make_scene(server: AIStorePlace) -> Scene:
    """Makes one with new users."""
    people = {role: server.someone(prefix=role, is_admin=role == "admin") for role in ROLES[1:]}
    people["nobody"] = Someone(server.url, "nobody", "")
    del people["nobody"].session.headers["Authorization"]
    owner = people["owner"]
    shared = f"/{owner.name}/team/shared"
    scene = Scene(people, shared, f"g{owner.name}")
    scene.node = upload(owner, shared, "m", CONTENT)
    scene.other = upload(owner, shared, "n", CONTENT)
    scene.run = upload(owner, shared, "r", CONTENT, kind="Run")
    deep = upload(owner, f"{shared}/deep", "d", CONTENT)
    accounts, by = server.accounts, owner.name
    accounts.add_group(scene.group)
    accounts.add_member(scene.group, people["member"].name)
    accounts.share(shared, "user", people["viewer"].name, "view", by)
    accounts.share(shared, "group", scene.group, "view", by)
    accounts.share(shared, "user", people["editor"].name, "edit", by)
    for node in (scene.node, scene.run):
        accounts.share(node["path"], "user", people["node_editor"].name, "edit", by)
    accounts.share(deep["path"], "user", people["passing"].name, "view", by)
    return scene


def code(answer: requests.Response) -> str:
    """The code of an error."""
    found: str = answer.json()["error"]["code"]
    return found
