"""How many connections there may be, and which one goes when there are too many."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.server.sending import upload
from tests.server.test_exhaustion import connected, memory_bytes, serving
from tests.services.aistore import AIStorePlace, aistore

from t9k.em.server.http import connections
from t9k.em.server.http.crowds import Connections


class Connection:
    def __init__(self) -> None:
        self.is_closed = False

    def give_up(self) -> None:
        self.is_closed = True


def admitted(crowd: Connections, address: str, count: int = 1) -> list[Connection]:
    made = [Connection() for _ in range(count)]
    assert all(crowd.admit(each, address) for each in made)
    return made


class TestConnections:
    def test_one_that_rests_goes_for_a_new_one(self):
        crowd = Connections(3, 3)
        first, second, third = admitted(crowd, "a", 3)
        crowd.work(first)
        admitted(crowd, "b")
        assert [each.is_closed for each in (first, second, third)] == [False, True, False]
        crowd.rest(first)
        admitted(crowd, "b")
        assert [each.is_closed for each in (first, second, third)] == [False, True, True]
        assert len(crowd) == 3

    def test_of_the_address_that_has_most_of_them(self):
        crowd = Connections(5, 5)
        (honest,) = admitted(crowd, "honest")
        many = admitted(crowd, "many", 4)
        admitted(crowd, "new")
        assert (honest.is_closed, [each.is_closed for each in many]) == (False, [True, False, False, False])

    def test_nobody_is_let_in_while_all_have_requests(self):
        crowd = Connections(2, 2)
        for each in admitted(crowd, "a", 2):
            crowd.work(each)
        assert not crowd.admit(Connection(), "b")
        assert len(crowd) == 2

    def test_an_address_replaces_its_own_only(self):
        crowd = Connections(100, 2)
        (other,) = admitted(crowd, "b")
        first, second = admitted(crowd, "a", 2)
        admitted(crowd, "a")
        assert (first.is_closed, second.is_closed, other.is_closed) == (True, False, False)

    def test_leaves_nothing_behind(self):
        crowd = Connections(100, 2)
        for each in admitted(crowd, "a", 2):
            crowd.work(each)
            crowd.leave(each)
            crowd.leave(each)
            crowd.rest(each)
        assert (len(crowd), crowd._counts, crowd._resting) == (0, {}, {})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AIStorePlace]:
    with aistore(tmp_path_factory.mktemp("small"), connections=40, connections_per_address=30) as place:
        yield place


def test_half_open_and_idle_connections_keep_nobody_out(small):
    alice = small.someone()
    with ExitStack() as stack:
        for number in range(120):
            connection = stack.enter_context(connected(small))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" if number % 2 else b"")
        assert alice.ask("GET", "user").status_code == 200


@pytest.mark.long
def test_one_too_many_is_told_so(monkeypatch):
    monkeypatch.setattr(connections.BoundedConnection, "open", Connections(2, 2))
    with serving(pause_s=1.0) as port, ExitStack() as stack:
        busy = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(2)]
        for each in busy:
            each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)  # for both to have begun
        with socket.create_connection(("127.0.0.1", port), timeout=30) as late:
            answer = b"".join(iter(lambda: late.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"too many connections" in answer
        assert all(b" 204 " in each.recv(65536) for each in busy)


@pytest.mark.long
def test_who_does_not_read_loses_the_connection_and_holds_little(tmp_path):
    patch = "import t9k.em.server.http.connections as c; c.WRITE_S = 2.0\n"
    (tmp_path / "sitecustomize.py").write_text(patch)
    with aistore(tmp_path / "server", environment={"PYTHONPATH": str(tmp_path)}) as server:
        alice = server.someone()
        node = upload(alice, f"/{alice.name}/f", "m", {"file.bin": bytes(7 << 20)})
        target = f"/apis/v1/nodes/content?path={node['path']}&generation={node['generation']}&key=file.bin"
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n\r\n".encode()
        before = memory_bytes(server)
        with ExitStack() as stack:
            readers = [stack.enter_context(connected(server)) for _ in range(150)]
            for reader in readers:
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.sendall(request)
            time.sleep(1)
            assert memory_bytes(server) - before < 160 << 20  # 390 MiB when each held two chunks
            at = {"path": node["path"], "generation": node["generation"], "key": "file.bin"}
            assert len(alice.ask("GET", "nodes/content", params=at).content) == 7 << 20
            with pytest.raises(ConnectionError):
                b"".join(iter(lambda: readers[0].recv(1 << 20), b""))


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes():
    code = (
        "import resource; from t9k.em.server.http.crowds import raise_descriptors; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 1000)); print(raise_descriptors(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["744", "1000", "1000"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0
