"""A proxy before a real HTTP/1.1 server: it delays, counts and remembers requests, and lets replies go wrong.

    with Proxy("127.0.0.1:8333") as proxy:
        proxy.fate = at(3, LOST)
        use(f"http://{proxy.address}")
        print([exchange.line for exchange in proxy.exchanges])

Requests are forwarded as they are but for the case of header names, the `Host` that a signature covers included. As a program it only adds latency:

    python -m tests.services.proxy --to 127.0.0.1:8333 --delay-ms 30
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from attrs import define, field
from typing_extensions import Self

REFUSED = "refused"
"""The request is lost: the connection ends before anything is forwarded."""
LOST = "lost"
"""The request is answered, and the connection ends without the reply."""
RESET = "reset"
"""Likewise, by a reset."""
TRUNCATED = "truncated"
"""Half of the reply's bytes come, then the connection ends."""
STALLED = "stalled"
"""The request is answered, and no byte of the reply ever comes."""
FATES = (REFUSED, LOST, RESET, TRUNCATED, STALLED)

_CHUNK = 256 << 10


@define
class Exchange:
    """One request and what became of it.

    Attributes:
        number: Counts the requests of all connections in the order in which their heads came, from 1.
        method: Like 'PUT'.
        target: Path and query as sent.
        headers: By name in lower case; what is removed before it is forwarded is not forwarded.
        status: Of the server's reply, or of the one given in its place; None before there is one.
        fate: What went wrong on purpose, '' for nothing.
    """

    number: int
    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    status: int | None = None
    fate: str = ""

    @property
    def line(self) -> str:
        """Method and target."""
        return f"{self.method} {self.target}"


Fate = Callable[[Exchange], str]


def at(number: int, fate: str) -> Fate:
    """The fate of one request by its number, from 1."""
    return lambda exchange: fate if exchange.number == number else ""


def every(number: int, fate: str) -> Fate:
    """The fate of every so-manieth request."""
    return lambda exchange: fate if exchange.number % number == 0 else ""


