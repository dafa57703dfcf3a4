"""Servers whose every byte a test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.backends.s3.scripted import PATIENCE_S, Server, an_access, keys_of, open_descriptors

from t9k_em_backends.s3.plain_http import pool
from t9k_em_backends.s3.plain_http.client import sockets_for


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch):
    """A test tries again at once after a failure."""
    monkeypatch.setattr(pool, "PAUSE_S", 0.0)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers; they end after what else a test uses."""
    before = open_descriptors()
    servers: list[Server] = []

    def start(talk, **options):
        servers.append(Server(talk, **options).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.close()
    assert open_descriptors() <= before  # drivers of other tests may close some meanwhile


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def reach(serve):
    """Starts a server and goes to it."""
    opened = []

    def start(talk, *, timeout_s=PATIENCE_S, credentials=keys_of, **options):
        server = serve(talk, **options)
        host = f"[{server.address[0]}]" if ":" in server.address[0] else server.address[0]
        access = an_access(f"http://{host}:{server.address[1]}", credentials=credentials)
        reached = sockets_for("bucket", access, timeout_s)
        assert reached is not None
        opened.append(reached)
        return server, reached

    yield start
    for reached in opened:
        reached.close()
