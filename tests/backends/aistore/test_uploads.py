"""How files travel: small ones in batches, large ones in parts, and on after anything."""

from __future__ import annotations

import io
import os
import random
import threading
from functools import partial
from pathlib import Path

import pytest
from attrs import evolve
from tests.backends.aistore.clients import AT_ONCE, Clients
from tests.services.aistore import Someone, aistore
from tests.services.proxy import Exchange, Proxy

from t9k.em.errors import BackendUnavailable, CorruptData, SourceChanged
from t9k.em.records import Body, Outcome
from t9k.em.testing import finish, make_request, read_node, upload
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.pieces import WORKERS, send_pieces
from t9k_em_backends.aistore.retries import Retries

MIB = 1 << 20
BODY = 5 * MIB  # what the server takes at once, see `over_files`
LARGE = random.Random(1).randbytes(3 * BODY + 12_345)
OUTLASTING = Retries(sleep=lambda seconds: threading.Event().wait(min(seconds, 0.2)), most=100, total_s=60)


def lines(proxy: Proxy, method: str) -> list[str]:
    return [
        exchange.target.partition("?")[0].rpartition("/")[2]
        for exchange in proxy.exchanges
        if exchange.method == method and "/uploads/" in exchange.target
    ]


@pytest.fixture
def proxy(alice: Someone):
    with Proxy(alice.url.removeprefix("http://")) as proxy:
        yield proxy


@pytest.fixture
def backend(alice: Someone, client: Clients, proxy: Proxy) -> AIStoreBackend:
    return client(alice, url=f"http://{proxy.address}", retries=AT_ONCE)


def home(backend: AIStoreBackend) -> str:
    return f"/{backend.whoami()}/default"


def test_small_files_go_together(backend: AIStoreBackend, proxy: Proxy) -> None:
    contents = {f"{number}": os.urandom(number * 100) for number in range(50)}
    node = upload(backend, make_request(home(backend), "m", contents), contents)
    assert read_node(backend, node) == contents
    assert lines(proxy, "PUT") == []
    assert lines(proxy, "POST") == ["batch", "commit"]


def test_a_batch_is_not_larger_than_the_server_takes(backend: AIStoreBackend, proxy: Proxy) -> None:
    contents = {f"{number}": bytes([number]) * MIB for number in range(12)}
    node = upload(backend, make_request(home(backend), "m", contents), contents)
    assert read_node(backend, node) == contents
    assert lines(proxy, "POST") == ["batch"] * 3 + ["commit"]
    assert (
        max(int(exchange.headers["content-length"]) for exchange in proxy.exchanges if exchange.method == "POST")
        <= BODY
    )


def test_a_file_up_to_the_limit_is_one_request_and_a_larger_one_comes_in_parts(
    backend: AIStoreBackend, proxy: Proxy
) -> None:
    contents = {"exact": LARGE[:BODY], "more": LARGE[: BODY + 1], "large": LARGE}
    node = upload(backend, make_request(home(backend), "m", contents), contents)
    assert read_node(backend, node) == contents
    assert sorted(lines(proxy, "PUT")) == ["file"] + ["part"] * 6
    assert "parts" not in lines(proxy, "GET"), "a new upload has none"


def test_a_resumed_upload_sends_no_part_twice(backend: AIStoreBackend, proxy: Proxy) -> None:
    request = make_request(home(backend), "m", {"large": LARGE})
    begun = backend.begin(request)
    proxy.instead = lambda exchange: (
        b"HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n"
        if "/part?" in exchange.target and len(sent(proxy)) > 2
        else None
    )
    with pytest.raises(Exception, match="507"):
        begun.put([(request.files[0], Body.of(LARGE))])
    there = {(part.start, part.size) for part in begun.parts(request.files[0])}
    assert there
    proxy.forget()
    node = upload(backend, evolve(request, resumed=True), {"large": LARGE})
    assert read_node(backend, node) == {"large": LARGE}
    again = {int(exchange.target.partition("start=")[2].partition("&")[0]) for exchange in sent(proxy)}
    assert again == set(range(0, len(LARGE), BODY)) - {start for start, _ in there}


def sent(proxy: Proxy) -> list[Exchange]:
    return [exchange for exchange in proxy.exchanges if "/part?" in exchange.target]


@pytest.mark.long
@pytest.mark.parametrize("size", [100, 2 * MIB, len(LARGE)])
def test_a_file_that_changed_is_not_published(backend: AIStoreBackend, size: int) -> None:
    data = LARGE[:size]
    request = make_request(home(backend), "m", {"f": data})
    begun = backend.begin(request)
    for other in (data[:-1] + b"\0", data[:-1]):
        wrong = Body(size=size, sha256=request.files[0].sha256, open=partial(io.BytesIO, other))
        with pytest.raises(SourceChanged):
            begun.put([(request.files[0], wrong)])
        assert begun.missing == list(request.files)
    node = upload(backend, evolve(request, resumed=True), {"f": data})
    assert read_node(backend, node) == {"f": data}


