"""Servers whose every byte a test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.backends.s3.scripted import Server, open_descriptors

from t9k_em_backends.s3 import sockets


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch):
    """A test tries again at once after a failure."""
    monkeypatch.setattr(sockets, "REST_S", 0.0)


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
