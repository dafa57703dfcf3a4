"""The server starts with whatever uvicorn is installed: by our protocol if it can, else by that of uvicorn."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest
import requests
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from t9k.em.server.http import protocol


def test_the_installed_version_has_all_names() -> None:
    assert protocol.missing_names() == []
    assert protocol.protocol() == protocol.OURS


@pytest.mark.parametrize(
    ("owner", "name"), [(HttpToolsProtocol, "timeout_keep_alive_handler"), (FlowControl, "pause_reading")]
)
def test_without_a_name_the_log_says_what_is_lost(owner, name, monkeypatch, caplog) -> None:
    monkeypatch.delattr(owner, name)
    with caplog.at_level(logging.WARNING):
        assert protocol.protocol() == protocol.PLAIN
    assert f"{owner.__name__}.{name}" in caplog.text
    assert "connections are not bounded" in caplog.text


def test_an_attribute_that_is_gone_is_missed(monkeypatch) -> None:
    def init(self, *_, **__) -> None:
        self.client = self.flow = self.headers = self.loop = self.parser = self.transport = None

    monkeypatch.setattr(HttpToolsProtocol, "__init__", init)
    assert protocol.missing_names() == ["HttpToolsProtocol.cycle"]


def test_without_httptools_it_says_so() -> None:
    program = (
        "import sys; sys.modules['httptools'] = None\n"
        "from t9k.em.server.http.protocol import missing_names; print(*missing_names())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "httptools" in done.stdout


def test_the_plain_protocol_serves() -> None:
    async def app(scope, receive, send) -> None:
        del receive
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})

    server = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol.PLAIN, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=30).content == b"plain"
    finally:
        server.should_exit = True
        thread.join()
