"""What users may have: keys, shares, uploads in progress and bytes, counted however they came or went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.server.sending import document, upload
from tests.services.aistore import AIStorePlace, Someone, aistore

from t9k.em.registry import open_backend
from t9k.em.server.accounts import Quotas
from t9k.em.server.usage import recount

KIB = 1 << 10


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AIStorePlace]:
    """A server of two processes with small quotas."""
    home = tmp_path_factory.mktemp("quotas")
    with aistore(home / "server", workers=2, max_uploads=3, max_shares=2, max_bytes=100 * KIB) as place:
        yield place


@pytest.fixture
def alice(two: AIStorePlace) -> Someone:
    return two.someone(prefix="alice")


@pytest.fixture
def bob(two: AIStorePlace) -> Someone:
    return two.someone(prefix="bob")


def used(user: Someone, what: str = "bytes") -> int:
    found: int = user.ask("GET", "user").json()["quotas"][what]["used"]
    return found


def counted(place: AIStorePlace, user: Someone) -> int | None:
    """What lies in the store."""
    with open_backend(place.settings["root"]) as backend:
        return recount(place.accounts, backend, user.name)


def begin(user: Someone, name: str, contents: dict[str, bytes], **changes: Any) -> tuple[Any, dict[str, Any]]:
    begun = document(f"/{user.name}/f", name, contents, **changes)
    return user.ask("POST", "uploads", json=begun), begun


def assert_exceeded(answer: Any, *said: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "quota_exceeded"), answer.text
    for each in said:
        assert each in answer.json()["error"]["message"]


class TestBytes:
    def test_what_was_published_counts_once_whichever_process_did_it(self, two, alice):
        node = upload(alice, f"/{alice.name}/f", "m", {"a": b"a" * 1000, "b": b"b" * 500})
        assert used(alice) == 1500
        again = document(f"/{alice.name}/f", "m", {"a": b"a" * 1000, "b": b"c" * 700}, strategy="replace")
        again["draft"]["id"] = node["id"]
        alice.ask("POST", "uploads", json=again).raise_for_status()
        assert used(alice) == 2200  # 'a' is there already
        alice.ask("PUT", f"uploads/{again['op']}/file", params={"key": "b"}, data=b"c" * 700).raise_for_status()
        for _ in range(4):  # by both processes
            alice.ask("POST", f"uploads/{again['op']}/commit")
        assert used(alice) == 2200
        assert counted(two, alice) == 2200

    @pytest.mark.long
    def test_what_was_deleted_counts_until_it_is_collected(self, two, alice):
        upload(alice, f"/{alice.name}/f", "m", {"a": b"a" * 1000})
        alice.ask("DELETE", "nodes", params={"path": f"/{alice.name}/f/m"}).raise_for_status()
        assert used(alice) == counted(two, alice) == 1000
        with open_backend(two.settings["root"]) as backend:
            backend.collect(f"/{alice.name}", grace_s=0.0, apply=True)
        assert counted(two, alice) == used(alice) == 0

    def test_an_upload_counts_from_its_beginning_and_what_it_left_until_the_next_count(self, two, alice):
        _, begun = begin(alice, "m", {"a": b"a" * 1000, "b": b"b" * 500})
        assert used(alice) == 1500
        alice.ask("PUT", f"uploads/{begun['op']}/file", params={"key": "b"}, data=b"b" * 500).raise_for_status()
        assert counted(two, alice) == used(alice) == 1500
        assert alice.ask("POST", "uploads", json={**begun, "resumed": True}).status_code == 200
        assert used(alice) == 1500
        alice.ask("DELETE", f"uploads/{begun['op']}").raise_for_status()
        assert counted(two, alice) == used(alice) == 500
        with open_backend(two.settings["root"]) as backend:
            backend.collect(f"/{alice.name}", grace_s=0.0, apply=True)
        assert counted(two, alice) == 0

    def test_too_many_are_refused_before_any_is_sent(self, two, alice):
        upload(alice, f"/{alice.name}/f", "m", {"a": bytes(60 * KIB)})
        answer, _ = begin(alice, "n", {"a": bytes(50 * KIB)})
        assert_exceeded(
            answer, f"/{alice.name} holds {60 * KIB} bytes of at most {100 * KIB}", "em gc", "em server user quota"
        )
        assert (used(alice), used(alice, "uploads")) == (60 * KIB, 0)
        assert begin(alice, "n", {"a": bytes(40 * KIB)})[0].status_code == 200

    def test_uploads_that_begin_at_once_do_not_exceed_them_together(self, alice):
        answers = [begin(alice, f"m{number}", {"a": bytes(40 * KIB)})[0].status_code for number in range(4)]
        assert answers == [200, 200, 403, 403]

    def test_who_uploads_into_the_folder_of_another_takes_room_there(self, alice, bob):
        upload(alice, f"/{alice.name}/f", "m", {})
        share = {"path": f"/{alice.name}/f", "kind": "user", "name": bob.name, "level": "edit"}
        alice.ask("PUT", "shares", json=share).raise_for_status()
        upload(bob, f"/{alice.name}/f", "n", {"a": b"a" * 1000})
        assert (used(alice), used(bob)) == (1000, 0)

    def test_what_is_moved_takes_room_where_it_goes(self, two, alice, bob):
        upload(alice, f"/{alice.name}/f", "m", {"a": bytes(60 * KIB)})
        upload(bob, f"/{bob.name}/g", "n", {"a": bytes(60 * KIB)})
        share = {"path": f"/{bob.name}/g", "kind": "user", "name": alice.name, "level": "edit"}
        bob.ask("PUT", "shares", json=share).raise_for_status()
        move = {"path": f"/{alice.name}/f/m", "folder": f"/{bob.name}/g"}
        assert_exceeded(alice.ask("POST", "nodes/move", json=move), f"/{bob.name} holds")
        two.accounts.set_quotas(bob.name, Quotas(bytes=200 * KIB))
        assert alice.ask("POST", "nodes/move", json=move).status_code == 200
        assert used(bob) == counted(two, bob) == 120 * KIB

    def test_what_a_run_grows_by_counts_and_stops_at_the_limit(self, two, alice):
        two.accounts.set_quotas(alice.name, Quotas(bytes=3 << 20))
        node = upload(alice, f"/{alice.name}/f", "r", {"index.yaml": b"{}"}, kind="Run")
        at = {"path": node["path"], "generation": node["generation"], "key": "log"}
        statuses = []
        for number in range(12):
            answer = alice.ask("POST", "runs/append", params={**at, "start": number << 19}, data=bytes(1 << 19))
            statuses.append(answer.status_code)
        assert statuses.count(403) >= 4
        assert_exceeded(answer)
        grown = counted(two, alice)
        assert grown is not None
        assert grown <= 5 << 20  # each of two processes may have 1 MiB that it has not noted

    def test_what_was_collected_is_room_again_without_a_command(self, two, alice):
        upload(alice, f"/{alice.name}/f", "m", {"a": bytes(90 * KIB)})
        alice.ask("DELETE", "nodes", params={"path": f"/{alice.name}/f/m"}).raise_for_status()
        with open_backend(two.settings["root"]) as backend:
            backend.collect(f"/{alice.name}", grace_s=0.0, apply=True)
        assert begin(alice, "n", {"a": bytes(90 * KIB)})[0].status_code == 200


def test_uploads_under_way_are_bounded_and_those_that_are_known_go_on(two, alice):
    begun = [begin(alice, f"m{number}", {"a": b"a"})[1] for number in range(3)]
    answer, _ = begin(alice, "m3", {"a": b"a"})
    assert_exceeded(answer, "3 uploads in progress", "uploading again", "drop them")
    assert alice.ask("POST", "uploads", json={**begun[0], "resumed": True}).status_code == 200
    alice.ask("DELETE", f"uploads/{begun[0]['op']}").raise_for_status()
    assert begin(alice, "m3", {"a": b"a"})[0].status_code == 200
    two.accounts.set_quotas(alice.name, Quotas(uploads=0))
    assert begin(alice, "m4", {"a": b"a"})[0].status_code == 200


@pytest.mark.long
def test_shares_of_a_home_are_bounded_and_those_that_are_there_change(two, alice, bob):
    upload(alice, f"/{alice.name}/f", "m", {})
    share = {"path": f"/{alice.name}/f", "kind": "public", "name": "", "level": "view"}
    for each in (share, {**share, "kind": "user", "name": bob.name}, {**share, "level": "edit"}):
        assert alice.ask("PUT", "shares", json=each).status_code == 200
    assert_exceeded(
        alice.ask("PUT", "shares", json={**share, "path": f"/{alice.name}/f/m"}), "2 shares", "take some back"
    )
    alice.ask("DELETE", "shares", params={"path": share["path"], "kind": "public"}).raise_for_status()
    assert alice.ask("PUT", "shares", json={**share, "path": f"/{alice.name}/f/m"}).status_code == 200


def test_keys_are_bounded_and_who_asks_is_told_so(two, alice):
    two.accounts.set_quotas(alice.name, Quotas(keys=2))
    assert alice.ask("POST", "keys", json={}).status_code == 201
    assert_exceeded(alice.ask("POST", "keys", json={}), "2 valid API keys", "revoke some")
    assert alice.ask("GET", "user").json()["quotas"]["keys"] == {"used": 2, "most": 2}


def test_who_asks_is_told_what_there_is_and_may_be(alice):
    assert alice.ask("GET", "user").json()["quotas"] == {
        "keys": {"used": 1, "most": 200},
        "shares": {"used": 0, "most": 2},
        "uploads": {"used": 0, "most": 3},
        "bytes": {"used": 0, "most": 100 * KIB},
    }
