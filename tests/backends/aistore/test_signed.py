"""A server that signs requests sends a client nowhere where only the client can go, and has it say nothing of others."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from tests.backends.aistore.clients import AT_ONCE
from tests.backends.aistore.scripted import VERSION, Reply, Request, Scripted, as_json

from t9k.em import wire
from t9k.em.records import Body, FileEntry, Node, SignedRequest, SignedUpload
from t9k.em.testing import make_request
from t9k.em.uris import parse
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import address_of
from t9k_em_backends.aistore.direct import DIRECT_BYTES
from t9k_em_backends.aistore.signed import Hosts, Refused, check_signed

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"
DATA = random.Random(4).randbytes(DIRECT_BYTES + 1)
NODE = Node(path="/alice/default/m", kind="Run", id="1", generation=1)
FILE = FileEntry(key="f", op="o", size=len(DATA), sha256=Body.of(DATA).sha256)
PUT = SignedRequest(method="PUT", url="https://s3.example/b/k?X-Amz-Signature=s", headers={}, size=5)
ELSEWHERE = Hosts("https://em.example.invalid/t9k")


def check(server: Hosts = ELSEWHERE, method: str = "PUT", **changes: Any) -> None:
    check_signed(evolve(PUT, **changes), method, server)


class TestWhatIsSent:
    def test_what_a_store_needs_is_sent(self) -> None:
        check()
        check(url="https://10.1.2.3:9000/b/k")
        check(url="http://s3.lab/b/k", server=Hosts("http://em.example.invalid"))
        check(headers={"x-amz-checksum-sha256": "a=", "Content-Length": "5", "Content-Type": "text/plain"})
        check(headers={"x-goog-hash": "a", "X-MS-Blob-Type": "b", "If-None-Match": "*", "Content-MD5": "c=="})

    @pytest.mark.parametrize("method", ["DELETE", "POST", "PATCH", "get", "put", "GET", "", "PUT "])
    def test_no_other_method_is(self, method: str) -> None:
        with pytest.raises(Refused, match="another method"):
            check_signed(evolve(PUT, method=method), "PUT", ELSEWHERE)

    @pytest.mark.parametrize(
        "name",
        [
            *("Authorization", "authorization", "AUTHORIZATION", "Proxy-Authorization", "Cookie", "cookie2", "Host"),
            *("X-Forwarded-For", "Transfer-Encoding", "Connection", "Content-Encoding", "Range", "Expect", "X-Api-Key"),
            *("x-amz-", "x-amz-a b", "Metadata-Flavor", "X-aws-ec2-metadata-token", "", "Upgrade", "Referer"),
        ],
    )
    def test_no_header_that_speaks_for_others_is(self, name: str) -> None:
        with pytest.raises(Refused, match="a header that no store needs"):
            check(headers={name: "x"})

    @pytest.mark.parametrize("value", ["a\r\nAuthorization: x", "a\nb", "\0", "é"])
    def test_no_value_that_is_more_than_one_is(self, value: str) -> None:
        with pytest.raises(Refused, match="a header that no store needs"):
            check(headers={"x-amz-meta-a": value})

    def test_no_other_length_is(self) -> None:
        with pytest.raises(Refused, match="another length"):
            check(headers={"Content-Length": "4"})

    @pytest.mark.parametrize(
        "url",
        [
            *("file:///etc/passwd", "ftp://host/a", "https://", "https:///a", "//host/a", "gopher://host", "a", ""),
            *("https://user:pw@host/a", "https://key@host/a", "https://[::1/a", "https://host:99999/a"),
        ],
    )
    def test_nothing_goes_to_what_is_no_store(self, url: str) -> None:
        with pytest.raises(Refused, match="no address|not encrypted"):
            check(url=url)

    def test_nothing_goes_in_the_clear_where_the_server_does_not(self) -> None:
        with pytest.raises(Refused, match="not encrypted"):
            check(url="http://s3.example/k")


class TestWhere:
    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
            *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1:6443", "[64:ff9b::7f00:1]"),
        ],
    )
    def test_nothing_goes_to_this_machine_for_a_server_elsewhere(self, host: str) -> None:
        with pytest.raises(Refused, match="is this machine, and the server is not"):
            check(url=f"https://{host}/k")
        check(url=f"https://{host}/k", server=Hosts("https://localhost:8080"))

    @pytest.mark.parametrize(
        "host",
        [
            *("169.254.169.254", "169.254.1.1", "[fe80::1]", "[::ffff:169.254.169.254]", "100.100.100.200"),
            *("168.63.129.16", "[fd00:ec2::254]", "2852039166", "[64:ff9b::a9fe:a9fe]"),
        ],
    )
    def test_nothing_goes_to_what_only_this_machine_reaches(self, host: str) -> None:
        with pytest.raises(Refused, match="is reached from this machine alone"):
            check(url=f"https://{host}/k")
        with pytest.raises(Refused, match="is reached from this machine alone"):
            check(url=f"https://{host}/k", server=Hosts("https://127.0.0.1"))
        check(url=f"https://{host}/k", server=Hosts("https://169.254.7.7"))


class Scene:
    """A server that names itself by a name of another machine, and has large files sent where a test says."""

    def __init__(self, server: Scripted, url: str) -> None:
        server.version = as_json({**VERSION, "abilities": ["parts", "direct"]})
        server.answers = self.serve
        self.url = url
        self.method = "PUT"
        self.headers: dict[str, str] = {}
        self.through: list[str] = []

    def serve(self, request: Request) -> Reply:
        what = request.what.rpartition("/")[2]
        if what == "uploads":
            return as_json({"op": "o", "outcome": None, "node": None, "missing": ["f"], "round": 0})
        if what == "sign":
            signed = SignedRequest(method=self.method, url=self.url, headers=self.headers, size=len(DATA))
            return as_json(wire.signed_upload_json(SignedUpload(requests=(signed,), token="t")))
        if what == "signed" and request.method == "GET":
            return as_json(
                wire.signed_json(SignedRequest(method="GET", url=self.url, headers=self.headers, size=len(DATA)))
            )
        if what == "content":
            self.through.append("GET")
            first = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            tag = {"ETag": f'"{FILE.sha256}"', "X-Request-Id": "1"}
            return Reply(status=206 if "range" in request.headers else 200, body=DATA[first:], headers=tag)
        if what in ("part", "file"):
            self.through.append("PUT")
        return Reply(status=204)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's name means another machine's address, as far as names are looked up; connections to it come here."""
    known, connect = socket.getaddrinfo, socket.socket.connect

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host == "em.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port or 0))]
        if host == "store.example":
            return known("127.0.0.1", port, *args, **options)
        return known(host, port, *args, **options)

    def to_here(self: socket.socket, address: Any) -> None:
        connect(self, ("127.0.0.1", address[1]) if address[0] == "192.0.2.7" else address)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", to_here)


