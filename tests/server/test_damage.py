"""Files that changed or were lost behind a server: it looks itself, tells, and takes them again."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.server.scene import code
from tests.server.sending import document, upload

CONTENT = {"file.bin": b"0123456789"}


@pytest.fixture
def node(alice):
    return upload(alice, f"/{alice.name}/f", "m", CONTENT)


@pytest.fixture
def stored(server, alice, node) -> Path:
    del node
    root = Path(urlsplit(server.settings["root"]).path)
    [path] = (root / alice.name / "f" / "m").glob("*/file.bin")
    return path


def lacking(who, node) -> list[str]:
    answer = who.ask("GET", "nodes/damage", params={"path": node["path"], "generation": node["generation"]})
    return [file["key"] for file in answer.json()["items"]]


def report(who, node, **changes):
    body = {"path": node["path"], "generation": node["generation"], "key": "file.bin", **changes}
    return who.ask("POST", "nodes/damage", json=body)


def begin_again(who, node, **changes):
    request = document(f"/{who.name}/f", "m", CONTENT, **changes)
    request["draft"]["id"] = node["id"]
    return who.ask("POST", "uploads", json=request).json(), request["op"]


class TestReports:
    def test_of_a_file_that_is_right_change_nothing(self, alice, node, stored):
        answer = report(alice, node)
        assert answer.json() == {"damaged": False}
        assert lacking(alice, node) == []
        assert [path.name for path in stored.parent.iterdir()] == ["file.bin"]

    @pytest.mark.parametrize("other", [b"0123456780", b"0123", b"01234567890"])
    def test_of_a_damaged_one_have_the_next_upload_send_it(self, alice, node, stored, other):
        stored.write_bytes(other)
        assert report(alice, node).json() == {"damaged": True}
        assert lacking(alice, node) == ["file.bin"]
        state, op = begin_again(alice, node)
        assert (state["outcome"], state["missing"]) == (None, ["file.bin"])
        sent = alice.ask("PUT", f"uploads/{op}/file", params={"key": "file.bin"}, data=CONTENT["file.bin"])
        assert sent.status_code == 204
        fixed = alice.ask("POST", f"uploads/{op}/commit").json()["node"]
        assert lacking(alice, fixed) == []
        assert report(alice, fixed).json() == {"damaged": False}

    def test_of_a_missing_one_are_right(self, alice, node, stored):
        stored.unlink()
        assert report(alice, node).json() == {"damaged": True}

    def test_of_what_was_never_there_find_nothing(self, alice, node):
        assert code(report(alice, node, key="other")) == "not_found"
        assert code(report(alice, node, generation=7)) == "not_found"
        assert code(report(alice, node, path=f"/{alice.name}/nowhere")) == "not_found"
        assert code(report(alice, node, generation=0)) == "bad_request"


def test_a_missing_file_is_told_without_a_report_and_sent_again(alice, node, stored):
    stored.unlink()
    assert lacking(alice, node) == ["file.bin"]
    state, _ = begin_again(alice, node)
    assert (state["outcome"], state["missing"]) == (None, ["file.bin"])


def test_an_upload_that_compares_bytes_finds_a_changed_one_by_itself(alice, node, stored):
    stored.write_bytes(b"0123456780")
    assert begin_again(alice, node)[0]["outcome"] == "unchanged"
    state, op = begin_again(alice, node, compare="content")
    assert state["missing"] == ["file.bin"]
    again = alice.ask("GET", f"uploads/{op}").json()
    assert again["missing"] == ["file.bin"]
    assert begin_again(alice, node)[0]["missing"] == ["file.bin"], "and everybody knows from then on"
    assert (
        code(alice.ask("POST", "uploads", json=document(f"/{alice.name}/f", "m", CONTENT, compare="x")))
        == "bad_request"
    )


def test_a_folder_that_always_exists_lacks_nothing(alice):
    answer = alice.ask("GET", "nodes/damage", params={"path": f"/{alice.name}", "generation": 0})
    assert answer.json()["items"] == []
