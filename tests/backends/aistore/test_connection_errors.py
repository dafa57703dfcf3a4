"""Each reason why a server cannot be reached has a message of its own."""

from __future__ import annotations

import pickle
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.backends.aistore.clients import AT_ONCE
from tests.backends.aistore.scripted import Scripted
from tests.services.processes import free_port

from t9k.em.errors import BackendError, BackendUnavailable
from t9k.em.uris import parse
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import address_of

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed certificates for localhost, for another name, and one that has expired."""
    directory = tmp_path_factory.mktemp("certificates")
    now = datetime.now(timezone.utc)
    for name, host, since, until in (
        ("good", "localhost", -1, 1),
        ("other", "elsewhere", -1, 1),
        ("old", "localhost", -3, -2),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now + timedelta(days=since)).not_valid_after(now + timedelta(days=until))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        certificate = builder.sign(key, hashes.SHA256())
        (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return directory


def with_tls(certificates: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return context


def login(url: str, timeout_s: float = 5) -> AIStoreBackend:
    backend = AIStoreBackend(address_of(parse(url), timeout_s), KEY, retries=AT_ONCE)
    try:
        backend.open()
    finally:
        backend.close()
    return backend


def error_of(url: str, timeout_s: float = 5) -> BackendError:
    with pytest.raises(BackendError) as caught:
        login(url, timeout_s)
    assert isinstance(caught.value, requests.HTTPError)
    assert caught.value.response is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_where_nothing_listens() -> None:
    error = error_of(f"http://127.0.0.1:{free_port()}")
    assert isinstance(error, BackendUnavailable)
    assert isinstance(error, requests.ConnectionError)
    assert "refuses connections" in str(error)


def test_a_host_that_does_not_exist() -> None:
    error = error_of("https://no-such-host.invalid/aistore")
    assert isinstance(error, BackendUnavailable)
    assert "there is no host no-such-host.invalid" in str(error)


def test_a_server_that_does_not_answer_in_time(silent: int) -> None:
    error = error_of(f"http://127.0.0.1:{silent}", 0.05)
    assert isinstance(error, BackendUnavailable)
    assert "did not answer in time" in str(error)


@pytest.mark.parametrize(
    ("name", "says"),
    [("good", "REQUESTS_CA_BUNDLE"), ("other", "for another name than localhost"), ("old", "has expired")],
)
def test_a_certificate_that_cannot_be_trusted(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    if name != "good":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / f"{name}.pem"))
    with Scripted(tls=with_tls(certificates, name)) as server:
        assert says in str(error_of(server.url))
        assert server.requests == []


def test_a_certificate_of_an_authority_of_ones_own(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "good.pem"))
    with Scripted(tls=with_tls(certificates, "good")) as server:
        login(server.url)
        assert [request.what for request in server.requests] == ["/version", "/user"]


def test_a_bundle_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/not/there.pem")
    assert "REQUESTS_CA_BUNDLE" in str(error_of("https://localhost:1"))


def test_tls_to_a_plain_port() -> None:
    with Scripted() as server:
        assert "is its address http:// and not https://?" in str(error_of(f"https://localhost:{server.port}"))


def test_plain_http_to_a_tls_port() -> None:
    """As a server of Python, whose alert is no HTTP, and not like nginx, which explains itself."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"\x15\x03\x01\x00\x02\x02\x16" * 2)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        error = error_of(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert "is its address https:// and not http://?" in str(error)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        login("http://aistore.invalid/t9k?insecure=true")
        assert [request.path for request in proxy.requests] == [
            "/t9k/apis/v1/version",
            "/t9k/apis/v1/user",
        ]
        assert {request.headers["host"] for request in proxy.requests} == {"aistore.invalid"}


@pytest.mark.parametrize(
    "entry", ["aistore.invalid", "*.invalid", ".invalid", "aistore.invalid:80", "lab, aistore.invalid", "*"]
)
def test_no_proxy_names_hosts_without_one(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    with Scripted() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", entry)
        assert "DNS" in str(error_of("http://aistore.invalid?insecure=true"))
        assert not proxy.requests


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    assert "NO_PROXY" in str(error_of("http://aistore.invalid?insecure=true"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_key_for_a_server_on_this_machine_goes_to_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with Scripted() as proxy, Scripted() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        login(server.url.replace("localhost", host))
        assert not proxy.requests
        assert [request.headers.get("authorization") for request in server.requests] == [None, f"Bearer {KEY}"]


@pytest.mark.parametrize("proxy", ["http://:0", "nonsense://x", "http://[::"])
def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert "HTTPS_PROXY" in str(error_of("https://host.invalid"))


def test_a_netrc_does_not_replace_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login mallory password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Scripted() as server:
        login(server.url)
        assert [request.headers.get("authorization") for request in server.requests] == [None, f"Bearer {KEY}"]


def test_what_the_driver_raised_holds_no_key_and_no_request() -> None:
    error = error_of(f"http://127.0.0.1:{free_port()}/secret-path")
    chain, cause = [], error.__context__
    while cause is not None:
        chain.append(cause)
        cause = cause.__context__
    assert all(getattr(found, "request", None) is None for found in chain)
    assert KEY not in repr([vars(found) for found in chain])
