"""The proxy forwards what a real client and a real server say, and what goes wrong is what it was asked for."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.em.webserver import WebServer, web_server
from tests.services.places import S3Place
from tests.services.proxy import FATES, LOST, REFUSED, RESET, STALLED, TRUNCATED, Proxy, at, every

DATA = b"data" * 1000


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        running.serve("/x", DATA)
        yield running


def _get(proxy: Proxy) -> bytes:
    with closing(http.client.HTTPConnection(proxy.address, timeout=0.5)) as client:
        client.request("GET", "/x")
        return client.getresponse().read()


def client_of(place: S3Place, proxy: Proxy) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://{proxy.address}",
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
        region_name=place.region,
        config=Config(retries={"max_attempts": 0}),
    )


@pytest.mark.parametrize("service", ["seaweedfs_service", "moto_service"])
def test_a_real_client_notices_nothing(service: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(service)
    bucket, key = place.bucket, str(uuid4())
    with Proxy(place.endpoint.partition("://")[2]) as proxy, closing(client_of(place, proxy)) as client:
        client.put_object(Bucket=bucket, Key=key, Body=DATA, Metadata={"a": "b"})
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket=bucket, Key=key, Body=b"", IfNoneMatch="*")
        assert client.head_object(Bucket=bucket, Key=key)["Metadata"] == {"a": "b"}
        reply = client.get_object(Bucket=bucket, Key=key, Range="bytes=4-7")
        assert reply["Body"].read() == b"data"
        assert [found["Key"] for found in client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]] == [key]
        client.delete_object(Bucket=bucket, Key=key)
        methods = ["PUT", "PUT", "HEAD", "GET", "GET", "DELETE"]
        assert [exchange.method for exchange in proxy.exchanges] == methods
        assert [exchange.status for exchange in proxy.exchanges] == [200, 412, 200, 206, 200, 204]
        assert [exchange.number for exchange in proxy.exchanges] == [*range(1, 7)]
        assert proxy.exchanges[0].line == f"PUT /{bucket}/{key}"


@pytest.mark.long
@pytest.mark.parametrize("fate", [LOST, RESET, REFUSED])
def test_a_write_whose_reply_goes_wrong_has_happened_unless_it_was_refused(fate: str, moto_service: S3Place) -> None:
    bucket, key = moto_service.bucket, str(uuid4())
    with Proxy(moto_service.endpoint.partition("://")[2]) as proxy, closing(client_of(moto_service, proxy)) as client:
        proxy.fate = at(1, fate)
        with pytest.raises(BotoCoreError):
            client.put_object(Bucket=bucket, Key=key, Body=DATA)
        found = client.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"]
        assert found == (fate != REFUSED)
        assert [exchange.fate for exchange in proxy.exchanges] == [fate, ""]


@pytest.mark.parametrize(
    ("fate", "error"),
    [
        (REFUSED, http.client.RemoteDisconnected),
        (LOST, http.client.RemoteDisconnected),
        (RESET, ConnectionResetError),
        (TRUNCATED, http.client.IncompleteRead),
        (STALLED, TimeoutError),
    ],
)
def test_each_fate_looks_to_a_client_like_what_it_is(fate: str, error: type[Exception], server: WebServer) -> None:
    with Proxy(f"127.0.0.1:{server.port}") as proxy:
        proxy.fate = at(2, fate)
        assert _get(proxy) == DATA
        with pytest.raises(error):
            _get(proxy)
        assert _get(proxy) == DATA
        assert len(server.asked) == (2 if fate == REFUSED else 3)


@pytest.mark.long
@pytest.mark.parametrize("fate", FATES)
def test_every_so_manieth_reply_can_go_wrong(fate: str, server: WebServer) -> None:
    with Proxy(f"127.0.0.1:{server.port}") as proxy:
        proxy.fate = every(2, fate)
        for number in range(1, 5):
            if number % 2:
                assert _get(proxy) == DATA
            else:
                with pytest.raises((OSError, http.client.HTTPException)):
                    _get(proxy)
        assert [exchange.fate for exchange in proxy.exchanges] == ["", fate, "", fate]
        proxy.forget()
        assert [_get(proxy) for _ in range(2)] == [DATA, DATA]
        assert [exchange.number for exchange in proxy.exchanges] == [1, 2]


@pytest.mark.parametrize("expects", [False, True], ids=["", "expects 100"])
def test_a_reply_can_be_given_instead_of_the_servers(server: WebServer, expects: bool) -> None:
    with Proxy(f"127.0.0.1:{server.port}") as proxy:
        proxy.instead = lambda _: b"HTTP/1.1 503 Slow Down\r\nContent-Length: 2\r\n\r\nno"
        with socket.create_connection(("127.0.0.1", int(proxy.address.rpartition(":")[2])), timeout=5) as client:
            client.sendall(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n")
            client.sendall(b"Expect: 100-continue\r\n\r\n" if expects else b"\r\nbody")
            assert client.recv(1000).endswith(b"\r\n\r\nno")
        assert server.asked == []
        assert [exchange.status for exchange in proxy.exchanges] == [503]


def test_chunked_bodies_pass_as_they_are() -> None:
    body = b"a\r\n0123456789\r\n11170\r\n" + b"x" * 0x11170 + b"\r\n0\r\nChecksum: y\r\n\r\n"
    head = b"PUT /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        Proxy(f"127.0.0.1:{listening.getsockname()[1]}") as proxy,
        ThreadPoolExecutor(1) as pool,
        socket.create_connection(("127.0.0.1", int(proxy.address.rpartition(":")[2])), timeout=5) as client,
    ):
        echo = pool.submit(_echo, listening, head, body)
        client.sendall(head + body)
        reply = b"".join(iter(lambda: client.recv(1 << 16), b""))
        echo.result()
    assert reply == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n" + body


def _echo(listening: socket.socket, head: bytes, body: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(5)
        got = b""
        while len(got) < len(head + body):
            got += connection.recv(1 << 16)
        assert got.startswith(head)
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        connection.sendall(answer + got[len(head) :])


def test_a_port_that_is_taken_is_an_error(server: WebServer) -> None:
    proxy = Proxy(f"127.0.0.1:{server.port}", port=server.port)
    with pytest.raises(OSError, match="in use"):
        proxy.__enter__()
