"""Several server processes, killed ones, and stopped ones: nothing that matters lives in a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
import requests
from tests.server.scene import code
from tests.server.sending import document, read, upload
from tests.services.aistore import AIStorePlace, Someone, aistore

from t9k.em.errors import InvalidInput
from t9k.em.server.serving import run
from t9k.em.server.settings import Settings

CONTENT = {f"{number}.bin": bytes([number]) * 100 for number in range(6)}


@pytest.fixture
def two(server, tmp_path):
    """Another server over the root and the database of the first."""
    with aistore(tmp_path / "second", root=server.settings["root"], database=server.settings["database"]) as second:
        yield server, second


def at(place: AIStorePlace, someone: Someone) -> Someone:
    return Someone(place.url, someone.name, someone.key)


def send(someone, op, keys, **parameters):
    for key in keys:
        answer = someone.ask("PUT", f"uploads/{op}/file", params={"key": key, **parameters}, data=CONTENT[key])
        assert answer.status_code == 204, answer.text


@pytest.mark.long
def test_an_upload_goes_through_several_servers(two, alice):
    one, other = (at(place, alice) for place in two)
    begun = document(f"/{alice.name}/f", "m", CONTENT)
    op = begun["op"]
    assert one.ask("POST", "uploads", json=begun).status_code == 200
    keys = sorted(CONTENT)
    send(other, op, keys[:2])
    send(one, op, keys[2:4])
    send(other, op, keys[4:])
    state = one.ask("POST", f"uploads/{op}/commit").json()
    assert state["outcome"] == "published"
    assert other.ask("POST", f"uploads/{op}/commit").json() == state
    assert other.ask("POST", "uploads", json={**begun, "resumed": True}).json()["outcome"] in ("published", "unchanged")
    for key, data in CONTENT.items():
        assert read(other, state["node"], key).content == data


@pytest.mark.long
def test_a_name_that_is_lost_in_between_is_lost_for_all_servers(two, alice):
    one, other = (at(place, alice) for place in two)
    folder = f"/{alice.name}/f"
    begun = document(folder, "m", CONTENT, strategy="new")
    op = begun["op"]
    for server in (one, other):
        assert server.ask("POST", "uploads", json=begun).status_code == 200
    send(one, op, list(CONTENT)[:3])
    upload(other, folder, "m", {"x": b"x"})
    state = one.ask("POST", f"uploads/{op}/commit").json()
    assert (state["outcome"], state["round"]) == (None, 1)
    send(other, op, state["missing"], round=state["round"])
    state = one.ask("POST", f"uploads/{op}/commit", params={"round": 1}).json()
    assert state["outcome"] == "published"
    assert state["node"]["path"] == f"{folder}/{begun['draft']['alternativeName']}"


@pytest.mark.long
def test_a_killed_server_goes_on_where_it_was(tmp_path):
    with aistore(tmp_path / "killed") as place:
        alice = place.someone()
        begun = document(f"/{alice.name}/f", "m", CONTENT)
        op = begun["op"]
        assert alice.ask("POST", "uploads", json=begun).status_code == 200
        keys = sorted(CONTENT)
        send(alice, op, keys[:3])
        place.kill()
        with pytest.raises(requests.ConnectionError):
            alice.ask("GET", "user")
        place.start()
        assert alice.ask("GET", f"uploads/{op}").json()["missing"] == keys[3:]
        send(alice, op, keys[3:])
        state = alice.ask("POST", f"uploads/{op}/commit").json()
        place.kill()
        place.start()
        for key, data in CONTENT.items():
            assert read(alice, state["node"], key).content == data
        assert len(alice.ask("GET", "nodes/versions", params={"path": state["node"]["path"]}).json()["items"]) == 1


@pytest.mark.long
def test_a_server_that_is_told_to_stop_answers_what_it_accepted(tmp_path):
    with aistore(tmp_path / "stopped") as place:
        alice = place.someone()
        data = b"\1" * 5_000_000
        begun = document(f"/{alice.name}/f", "m", {"w": data})
        alice.ask("POST", "uploads", json=begun)
        parts = urlsplit(place.url)
        assert place.process is not None
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
            head = (
                f"PUT /apis/v1/uploads/{begun['op']}/file?key=w HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {alice.key}\r\nContent-Length: {len(data)}\r\n\r\n"
            )
            connection.sendall(head.encode() + data[:1_000_000])
            time.sleep(0.3)  # until it is being read
            place.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(data[1_000_000:])
            assert connection.recv(4096).startswith(b"HTTP/1.1 204")
        assert place.process.wait(timeout=30) in (0, -signal.SIGTERM)
        place.start()
        assert alice.ask("GET", f"uploads/{begun['op']}").json()["missing"] == []


@pytest.mark.long
def test_several_workers_serve_one_address(tmp_path):
    with aistore(tmp_path / "workers", workers=2) as place:
        alice = place.someone()
        nodes, errors = [], []

        def work(number):
            try:
                nodes.append(upload(at(place, alice), f"/{alice.name}/f", f"m{number}", CONTENT))
            except AssertionError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert len(nodes) == 12
        for node in nodes:
            for key, data in CONTENT.items():
                assert read(alice, node, key).content == data


@pytest.mark.long
def test_a_server_whose_database_is_gone_says_so_and_recovers(tmp_path):
    with aistore(tmp_path / "database") as place:
        alice = place.someone()
        assert alice.ask("GET", "user").status_code == 200
        file = tmp_path / "database" / "server.db"
        os.rename(file, f"{file}.away")
        file.mkdir()
        place.kill()
        with pytest.raises(RuntimeError, match="does not start"):
            place.start()
        place.kill()
        file.rmdir()
        os.rename(f"{file}.away", file)
        place.start()
        assert alice.ask("GET", "user").status_code == 200


def test_the_log_is_lines_of_json_without_secrets(tmp_path):
    with aistore(tmp_path / "logged") as place:
        alice = place.someone()
        node = upload(alice, f"/{alice.name}/private-folder", "m", CONTENT)
        read(alice, node, "0.bin")
        alice.ask("GET", "nodes", params={"path": "/x", "apikey": alice.key})
        code(alice.ask("GET", "nodes", params={"path": "/x"}))
        place.kill()
        lines = [json.loads(line) for line in place.log().splitlines()]
        assert {"request", "route", "status", "ms", "user"} <= lines[-1].keys()
        assert alice.key not in place.log()
        assert "private-folder" not in place.log(), "what a user calls things is nobody's business"


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_address_where_nobody_can_listen_is_told_before_anything_starts(server, host):
    settings = Settings(**{**server.settings, "host": host})
    with pytest.raises(InvalidInput, match=rf"cannot listen on {host}, port {settings.port}: .*--port or --host"):
        run(settings)


def test_prometheus_is_told(server, alice):
    alice.ask("GET", "user")
    text = alice.ask("GET", "/metrics").text
    assert 'em_requests_total{method="GET",route="/apis/v1/user",status="200"}' in text
    assert "em_request_seconds_bucket" in text


@pytest.mark.long
def test_a_server_behind_a_prefix_answers_under_it(tmp_path):
    with aistore(tmp_path / "prefix", root_path="/t9k/aistore/server/") as place:
        alice = place.someone()
        alice.url = place.url.rstrip("/")
        assert alice.url.endswith("/t9k/aistore/server")
        node = upload(alice, f"/{alice.name}/f", "m", CONTENT)
        assert read(alice, node, "1.bin").content == CONTENT["1.bin"]
        alice.url = alice.url[: -len("/t9k/aistore/server")]
        assert alice.ask("GET", "user").status_code == 200, "a proxy may take the prefix away"
