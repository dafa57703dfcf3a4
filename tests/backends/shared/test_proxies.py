"""One reading of HTTP_PROXY and NO_PROXY for all drivers."""

from __future__ import annotations

import os

import pytest

from t9k.em.errors import BackendError
from t9k_em_backends.shared.proxies import passes_by, proxy_for


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://10.1.2.3:9000", "10.0.0.0/8"),
        ("http://127.0.0.1:9000", "127.0.0.0/8"),
        ("http://127.0.0.1:9000", "127.0.0.1"),
        ("http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("http://[fd00::7]:9000", "fd00::/8"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("http://[::1]:9000", "::1"),
        ("http://minio.lab:9000", "*.lab"),
        ("http://minio.lab:9000", ".lab"),
        ("http://minio.lab:9000", "lab"),
        ("http://minio.lab:9000", "minio.lab"),
        ("http://MINIO.lab:9000", "Minio.LAB"),
        ("http://minio.lab:9000", "minio.lab:9000"),
        ("https://minio.lab", ".lab:443"),
        ("http://minio.lab", "a, b ,minio.lab"),
        ("http://minio.lab", "*"),
        ("http://10.1.2.3", "*"),
    ],
)
def test_no_proxy_names_hosts_networks_and_ports(monkeypatch, url, entry):
    assert passes_by(url, entry)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", entry)
    assert not proxy_for(url)


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://11.1.2.3", "10.0.0.0/8"),
        ("http://minio.lab:9000", "minio.lab:9001"),
        ("http://minio.lab", "minio.lab:443"),
        ("http://otherlab", "lab"),
        ("http://minio.lab", "10.0.0.0/8,.,/,:,*x"),
        ("http://10.0.0.1", "0.0.1"),
    ],
)
def test_others_go_by_the_proxy(url, entry):
    assert not passes_by(url, entry)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_found_under_the_usual_names(monkeypatch, name):
    monkeypatch.setenv(name, "proxy.example:3128")
    assert proxy_for("http://s3.example") == "http://proxy.example:3128"


def test_that_of_the_scheme_counts_and_an_empty_one_is_none(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://plain:1")
    assert not proxy_for("https://s3.example")
    monkeypatch.setenv("HTTPS_PROXY", "https://user:secret@tls:1")
    assert proxy_for("https://s3.example") == "https://user:secret@tls:1"
    monkeypatch.setenv("HTTPS_PROXY", "")
    assert not proxy_for("https://s3.example")


@pytest.mark.parametrize("value", ["socks5://user:secret@host:1", "http://", "http://host:port", "://"])
def test_one_that_cannot_be_used_is_named_by_its_variable_alone(monkeypatch, value):
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(BackendError, match=r"HTTP_PROXY in the environment .* name s3.example in NO_PROXY") as caught:
        proxy_for("http://s3.example")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.1",
            "127.255.0.1",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
        ),
        *("localhost", "LOCALHOST", "localhost.", "server.localhost"),
    ],
)
def test_what_listens_on_this_machine_is_reached_without_one(monkeypatch, host):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    assert not proxy_for(f"http://{host}:8080/t9k")
    assert not proxy_for(f"https://{host}")


@pytest.mark.parametrize("host", ["128.0.0.1", "1.2.3.4", "localhost.example", "localhosts", "lab", "[::2]", "1"])
def test_other_hosts_are_not_this_machine(monkeypatch, host):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    assert proxy_for(f"http://{host}:8080") == "http://proxy:1"
