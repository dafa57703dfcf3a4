"""Nodes in the tree: shares, moves, assets."""

from __future__ import annotations

import pytest
from tests.server.scene import code, make_scene
from tests.server.sending import document, read, upload

CONTENT = {"a.bin": b"a" * 10}


@pytest.fixture
def home(alice):
    return f"/{alice.name}"


def share(owner, path, *, user="", group="", level="view"):
    kind = "user" if user else "group" if group else "public"
    answer = owner.ask("PUT", "shares", json={"path": path, "kind": kind, "name": user or group, "level": level})
    assert answer.status_code == 200, answer.text


def names(who, path):
    answer = who.ask("GET", "nodes/children", params={"path": path})
    assert answer.status_code == 200, answer.text
    return {node["name"]: node["permission"] for node in answer.json()["items"]}


def sees(who, path):
    return who.ask("GET", "nodes", params={"path": path}).status_code == 200


class TestShares:
    def test_a_folder_shows_those_who_pass_only_the_way(self, server):
        scene = make_scene(server)
        passing, home = scene.people["passing"], f"/{scene.people['owner'].name}"
        assert names(passing, "/")[home[1:]] == "pass"
        assert names(passing, home) == {"team": "pass"}
        assert names(passing, scene.shared) == {"deep": "pass"}
        assert names(passing, f"{scene.shared}/deep") == {"d": "view"}
        assert names(scene.people["node_editor"], scene.shared) == {"m": "edit", "r": "edit"}
        assert names(scene.people["viewer"], scene.shared) == dict.fromkeys(("m", "n", "r", "deep"), "view")
        assert names(scene.people["editor"], scene.shared) == dict.fromkeys(("m", "n", "r", "deep"), "edit")

    def test_a_share_reaches_what_is_made_later(self, alice, bob, home):
        upload(alice, f"{home}/f", "m", CONTENT)
        share(alice, f"{home}/f", user=bob.name)
        later = upload(alice, f"{home}/f/sub/deep", "later", CONTENT)
        assert read(bob, later, "a.bin").content == CONTENT["a.bin"]

    def test_a_share_of_a_name_says_nothing_of_longer_ones(self, alice, bob, home):
        for name in ("f", "ff", "f-x", "F"):
            alice.ask("POST", "folders", json={"path": f"{home}/{name}"})
        share(alice, f"{home}/f", user=bob.name)
        assert [name for name in ("f", "ff", "f-x", "F") if sees(bob, f"{home}/{name}")] == ["f"]

    def test_a_public_share_reaches_everybody_with_a_key(self, alice, bob, home):
        node = upload(alice, f"{home}/f", "m", CONTENT)
        share(alice, node["path"])
        assert sees(bob, node["path"])
        answer = alice.ask("DELETE", "shares", params={"path": node["path"], "kind": "public"})
        assert answer.status_code == 204
        assert not sees(bob, node["path"])

    def test_an_editor_publishes_under_their_own_name_in_the_home_of_another(self, alice, bob, home):
        share(alice, f"{home}/default", user=bob.name, level="edit")
        node = upload(bob, f"{home}/default", "m", CONTENT, makeFolder=False)
        assert (node["editor"], node["permission"]) == (bob.name, "edit")
        assert read(alice, node, "a.bin").content == CONTENT["a.bin"]

    def test_an_editor_of_one_node_makes_no_other(self, server):
        scene = make_scene(server)
        editor = scene.people["node_editor"]
        changed = {"file.bin": b"changed"}
        node = upload(editor, scene.shared, "m", changed, strategy="replace", makeFolder=False)
        assert (node["generation"], node["editor"]) == (2, editor.name)
        for name, strategy in (("m", "new"), ("other", "replace")):
            answer = editor.ask("POST", "uploads", json=document(scene.shared, name, changed, strategy=strategy))
            assert (answer.status_code, code(answer)) == (403, "forbidden")

    def test_a_deleted_node_takes_its_shares_with_it(self, alice, bob, home):
        node = upload(alice, f"{home}/f", "m", CONTENT)
        share(alice, node["path"], user=bob.name)
        alice.ask("DELETE", "nodes", params={"path": f"{home}/f", "recursive": True})
        upload(alice, f"{home}/f", "m", CONTENT)
        assert not sees(bob, node["path"])

    def test_what_is_not_there_cannot_be_shared(self, alice, bob, home):
        body = {"path": f"{home}/nowhere", "kind": "user", "name": bob.name, "level": "view"}
        assert code(alice.ask("PUT", "shares", json=body)) == "not_found"
        node = upload(alice, f"{home}/f", "m", CONTENT)
        body = {"path": node["path"], "kind": "user", "name": "nobody-of-that-name", "level": "view"}
        assert code(alice.ask("PUT", "shares", json=body)) == "not_found"