@pytest.fixture
def bucket() -> Iterator[Scripted]:
    """What listens on this machine, and is none of the server's business."""
    with Scripted(lambda _: Reply(status=200)) as scripted:
        yield scripted


def use(scene: Scene, url: str) -> None:
    """Send a large file, and read it again."""
    with AIStoreBackend(address_of(parse(url), 5), KEY, retries=AT_ONCE) as backend:
        begun = backend.begin(request := make_request("/alice/default", "m", {"f": DATA}))
        begun.put([(request.files[0], Body.of(DATA))])
        assert begun.missing == []
    with AIStoreBackend(address_of(parse(url), 5), KEY, retries=AT_ONCE) as backend:
        assert b"".join(backend.read(NODE, FILE)) == DATA
    assert set(scene.through) == {"GET", "PUT"}


@pytest.mark.usefixtures("named")
class TestAServerElsewhere:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "store.example"])
    def test_reaches_nothing_on_this_machine_by_addresses_or_names(self, bucket: Scripted, host: str) -> None:
        with Scripted() as server:
            scene = Scene(server, f"http://{host}:{bucket.port}/k?X-Amz-Signature=s")
            use(scene, f"http://em.example:{server.port}?insecure=true")
        assert bucket.requests == []


class TestAServerHere:
    @pytest.mark.parametrize("method", ["DELETE", "POST"])
    def test_has_nothing_else_done_than_files_sent_and_read(self, bucket: Scripted, method: str) -> None:
        with Scripted() as server:
            scene = Scene(server, f"http://localhost:{bucket.port}/k?X-Amz-Signature=s")
            scene.method, scene.headers = method, {"Cookie": "a=b"}
            use(scene, server.url)
        assert bucket.requests == []

    @pytest.mark.parametrize("name", ["Authorization", "Cookie", "Host"])
    def test_has_nobody_spoken_for(self, bucket: Scripted, name: str) -> None:
        with Scripted() as server:
            scene = Scene(server, f"http://localhost:{bucket.port}/k?X-Amz-Signature=s")
            scene.headers = {name: "kubernetes.default"}
            use(scene, server.url)
        assert bucket.requests == []

    def test_no_redirect_is_followed(self, bucket: Scripted) -> None:
        headers = {"Location": f"http://127.0.0.1:{bucket.port}/stolen"}
        with Scripted() as server, Scripted(lambda _: Reply(status=307, headers=headers)) as store:
            use(Scene(server, f"http://localhost:{store.port}/k?X-Amz-Signature=s"), server.url)
            assert store.requests
            server.answers = lambda _: Reply(status=308, headers=headers)
            with pytest.raises(OSError, match="redirect"):
                AIStoreBackend(address_of(parse(server.url), 5), KEY, retries=AT_ONCE).stat("/alice")
        assert bucket.requests == []

    def test_a_store_that_is_there_is_used(self) -> None:
        kept: list[bytes] = []

        def keep(request: Request) -> Reply:
            kept.append(request.body)
            return Reply()

        with Scripted() as server, Scripted(keep) as store:
            scene = Scene(server, f"http://localhost:{store.port}/k?X-Amz-Signature=s")
            scene.headers = {"Content-Length": str(len(DATA)), "x-amz-checksum-sha256": "a="}
            with AIStoreBackend(address_of(parse(server.url), 5), KEY, retries=AT_ONCE) as backend:
                begun = backend.begin(request := make_request("/alice/default", "m", {"f": DATA}))
                begun.put([(request.files[0], Body.of(DATA))])
            assert (kept, scene.through) == ([DATA], [])
