"""References: what is cheap to know about them, and their bytes on request, from nowhere that must not be asked."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.em.leaks import told
from tests.em.webserver import web_server
from urllib3 import HTTPResponse

from t9k.em import create_artifact, web
from t9k.em.errors import (
    BackendPermissionError,
    BackendUnavailable,
    InvalidInput,
    InvalidKey,
    InvalidURI,
    NotFound,
    SourceChanged,
    SymlinkError,
)
from t9k.em.objects import references
from t9k.em.objects.references import default_key, describe, fetch_reference
from t9k.em.records import CHUNK_BYTES


@pytest.fixture
def server():
    with web_server() as running:
        yield running


@pytest.fixture
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def loopback_allowed(monkeypatch):
    monkeypatch.setenv("EM_REFERENCE_HOSTS", "127.0.0.1")


pytestmark = pytest.mark.usefixtures("no_proxy", "loopback_allowed")


@pytest.fixture
def hosts(monkeypatch):
    """Host names that resolve as a test says, while connections go to the server on the loopback interface."""
    table: dict[str, str] = {}
    resolve = socket.getaddrinfo
    connect = socket.socket.connect

    def getaddrinfo(host, port, *args, **kwargs):
        return resolve(table.get(host, host), port, *args, **kwargs)

    def connect_locally(self, address):
        return connect(self, ("127.0.0.1", *address[1:]) if address[0] in table.values() else address)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect_locally)
    return table


def fetch(uri: str, directory: Path, key: str = "data/corpus.bin", **recorded: object) -> Path:
    return Path(str(fetch_reference(key, {"uri": uri, **recorded}, directory)))


def self_signed(directory: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    path = directory / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return path


def files_below(directory: Path) -> list[Path]:
    return [path for path in (directory / ".em").rglob("*") if path.is_file()]


class TestDefaultKey:
    @pytest.mark.parametrize(
        ("uri", "key"),
        [
            ("https://host/a/b.tar", "b.tar"),
            ("s3://bucket/deep/er/model.pt?versionId=3#part", "model.pt"),
            ("https://host/a%20b%23.txt", "a b#.txt"),
            ("file:///data/%E6%95%B0.txt", "数.txt"),
            ("https://host/100%25", "100%"),
        ],
    )
    def test_is_the_last_component_decoded(self, uri, key):
        assert default_key(uri) == key

    @pytest.mark.parametrize("uri", ["https://host/", "https://host", "s3://bucket/a/", "https://host/?a=/b"])
    def test_without_a_last_component_asks_for_obj_path(self, uri):
        with pytest.raises(InvalidKey, match="give a key for it as obj_path"):
            default_key(uri)

    @pytest.mark.parametrize("last", ["%2e%2e", "a%2Fb", "..%2f..", "con", "%00", "a%5Cb", "C:"])
    def test_that_cannot_be_a_key_asks_for_obj_path(self, last):
        with pytest.raises(InvalidKey, match="as obj_path"):
            default_key(f"https://host/{last}")

    def test_is_not_needed_with_an_obj_path(self, monkeypatch):
        monkeypatch.setattr(references, "describe", lambda uri: {})
        artifact = create_artifact("corpus")
        artifact.add_reference("https://host/", "index.html")
        artifact.add_reference("s3://bucket/a%2Fb", "plain")
        assert [data["key"] for data in artifact.objects] == ["index.html", "plain"]


class TestDescribe:
    def test_of_a_file_gives_size_and_time_of_change(self, tmp_path):
        path = tmp_path / "a b.bin"
        path.write_bytes(b"12345")
        os.utime(path, (1, 1692259524.390002))
        assert describe(path.as_uri()) == {"size": 5, "last_modified": "2023-08-17T08:05:24.390002Z"}

    @pytest.mark.parametrize(
        "uri", ["file:///nowhere/at/all", "file:///", "file://host/x", "file:///a%00b", "s3://b/k"]
    )
    def test_of_what_cannot_be_looked_at_is_empty(self, uri):
        assert describe(uri) == {}

    def test_of_a_page_keeps_what_the_server_says(self, server):
        uri = server.serve("/x", b"123", ETag='W/"a"', Last_Modified="Thu, 17 Aug 2023 08:05:24 GMT")
        assert describe(uri) == {"size": 3, "etag": 'W/"a"', "last_modified": "Thu, 17 Aug 2023 08:05:24 GMT"}
        assert server.asked == ["HEAD /x"]

    def test_of_compressed_bytes_is_empty(self, server):
        assert describe(server.serve("/x", b"123", Content_Encoding="gzip", ETag="e")) == {}

    def test_asks_the_private_host_that_its_user_typed(self, server, monkeypatch):
        monkeypatch.delenv("EM_REFERENCE_HOSTS")
        assert describe(server.serve("/x", b"123")) == {"size": 3}

    def test_leaves_out_headers_that_no_file_should_keep(self, server):
        assert describe(server.serve("/x", b"12", ETag="e" * 2000, Last_Modified="a\x9bb")) == {"size": 2}

    @pytest.mark.parametrize("size", ["-1", "1e3", "9" * 4500, "٣", ""])
    def test_leaves_out_a_size_that_is_none(self, server, size):
        def answer(request):
            request.send_response(200)
            request._headers_buffer.append(f"Content-Length: {size}\r\n".encode())
            request.end_headers()

        server.answers["/x"] = answer
        assert describe(server.uri("/x")) == {}

    def test_follows_redirects(self, server):
        server.serve("/c", b"1234")
        server.redirect("/b", server.uri("/c"), 307)
        assert describe(server.redirect("/a", "b", 301)) == {"size": 4}

    def test_does_not_follow_for_ever(self, server):
        assert describe(server.redirect("/a", "/a")) == {}
        assert server.asked == ["HEAD /a"] * (web.MAX_REDIRECTS + 1)

    @pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[x"])
    def test_does_not_follow_to_other_schemes_or_nonsense(self, server, location):
        assert describe(server.redirect("/a", location)) == {}
        assert server.asked == ["HEAD /a"]

    @pytest.mark.parametrize("code", [404, 405, 500])
    def test_of_what_the_server_refuses_is_empty(self, server, code):
        assert describe(server.serve("/x", b"", code=code)) == {}

    def test_gives_up_on_a_slow_server(self, server, monkeypatch):
        monkeypatch.setattr(references, "HEAD_TIMEOUT_S", 0.05)
        waiting = threading.Event()
        server.answers["/x"] = lambda request: waiting.wait(10)
        assert describe(server.uri("/x")) == {}
        waiting.set()

    def test_of_an_unknown_or_impossible_host_is_empty(self):
        assert describe("http://host.invalid/x") == {}
        assert describe(f"http://{'a' * 70}.example/x") == {}
        assert describe("http://127.0.0.1:99999/x") == {}

    def test_asks_no_link_local_address(self):
        assert describe("http://169.254.169.254/latest/meta-data/") == {}

    def test_logs_neither_the_address_nor_where_it_was_sent(self, server, caplog):
        caplog.set_level(logging.DEBUG, logger="t9k")
        describe(server.redirect("/x?id=seCret1", "ftp://host/y?X-Amz-Signature=seCret2"))
        assert "nothing is known" in caplog.text
        assert not [
            record for record in caplog.records if "seCret" in record.getMessage() and record.name.startswith("t9k")
        ]


class TestFetchOfAFile:
    def test_gives_the_file_where_it_is(self, tmp_path):
        path = tmp_path / "a b.bin"
        path.write_bytes(b"12345")
        assert fetch(path.as_uri(), tmp_path / "artifact", **describe(path.as_uri())) == path
        assert not (tmp_path / "artifact").exists()

    def test_refuses_another_size_or_time(self, tmp_path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"12345")
        recorded = describe(path.as_uri())
        os.utime(path, (1, 1))
        with pytest.raises(SourceChanged, match=r"its last_modified was .* add the reference again"):
            fetch(path.as_uri(), tmp_path, **recorded)
        with pytest.raises(SourceChanged, match="its size was 6 and is 5"):
            fetch(path.as_uri(), tmp_path, size=6)

    def test_says_what_is_missing(self, tmp_path):
        with pytest.raises(NotFound, match="put the file back"):
            fetch((tmp_path / "gone").as_uri(), tmp_path)
        with pytest.raises(NotFound, match="no regular file"):
            fetch(tmp_path.as_uri(), tmp_path)

    @pytest.mark.parametrize("uri", ["file://host/etc/passwd", "file:///a%00b", "file://localhost"])
    def test_refuses_what_names_no_local_file(self, tmp_path, uri):
        with pytest.raises(InvalidURI, match="file:///data/corpus.tar"):
            fetch(uri, tmp_path)


class TestFetchOfAPage:
    def test_downloads_it_once(self, server, tmp_path):
        uri = server.serve("/x?v=1", b"12345", ETag="e")
        path = fetch(uri, tmp_path, **describe(uri))
        assert path.read_bytes() == b"12345"
        assert path.name == "corpus.bin"
        assert path.parent.parent == tmp_path / ".em" / "references"
        assert fetch(uri, tmp_path, size=5) == path
        assert server.asked == ["HEAD /x?v=1", "GET /x?v=1"]

    def test_through_an_artifact(self, server):
        artifact = create_artifact("corpus")
        artifact.add_reference(server.serve("/corpus%20a.tar", b"123"))
        assert artifact.objects == [{"key": "corpus a.tar", "uri": server.uri("/corpus%20a.tar"), "size": 3}]
        assert server.asked == ["HEAD /corpus%20a.tar"]
        assert Path(artifact.get("corpus a.tar")).read_bytes() == b"123"
        with artifact.open("corpus a.tar") as stream:
            assert stream.read() == b"123"
        artifact.download()

    def test_follows_redirects_by_hand(self, server, tmp_path):
        server.serve("/c", b"1234")
        server.redirect("/b", server.uri("/c"), 308)
        assert fetch(server.redirect("/a", "/b", 303), tmp_path).read_bytes() == b"1234"

    @pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
    def test_unpacks_nothing(self, server, tmp_path, coding):
        uri = server.serve("/x", gzip.compress(b"12345"), Content_Encoding=coding)
        with pytest.raises(BackendUnavailable, match="compresses what it was asked to send as it is.*add_file"):
            fetch(uri, tmp_path, size=5)
        assert files_below(tmp_path) == []

    @pytest.mark.parametrize("recorded", [{"size": 6}, {"size": 4}, {"etag": "old"}])
    def test_refuses_what_was_not_recorded(self, server, tmp_path, recorded):
        uri = server.serve("/x", b"12345", ETag="new")
        with pytest.raises(SourceChanged, match="add the reference again"):
            fetch(uri, tmp_path, **recorded)
        assert files_below(tmp_path) == []

    @pytest.mark.parametrize("size", [4, 6])
    def test_refuses_another_size_that_was_not_announced(self, server, tmp_path, size):
        def answer(request):
            request.send_response(200)
            request.end_headers()
            request.wfile.write(b"12345")

        server.answers["/x"] = answer
        with pytest.raises(SourceChanged, match=f"was {size} and is 5"):
            fetch(server.uri("/x"), tmp_path, size=size)
        assert files_below(tmp_path) == []

    def test_stops_soon_after_the_size_that_was_recorded(self, server, tmp_path, monkeypatch):
        def answer(request):
            request.send_response(200)
            request.end_headers()
            try:
                while True:
                    request.wfile.write(bytes(1 << 16))
            except OSError:
                pass

        server.answers["/x"] = answer
        with pytest.raises(SourceChanged):
            fetch(server.uri("/x"), tmp_path, size=10)

    def test_refuses_an_answer_that_ends_early(self, server, tmp_path, monkeypatch):
        uri = server.serve("/x", b"123", size=9)
        with pytest.raises(BackendUnavailable, match="try again"):
            fetch(uri, tmp_path)
        # Older versions of urllib3 do not tell.
        monkeypatch.setattr(HTTPResponse, "stream", lambda self, size, decode_content: iter([b"123"]))
        with pytest.raises(BackendUnavailable, match="ended after 3 bytes"):
            fetch(uri, tmp_path)
        assert files_below(tmp_path) == []

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            (404, NotFound),
            (410, NotFound),
            (401, BackendPermissionError),
            (403, BackendPermissionError),
            (500, BackendUnavailable),
            (206, BackendUnavailable),
        ],
    )
    def test_says_what_the_server_answered(self, server, tmp_path, code, error):
        with pytest.raises(error, match=f"127.0.0.1 answered {code} for object 'data/corpus.bin'"):
            fetch(server.serve("/x", b"no", code=code), tmp_path)
        assert files_below(tmp_path) == []

    def test_gives_up_on_a_slow_server(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(references, "GET_TIMEOUT_S", (5.0, 0.05))
        waiting = threading.Event()
        server.answers["/x"] = lambda request: waiting.wait(10)
        with pytest.raises(BackendUnavailable, match="check the network"):
            fetch(server.uri("/x"), tmp_path)
        waiting.set()

    def test_says_that_nobody_listens_without_repeating_the_address(self, tmp_path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            secret = uuid4().hex
            with pytest.raises(BackendUnavailable, match="from 127.0.0.1") as caught:
                fetch(f"http://127.0.0.1:{port}/x?id={secret}", tmp_path)
        assert secret not in told(caught.value)

    def test_writes_through_no_link(self, server, tmp_path):
        (tmp_path / "artifact").mkdir()
        (tmp_path / "artifact" / ".em").symlink_to(tmp_path)
        with pytest.raises(SymlinkError):
            fetch(server.serve("/x", b"1"), tmp_path / "artifact")
        assert server.asked == []

    def test_replaces_a_link_in_its_place(self, server, tmp_path):
        uri = server.serve("/x", b"1")
        path = fetch(uri, tmp_path)
        (tmp_path / "outside").write_bytes(b"keep")
        path.unlink()
        path.symlink_to(tmp_path / "outside")
        assert fetch(uri, tmp_path) == path
        assert not path.is_symlink()
        assert (tmp_path / "outside").read_bytes() == b"keep"

    def test_gives_up_on_a_trickle(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(references, "SLOW_S", 0.0)

        def answer(request):
            request.send_response(200)
            request.end_headers()
            for _ in range(3):
                request.wfile.write(b"1" * CHUNK_BYTES)
            for _ in range(100):
                request.wfile.write(b"1")
                request.wfile.flush()

        server.answers["/x"] = answer
        with pytest.raises(BackendUnavailable, match="too slowly"):
            fetch(server.uri("/x"), tmp_path)
        assert files_below(tmp_path) == []

    def test_ends_an_answer_without_end(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(references, "MAX_BYTES", 1 << 16)

        def answer(request):
            request.send_response(200)
            request.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    request.wfile.write(bytes(1 << 16))

        server.answers["/x"] = answer
        with pytest.raises(BackendUnavailable, match="does not end"):
            fetch(server.uri("/x"), tmp_path)
        assert files_below(tmp_path) == []

    def test_sends_no_credentials_of_the_netrc_file(self, server, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        sent = []

        def answer(request):
            sent.append(request.headers.get("Authorization"))
            request.send_response(200)
            request.send_header("Content-Length", "0")
            request.end_headers()

        server.answers["/x"] = answer
        server.redirect("/a", f"http://me:secret@127.0.0.1:{server.port}/x")
        fetch(server.uri("/x"), tmp_path)
        fetch(server.uri("/a"), tmp_path)
        assert sent == [None, None]

    def test_speaks_to_the_host_by_its_name(self, server, tmp_path, hosts):
        hosts["public.example"] = "93.184.216.34"
        named = []

        def answer(request):
            named.append(request.headers["Host"])
            request.send_response(200)
            request.send_header("Content-Length", "0")
            request.end_headers()

        server.answers["/x"] = answer
        fetch(f"http://public.example:{server.port}/x", tmp_path)
        assert named == [f"public.example:{server.port}"]

    @pytest.mark.parametrize("named", ["public.example", "other.example"])
    def test_checks_the_certificate_for_the_name(self, server, tmp_path, hosts, monkeypatch, named):
        hosts["public.example"] = "93.184.216.34"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed(tmp_path, named))
        server.encrypt(context)
        server.serve("/x", b"1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        uri = f"https://public.example:{server.port}/x"
        if named == "public.example":
            assert fetch(uri, tmp_path).read_bytes() == b"1"
        else:
            with pytest.raises(BackendUnavailable, match="SSLError"):
                fetch(uri, tmp_path)

    def test_asks_what_listens_here_without_a_proxy(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert fetch(server.serve("/x", b"1"), tmp_path).read_bytes() == b"1"


class TestWhereItMustNotGo:
    @pytest.mark.parametrize("scheme", ["s3", "gs", "ftp", "t9k"])
    def test_other_schemes_are_for_fsspec(self, tmp_path, scheme):
        with pytest.raises(InvalidInput, match="open its uri with fsspec"):
            fetch(f"{scheme}://bucket/key", tmp_path)

    @pytest.mark.parametrize(
        "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166", "meta.example"]
    )
    def test_link_local_addresses_are_never_asked(self, server, tmp_path, hosts, host):
        hosts["meta.example"] = "169.254.169.254"
        with pytest.raises(InvalidURI, match="link-local"):
            fetch(f"http://{host}:{server.port}/latest", tmp_path)
        with pytest.raises(InvalidURI, match="link-local"):
            fetch(server.redirect("/a", f"http://{host}:{server.port}/latest"), tmp_path)
        assert server.asked == ["GET /a"]

    @pytest.mark.parametrize("target", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "[::1]", "0.0.0.0", "inside.example"])
    def test_the_internet_does_not_redirect_into_private_networks(self, server, tmp_path, hosts, target):
        hosts["public.example"] = "93.184.216.34"
        hosts["inside.example"] = "172.16.0.9"
        server.redirect("/a", f"http://{target}:{server.port}/b")
        with pytest.raises(InvalidURI, match="private address"):
            fetch(f"http://public.example:{server.port}/a", tmp_path)
        assert server.asked == ["GET /a"]

    def test_not_by_way_of_another_public_host_either(self, server, tmp_path, hosts):
        hosts["public.example"] = "93.184.216.34"
        hosts["other.example"] = "8.8.8.8"
        server.redirect("/a", f"http://other.example:{server.port}/b")
        server.redirect("/b", f"http://127.0.0.1:{server.port}/c")
        with pytest.raises(InvalidURI, match="private address"):
            fetch(f"http://public.example:{server.port}/a", tmp_path)
        assert server.asked == ["GET /a", "GET /b"]

    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "10.0.0.1", "100.64.0.1", "[::1]", "0.0.0.0", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]",
         "[2002:a00:1::]", "[64:ff9b:1::7f00:1]", "[::7f00:1]", "224.0.0.1", "127.1", "inside.example"],
    )  # fmt: skip
    def test_private_networks_are_not_asked_unless_they_are_allowed(self, server, tmp_path, hosts, monkeypatch, host):
        hosts["inside.example"] = "172.16.0.9"
        monkeypatch.delenv("EM_REFERENCE_HOSTS")
        with pytest.raises(InvalidURI, match="set EM_REFERENCE_HOSTS="):
            fetch(f"http://{host}:{server.port}/a", tmp_path)
        assert server.asked == []

    @pytest.mark.parametrize("allowed", ["inside.example", "*.example, x", "172.16.0.9", "10.0.0.0/8,172.16.0.0/12"])
    def test_those_that_are_allowed_are_asked(self, server, tmp_path, hosts, monkeypatch, allowed):
        hosts["inside.example"] = "172.16.0.9"
        monkeypatch.setenv("EM_REFERENCE_HOSTS", allowed)
        uri = f"http://inside.example:{server.port}/a"
        server.serve("/a", b"1")
        assert fetch(uri, tmp_path).read_bytes() == b"1"

    def test_an_allowance_that_is_no_network_is_refused(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv("EM_REFERENCE_HOSTS", "10.0.0.0/99")
        with pytest.raises(InvalidInput, match="a network looks like 10.0.0.0/8"):
            fetch(server.uri("/a"), tmp_path)

    @pytest.mark.parametrize("host", ["100.100.100.200", "168.63.129.16", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]"])
    def test_addresses_of_cloud_metadata_are_never_asked(self, server, tmp_path, monkeypatch, host):
        monkeypatch.setenv("EM_REFERENCE_HOSTS", "*,0.0.0.0/0,::/0")
        with pytest.raises(InvalidURI, match="metadata"):
            fetch(f"http://{host}:{server.port}/a", tmp_path)
        assert server.asked == []

    def test_the_address_that_was_checked_is_the_one_connected_to(self, server, tmp_path, monkeypatch):
        """A name server that answers with another address at the second question gains nothing by that."""
        resolve = socket.getaddrinfo
        asked = []

        def getaddrinfo(host, port, *args, **kwargs):
            if host == "rebinding.example":
                asked.append(host)
                host = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
            return resolve(host, port, *args, **kwargs)

        connected = []

        def connect(self, address):
            connected.append(address[0])
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(socket.socket, "connect", connect)
        with pytest.raises(BackendUnavailable, match="rebinding.example"):
            fetch(f"http://rebinding.example:{server.port}/a", tmp_path)
        assert asked == ["rebinding.example"]
        assert connected == ["93.184.216.34"]

    def test_a_private_server_may_redirect_into_the_internet(self, server, tmp_path, hosts):
        hosts["public.example"] = "93.184.216.34"
        server.serve("/b", b"123")
        uri = server.redirect("/a", f"http://public.example:{server.port}/b")
        assert fetch(uri, tmp_path).read_bytes() == b"123"

    @pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[x"])
    def test_redirects_to_other_schemes_or_nonsense_are_refused(self, server, tmp_path, location):
        with pytest.raises(InvalidURI, match="not followed"):
            fetch(server.redirect("/a", location), tmp_path)
        assert files_below(tmp_path) == []

    def test_redirects_have_an_end(self, server, tmp_path):
        with pytest.raises(InvalidURI, match="more than 5 times"):
            fetch(server.redirect("/a", "/a"), tmp_path)

    def test_an_unknown_host_is_told_unless_a_proxy_may_know_it(self, server, tmp_path, monkeypatch):
        with pytest.raises(BackendUnavailable, match="host.invalid is unknown"):
            fetch("http://host.invalid/x", tmp_path)
        server.serve("http://host.invalid/x", b"by proxy")
        monkeypatch.setenv("http_proxy", server.uri(""))
        assert fetch("http://host.invalid/x", tmp_path).read_bytes() == b"by proxy"
