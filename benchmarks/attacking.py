"""Clients that keep a server busy on purpose: they send or read slowly, never end what they begin, or say nothing at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from attrs import frozen

MIB = 1 << 20
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
"""Where attackers come from; honest clients come from 127.0.0.1."""

START_S = 30
AGAIN_S = 1.0
"""How long an attacker waits before it connects anew."""

STEP_S = 0.1
SLOW_BYTES = 900
"""Of a body, in each step: 9 kB/s, so that 8 MiB take a quarter of an hour."""

SMALL_BUFFER_BYTES = 4096


@frozen
class Target:
    """What is attacked.

    Attributes:
        url: Of the server.
        keys: Keys of the attackers' users.
        ops: An upload of each that takes parts.
        paths: A file of each that can be read, as a query.
        body_bytes: How large the bodies are.
        document_bytes: How large the lists of files are.
    """

    url: str
    keys: tuple[str, ...]
    ops: tuple[str, ...]
    paths: tuple[str, ...]
    body_bytes: int
    document_bytes: int


@frozen
class Connection:
    """One connection of an attacker."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def is_over(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    async def drip(self, data: bytes, step_s: float) -> None:
        """Sends the same piece for as long as the server takes it."""
        while not self.is_over():
            await self.send(data)
            await asyncio.sleep(step_s)


def _head(target: Target, number: int, method: str, path: str, size: int = 0, *, key: bool = True) -> bytes:
    bearer = f"Authorization: Bearer {target.keys[number % len(target.keys)]}\r\n" if key else ""
    length = f"Content-Length: {size}\r\n" if size else ""
    kind = "application/json" if path == "uploads" else "application/octet-stream"
    return f"{method} /apis/v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{bearer}{length}\r\n".encode()


async def slow_body(connection: Connection, target: Target, number: int) -> None:
    op = target.ops[number % len(target.ops)]
    path = f"uploads/{op}/part?{urlencode({'key': 'data', 'start': number * target.body_bytes})}"
    await connection.send(_head(target, number, "PUT", path, target.body_bytes))
    await connection.drip(bytes(SLOW_BYTES), STEP_S)


async def slow_document(connection: Connection, target: Target, number: int) -> None:
    await connection.send(_head(target, number, "POST", "uploads", target.document_bytes))
    await connection.drip(b" " * SLOW_BYTES, STEP_S)


async def without_key(connection: Connection, target: Target, number: int) -> None:
    await connection.send(_head(target, number, "POST", "uploads", target.document_bytes, key=False))
    await connection.drip(b" " * SLOW_BYTES, STEP_S)


async def slow_reader(connection: Connection, target: Target, number: int) -> None:
    await connection.send(_head(target, number, "GET", f"nodes/content?{target.paths[number % len(target.paths)]}"))
    while True:
        if not await connection.reader.read(256):
            break
        await asyncio.sleep(10 * STEP_S)


async def half_open(connection: Connection, target: Target, number: int) -> None:
    await connection.send(_head(target, number, "GET", "user")[:-2])
    await connection.drip(b"a", 10 * STEP_S)


async def idle(connection: Connection, target: Target, number: int) -> None:
    del target, number
    await connection.reader.read(1)


KINDS: Mapping[str, Callable[[Connection, Target, int], Awaitable[None]]] = {
    "slow bodies": slow_body,
    "slow lists of files": slow_document,
    "slow bodies without a key": without_key,
    "slow readers": slow_reader,
    "half-open": half_open,
    "idle": idle,
}


async def _attack(kind: str, target: Target, number: int, counts: Counter[str], begun: asyncio.Event) -> None:
    """Connects, attacks, and does it again when the server has had enough."""
    there = urlsplit(target.url)
    while True:
        with contextlib.suppress(OSError):
            made = socket.socket()
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            made.bind((ADDRESSES[number % len(ADDRESSES)], 0))
            try:
                await asyncio.get_running_loop().sock_connect(made, (there.hostname, there.port))
                reader, writer = await asyncio.open_connection(sock=made, limit=SMALL_BUFFER_BYTES)
            except BaseException:
                made.close()
                raise
            counts[kind] += 1
            begun.set()
            try:
                await KINDS[kind](Connection(reader, writer), target, number)
            finally:
                writer.transport.abort()
        await asyncio.sleep(AGAIN_S)


async def _attack_all(target: Target, numbers: Mapping[str, int], ready: Any, over: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    wanted = [(kind, number, asyncio.Event()) for kind, many in numbers.items() for number in range(many)]
    attackers = [asyncio.create_task(_attack(kind, target, number, counts, begun)) for kind, number, begun in wanted]
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(begun.wait() for _, _, begun in wanted)), START_S)
    ready.set()
    await asyncio.to_thread(over.wait)
    for attacker in attackers:
        attacker.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    return counts


def attack(target: Target, numbers: Mapping[str, int], ready: Any, over: Any) -> tuple[dict[str, int], float]:
    """Attacks until it is over.

    Args:
        target: What.
        numbers: How many connections of each of `KINDS`.
        ready: An event to set when all are connected.
        over: An event that ends it.

    Returns:
        How many connections were made of each kind, and the processor time of this process in seconds.
    """
    return dict(asyncio.run(_attack_all(target, numbers, ready, over))), time.process_time()