def test_a_source_that_cannot_seek_is_read_in_order(backend: AIStoreBackend) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 300_000))

    request = make_request(home(backend), "m", {"large": LARGE})
    begun = backend.begin(request)
    begun.put_part(request.files[0], BODY, Body.of(LARGE[BODY : 2 * BODY]))
    resumed = backend.begin(evolve(request, resumed=True))
    resumed.put([(request.files[0], evolve(Body.of(LARGE), open=lambda: Stream(LARGE)))])
    assert resumed.commit() == backend.stat(f"{home(backend)}/m")
    assert read_node(backend, backend.stat(f"{home(backend)}/m")) == {"large": LARGE}


def test_parts_of_one_file_go_at_the_same_time_and_need_bounded_memory() -> None:
    from t9k.em.memory.budget import Budget

    budget = Budget(3 * MIB)
    barrier = threading.Barrier(3, timeout=20)
    most, got = [], {}
    data = os.urandom(9 * MIB)

    def send(start: int, piece: bytes) -> None:
        barrier.wait()
        most.append(budget.taken_bytes)
        got[start] = piece

    send_pieces(Body.of(data), [(start, MIB) for start in range(0, 9 * MIB, MIB)], send, budget, check=True)
    assert b"".join(got[start] for start in sorted(got)) == data
    assert max(most) == 3 * MIB
    assert budget.taken_bytes == 0
    assert WORKERS >= 3


@pytest.mark.parametrize("error", [CorruptData("as on purpose"), KeyboardInterrupt("as on purpose")])
def test_what_stops_one_part_stops_them_all_and_gives_memory_back(error: BaseException) -> None:
    from t9k.em.memory.budget import Budget

    budget = Budget()
    data = os.urandom(20 * 1000)
    tried = []

    def send(start: int, piece: bytes) -> None:
        tried.append(start)
        raise error

    with pytest.raises(type(error), match="on purpose"):
        send_pieces(Body.of(data), [(start, 1000) for start in range(0, 20_000, 1000)], send, budget, check=False)
    assert len(tried) <= WORKERS
    assert budget.taken_bytes == 0


@pytest.mark.long
def test_a_server_that_is_killed_and_started_again_is_outlasted(tmp_path: Path, client: Clients) -> None:
    small = {f"{number}": os.urandom(100) for number in range(30)}
    contents = {**small, "large": LARGE, "more": LARGE[: 2 * BODY]}
    with aistore(tmp_path / "server", body_bytes=BODY) as place:
        someone = place.someone()
        backend = client(someone, retries=OUTLASTING)
        request = make_request(f"/{someone.name}/f", "m", contents)
        begun = backend.begin(request)
        begun.put([(file, Body.of(contents[file.key])) for file in request.files[:10]])
        sending = threading.Thread(target=finish, args=(begun, contents))
        sending.start()
        for _ in range(2):
            place.kill()
            place.start()
        sending.join()
        assert begun.outcome is Outcome.PUBLISHED
        assert read_node(backend, backend.stat(f"/{someone.name}/f/m")) == contents
        assert [node.generation for node in backend.versions(f"/{someone.name}/f/m")] == [1]


@pytest.mark.long
def test_a_database_that_was_lost_costs_nothing_of_an_upload(tmp_path: Path, client: Clients) -> None:
    contents = {"a": b"a", "large": LARGE}
    with aistore(tmp_path / "server", body_bytes=BODY) as place:
        someone = place.someone()
        backend = client(someone, retries=OUTLASTING)
        begun = backend.begin(request := make_request(f"/{someone.name}/f", "m", contents))
        begun.put([(request.files[0], Body.of(b"a"))])
        place.accounts.drop_upload(request.op, someone.name)
        place.kill()
        place.start()
        assert finish(begun, contents).outcome is Outcome.PUBLISHED
        assert read_node(backend, backend.stat(f"/{someone.name}/f/m")) == contents


@pytest.mark.long
def test_a_server_that_stays_away_is_told(tmp_path: Path, client: Clients) -> None:
    with aistore(tmp_path / "server") as place:
        someone = place.someone()
        backend = client(someone, retries=AT_ONCE)
        begun = backend.begin(request := make_request(f"/{someone.name}/f", "m", {"a": b"a"}))
        place.kill()
        with pytest.raises(BackendUnavailable, match="refuses connections"):
            begun.put([(request.files[0], Body.of(b"a"))])
        with pytest.raises(BackendUnavailable, match="refuses connections"):
            begun.commit()


def test_a_child_of_a_fork_has_connections_of_its_own(alice: Someone, client: Clients) -> None:
    backend = client(alice)
    backend.stat("/")
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(20):
                    backend.make_folder(f"/{alice.name}/child-{number}")
                    assert backend.stat(f"/{alice.name}/child-{number}").name == f"child-{number}"
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for _ in range(20):
        assert backend.stat(f"/{alice.name}").name == alice.name
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