class TestMoves:
    def move(self, who, path, folder):
        return who.ask("POST", "nodes/move", json={"path": path, "folder": folder})

    def test_a_node_moves_with_its_versions(self, alice, home):
        upload(alice, f"{home}/f", "m", CONTENT)
        newest = upload(alice, f"{home}/f", "m", {"a.bin": b"second", "b": b"b"}, strategy="replace")
        alice.ask("POST", "folders", json={"path": f"{home}/g"})
        moved = self.move(alice, f"{home}/f/m", f"{home}/g").json()
        assert (moved["path"], moved["id"], moved["size"]) == (f"{home}/g/m", newest["id"], newest["size"])
        assert read(alice, moved, "a.bin").content == b"second"
        versions = alice.ask("GET", "nodes/versions", params={"path": f"{home}/g/m"}).json()["items"]
        assert read(alice, versions[-1], "a.bin").content == CONTENT["a.bin"]
        assert names(alice, f"{home}/f") == {}

    def test_a_folder_moves_with_all_below_it(self, alice, home):
        for path in ("f", "f/sub", "f/sub/deep"):
            upload(alice, f"{home}/{path}", "m", {"where": path.encode()})
        alice.ask("POST", "folders", json={"path": f"{home}/g"})
        assert self.move(alice, f"{home}/f", f"{home}/g").status_code == 200
        assert not sees(alice, f"{home}/f")
        for path in ("f", "f/sub", "f/sub/deep"):
            node = alice.ask("GET", "nodes", params={"path": f"{home}/g/{path}/m"}).json()
            assert read(alice, node, "where").content == path.encode()

    def test_a_moved_node_takes_the_permissions_of_its_new_folder(self, server, alice, bob, home):
        carol = server.someone(prefix="carol")
        node = upload(alice, f"{home}/f", "m", CONTENT)
        alice.ask("POST", "folders", json={"path": f"{home}/g"})
        share(alice, f"{home}/f", user=bob.name)
        share(alice, node["path"], user=bob.name, level="edit")
        share(alice, f"{home}/g", user=carol.name)
        assert self.move(alice, node["path"], f"{home}/g").status_code == 200
        assert not sees(bob, f"{home}/g/m")
        assert sees(carol, f"{home}/g/m")
        again = upload(alice, f"{home}/f", "m", CONTENT)
        assert bob.ask("GET", "nodes", params={"path": again["path"]}).json()["permission"] == "view"

    def test_what_moves_where_it_cannot_stays(self, alice, home):
        node = upload(alice, f"{home}/f", "m", CONTENT)
        upload(alice, f"{home}/g", "m", CONTENT)
        for path, folder, expected in (
            (node["path"], f"{home}/g", "conflict"),
            (node["path"], f"{home}/f", "invalid_input"),
            (node["path"], f"{home}/nowhere", "not_found"),
            (node["path"], f"{home}/g/m", "folder_not_found"),
            (f"{home}/f", f"{home}/f/m", "invalid_input"),
            (f"{home}/nowhere", f"{home}/g", "not_found"),
            (home, f"{home}/g", "forbidden"),
            ("/", f"{home}/g", "forbidden"),
        ):
            answer = self.move(alice, path, folder)
            assert code(answer) == expected, (path, folder, answer.text)
        assert read(alice, node, "a.bin").content == CONTENT["a.bin"]


class TestAssets:
    @pytest.mark.parametrize("kind", ["Model", "Dataset"])
    def test_an_asset_is_a_node_of_storage_type_3(self, alice, home, kind):
        folder = f"{home}/t9k-assethub/{kind.lower()}/nlp"
        draft = {"type": kind, "name": "gpt2", "alternativeName": "gpt2_1", "id": "x", "metadata": {"labels": ["llm"]}}
        node = upload(alice, folder, "gpt2", CONTENT, draft=draft)
        assert (node["type"], node["storageType"], node["labels"]) == (kind, 3, ["llm"])
        (listed,) = alice.ask("GET", "nodes/children", params={"path": folder}).json()["items"]
        assert (listed["type"], listed["storageType"], listed["path"]) == (kind, 3, f"{folder}/gpt2")

    def test_assets_lie_in_asset_hub_and_nothing_else_does(self, alice, home):
        for kind, folder in (
            ("Model", f"{home}/f"),
            ("Model", f"{home}/t9k-assethub/dataset/nlp"),
            ("Model", f"{home}/t9k-assethub/model"),
            ("Dataset", f"{home}/t9k-assethub/dataset/a/b"),
            ("Run", f"{home}/t9k-assethub/model/nlp"),
            ("Artifact", f"{home}/t9k-assethub"),
            ("Artifact", home),
        ):
            begun = document(folder, "t9k-assethub" if folder == home else "m", CONTENT)
            begun["draft"]["type"] = kind
            answer = alice.ask("POST", "uploads", json=begun)
            assert (answer.status_code, code(answer)) == (400, "invalid_input"), (kind, folder)

    def test_moving_keeps_to_that(self, alice, home):
        hub = f"{home}/t9k-assethub"
        model = upload(alice, f"{hub}/model/nlp", "bert", CONTENT, draft=document("", "bert", {}, "Model")["draft"])
        artifact = upload(alice, f"{home}/places", "a", CONTENT)
        for folder in (f"{hub}/model/cv", f"{home}/places/f"):
            alice.ask("POST", "folders", json={"path": folder}).raise_for_status()
        for path, folder in (
            (model["path"], f"{home}/places"),
            (artifact["path"], f"{hub}/model/cv"),
            (f"{hub}/model/nlp", f"{home}/places"),
            (f"{home}/places/f", f"{hub}/model"),
            (upload(alice, f"{home}/places", "t9k-assethub", CONTENT)["path"], home),
        ):
            answer = alice.ask("POST", "nodes/move", json={"path": path, "folder": folder})
            assert (answer.status_code, code(answer)) == (400, "invalid_input"), (path, folder)
            alice.ask("GET", "nodes", params={"path": path}).raise_for_status()
        moved = alice.ask("POST", "nodes/move", json={"path": model["path"], "folder": f"{hub}/model/cv"})
        assert moved.json()["path"] == f"{hub}/model/cv/bert"