class _Wire(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Proxy:
    """Serves on a free port of 127.0.0.1 from a thread of its own, between `with` and its end.

    Args:
        to: 'host:port' of the server.
        delay_s: Seconds that each request waits by itself before it is forwarded.
        port: Where to listen, 0 for a free one.
        tls: How it speaks TLS, None for not at all.

    Attributes:
        address: 'host:port' of the proxy.
        exchanges: All requests so far.
        fate: Asked once for each request, in the thread of the proxy, what goes wrong with it.
        instead: Asked likewise; the reply it gives, if any, is sent and the server never sees the request.
        holds: Asked again and again; the request waits for as long as it says so, beside `delay_s`.
    """

    def __init__(self, to: str, *, delay_s: float = 0.0, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        host, _, number = to.rpartition(":")
        self._to = (host, int(number))
        self._port = port
        self._tls = tls
        self.delay_s = delay_s
        self.address = ""
        self.exchanges: list[Exchange] = []
        self.fate: Fate = lambda _: ""
        self.instead: Callable[[Exchange], bytes | None] = lambda _: None
        self.holds: Callable[[Exchange], bool] = lambda _: False
        self._wires: set[_Wire] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]
        self._started = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy", daemon=True)
        self._thread.start()
        self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        loop, stop = self._started.result()
        loop.call_soon_threadsafe(stop.set)
        self._thread.join()

    def forget(self) -> None:
        """Counts from 1 again, with nothing going wrong."""
        self.fate = lambda _: ""
        self.instead = lambda _: None
        self.holds = lambda _: False
        self.exchanges = []

    async def _main(self) -> None:
        stop = asyncio.Event()
        try:
            server = await asyncio.start_server(
                self._serve, "127.0.0.1", self._port, limit=_CHUNK, backlog=512, ssl=self._tls
            )
        except OSError as error:
            self._started.set_exception(error)
            return
        self.address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
        self._started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()
        for wire in self._wires:
            wire.writer.transport.abort()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        wires = [_Wire(reader, writer)]
        try:
            self._wires.add(wires[0])
            wires.append(_Wire(*await asyncio.open_connection(*self._to, limit=_CHUNK)))
            self._wires.add(wires[1])
            while await self._exchange(*wires):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side may go at any time; the other one sees that by the end of its connection
        finally:
            for wire in wires:
                wire.writer.close()
            self._wires.difference_update(wires)
            self._serving.remove(serving)

    async def _exchange(self, client: _Wire, server: _Wire) -> bool:
        """Passes one request and its reply on; whether the connections are still of use."""
        (method, target, version), headers = await _head(client.reader)
        given = dict(headers)
        exchange = Exchange(len(self.exchanges) + 1, method, target, headers)
        self.exchanges.append(exchange)
        reply, exchange.fate = self.instead(exchange), self.fate(exchange)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        while self.holds(exchange):  # noqa: ASYNC110 - whoever decides is in another thread
            await asyncio.sleep(0.01)
        if exchange.fate == REFUSED:
            return False
        waits = given.get("expect", "").lower() == "100-continue"
        if reply is not None:
            exchange.status = int(reply.split(b" ", 2)[1])
            if not waits:
                async for _ in _body(client.reader, given):
                    pass
            await self._answer(client, exchange, reply)
            return not waits and not exchange.fate
        server.writer.write(_text((method, target, version), headers))
        if not waits:
            await _pump(b"", _body(client.reader, given), server)
        while True:
            line, headers = await _head(server.reader)
            exchange.status = int(line[1])
            if exchange.status >= 200:
                break
            client.writer.write(_text(line, headers))
            if waits:
                await _pump(b"", _body(client.reader, given), server)
                waits = False
        empty = method == "HEAD" or exchange.status in (204, 304)
        body = _body(server.reader, {} if empty else headers, until_close=not empty)
        if exchange.fate:
            await self._answer(client, exchange, _text(line, headers) + b"".join([part async for part in body]))
            return False
        await _pump(_text(line, headers), body, client)
        return not waits and "close" not in (headers.get("connection"), given.get("connection"))

    async def _answer(self, client: _Wire, exchange: Exchange, reply: bytes) -> None:
        """Sends a whole reply, or what its fate leaves of it."""
        if exchange.fate == STALLED:
            await client.reader.read()  # until the client has enough
        elif exchange.fate == RESET:
            client.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            client.writer.transport.abort()
        elif exchange.fate != LOST:
            client.writer.write(reply[: len(reply) // 2] if exchange.fate == TRUNCATED else reply)
            await client.writer.drain()


async def _head(reader: asyncio.StreamReader) -> tuple[tuple[str, str, str], dict[str, str]]:
    """The three parts of the first line, and the headers by name in lower case."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    one, two, *three = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines)
    return (one, two, "".join(three)), {name.lower(): value.strip() for name, value in pairs}


def _text(line: tuple[str, str, str], headers: dict[str, str]) -> bytes:
    """The reverse of `_head`."""
    return "\r\n".join([" ".join(line), *map(": ".join, headers.items()), "", ""]).encode("latin-1")


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], *, until_close: bool = False
) -> AsyncIterator[bytes]:
    """What follows a head, framing included (RFC 9112, section 6)."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        size = -1
        while size:
            line = await reader.readuntil(b"\n")
            size = int(line.split(b";")[0], 16)
            yield line
            while size == 0 and line != b"\r\n":  # the trailers
                line = await reader.readuntil(b"\n")
                yield line
            async for part in _exactly(reader, size + 2 if size else 0):
                yield part
    elif "content-length" in headers:
        async for part in _exactly(reader, int(headers["content-length"])):
            yield part
    elif until_close:
        while part := await reader.read(_CHUNK):
            yield part


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        part = await reader.read(min(size, _CHUNK))
        if not part:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(part)
        yield part


async def _pump(head: bytes, body: AsyncIterator[bytes], target: _Wire) -> None:
    """Writes as little often as possible: a small message is one packet."""
    async for part in body:
        head += part
        if len(head) >= _CHUNK // 4:
            target.writer.write(head)
            await target.writer.drain()
            head = b""
    target.writer.write(head)
    await target.writer.drain()


def main() -> None:
    """Adds latency to every request until it is interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--to", required=True, help="host:port of the server")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0, help="to listen on; a free one without it")
    options = parser.parse_args()
    with Proxy(options.to, delay_s=options.delay_ms / 1000, port=options.port) as proxy:
        print(f"http://{proxy.address}", flush=True)  # noqa: T201 - for whoever started it
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