class TestDepth:
    def test_what_is_too_deep_is_neither_made_nor_moved_there(self, alice, home):
        deepest = home + "/d" * 63
        assert alice.ask("POST", "folders", json={"path": deepest}).status_code == 200
        for answer in (
            alice.ask("POST", "folders", json={"path": f"{deepest}/d"}),
            alice.ask("POST", "uploads", json=document(deepest, "m", CONTENT)),
        ):
            assert (answer.status_code, code(answer)) == (400, "invalid_name"), answer.text
            assert "at most 64" in answer.text
        upload(alice, f"{home}/f/g", "m", CONTENT)
        answer = alice.ask("POST", "nodes/move", json={"path": f"{home}/f", "folder": home + "/d" * 61})
        assert (answer.status_code, code(answer)) == (400, "invalid_name"), answer.text
        assert sees(alice, f"{home}/f/g/m")
        assert names(alice, home + "/d" * 61) == {"d": "own"}
        assert alice.ask("DELETE", "nodes", params={"path": f"{home}/d", "recursive": True}).status_code == 204
        assert not sees(alice, deepest)


class TestPages:
    def walk(self, who, path, limit):
        pages, after = [], ""
        while after is not None:
            params = {"path": path, "limit": limit, "after": after}
            said = who.ask("GET", "nodes/children", params=params).json()
            pages.append([node["name"] for node in said["items"]])
            after = said["next"]
        return pages

    def test_pages_hold_each_node_once_for_the_owner_and_what_they_may_see_for_others(self, alice, bob, home):
        nodes = [upload(alice, f"{home}/f", name, CONTENT) for name in ("b", "A", "a b", "a-b", "c", "Ü")]
        share(alice, nodes[2]["path"], user=bob.name)
        share(alice, nodes[4]["path"], user=bob.name)
        for limit in (1, 2, 3, 6, 100):
            mine = self.walk(alice, f"{home}/f", limit)
            assert sorted(name for page in mine for name in page) == sorted(node["name"] for node in nodes)
            assert all(len(page) == limit for page in mine[:-1])
            theirs = self.walk(bob, f"{home}/f", limit)
            assert [name for page in theirs for name in page] == ["a b", "c"]
            assert all(len(page) == min(limit, 2) for page in theirs), "what they may not see takes no place"
        alice.ask("DELETE", "nodes", params={"path": nodes[2]["path"]})
        assert self.walk(bob, f"{home}/f", 1) == [["c"]]
        assert code(bob.ask("GET", "nodes/children", params={"path": f"{home}/g"})) == "not_found"

    def test_a_place_that_no_page_gave_is_refused(self, alice, home):
        upload(alice, f"{home}/f", "m", CONTENT)
        for address, path in (("children", f"{home}/f"), ("versions", f"{home}/f/m")):
            answer = alice.ask("GET", f"nodes/{address}", params={"path": path, "after": "../x"})
            assert (answer.status_code, code(answer)) == (400, "invalid_input"), answer.text

    def test_versions_come_page_by_page(self, alice, home):
        for number in range(5):
            upload(alice, f"{home}/f", "m", {"a": b"%d" % number}, strategy="replace")
        found, after = [], ""
        while after is not None:
            params = {"path": f"{home}/f/m", "limit": 2, "after": after}
            said = alice.ask("GET", "nodes/versions", params=params).json()
            found.append([node["generation"] for node in said["items"]])
            after = said["next"]
        assert found == [[5, 4], [3, 2], [1]]
