"""The clients of the load benchmark: what they ask, what was acknowledged to them, and whether it is there in the end."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

from attrs import define, field, frozen
from serving import batch, document

TIMEOUT_S = 60
PATIENCE_S = 120
"""How long a client repeats a request that is not answered."""

LINE_BYTES = 512
LARGE_BYTES = (512 << 10, 1536 << 10)
KINDS = ("begin", "batch", "commit", "append", "list", "read")
UNKNOWN = {("append", "not_supported")}
AGAIN = ("unavailable", "commit_unknown", "rate_limited")
_MIX = (("upload", 3), ("append", 4), ("list", 2), ("read", 3))
_MOST_PROBLEMS = 20


class Unanswered(Exception):
    """A request was refused, or not answered for as long as a client waits."""


@frozen
class Seat:
    """Who a client is.

    Attributes:
        url: Of the server.
        user: A user.
        key: A key of theirs.
        number: Of the client, among all.
        large: Whether one of five uploads is a large file.
    """

    url: str
    user: str
    key: str = field(repr=False)
    number: int
    large: bool = False

    @property
    def folder(self) -> str:
        return f"/{self.user}/load{self.number}"


@define
class Notes:
    """What a client saw.

    Attributes:
        seconds: By kind of request, of those that were answered well.
        again: Requests that were repeated, by kind.
        artifacts: Names whose publication was acknowledged, each with the contents of its files.
        unknown: Names that were given up: they may be there or not.
        grown: Bytes that were acknowledged of the growing file.
        follows: Whether the server takes them at all.
        problems: What must not be.
        errors: How many, by kind.
    """

    seconds: dict[str, list[float]] = field(factory=lambda: {kind: [] for kind in KINDS})
    again: dict[str, int] = field(factory=lambda: dict.fromkeys(KINDS, 0))
    artifacts: dict[str, dict[str, bytes]] = field(factory=dict)
    unknown: set[str] = field(factory=set)
    grown: int = 0
    follows: bool = True
    problems: list[str] = field(factory=list)
    errors: dict[str, int] = field(factory=lambda: dict.fromkeys(KINDS, 0))

    def problem(self, kind: str, text: str) -> None:
        self.errors[kind] += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{kind}: {text}")


class Client:
    """One client with a connection of its own.

    Args:
        seat: Who it is.
        interrupted: Whether the server is killed meanwhile, so that lost connections are no errors.
    """

    def __init__(self, seat: Seat, *, interrupted: bool) -> None:
        self.seat = seat
        self.notes = Notes()
        self._interrupted = interrupted
        there = urlsplit(seat.url)
        self._connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=TIMEOUT_S)
        self._random = random.Random(seat.number)
        self._run: dict[str, Any] = {}

    def work(self, until: float) -> Notes:
        """Does one thing after the other until a time of `time.monotonic`."""
        time.sleep(self._random.random())
        try:
            self._run = self._upload("run", {"index.yaml": b"{}"}, "Run")
            things: dict[str, Callable[[], None]] = {
                "upload": self._some_upload,
                "append": self._append,
                "list": self._list,
                "read": self._read,
            }
            while time.monotonic() < until:
                mix = [(name, weight) for name, weight in _MIX if name != "append" or self.notes.follows]
                names, weights = zip(*mix, strict=True)
                things[self._random.choices(names, weights)[0]]()
        except Unanswered:
            pass  # noted
        return self.notes

    def check(self) -> None:
        """Looks whether all that was acknowledged is there, once, and nothing else.

        Raises:
            Unanswered: The server does not answer.
        """
        found = {node["name"]: node for node in self._children()}
        notes = self.notes
        for name in set(notes.artifacts) - set(found):
            notes.problem("list", f"lost: {self.seat.folder}/{name}")
        for name in set(found) - set(notes.artifacts) - notes.unknown:
            notes.problem("list", f"doubled, or never asked for: {self.seat.folder}/{name}")
        for name, contents in notes.artifacts.items():
            if name in found:
                self._check_artifact(found[name], contents)
        if notes.grown:
            self._check_grown()

    def _check_artifact(self, node: dict[str, Any], contents: dict[str, bytes]) -> None:
        versions = json.loads(self.ask("list", "GET", "nodes/versions", {"path": node["path"]}))["items"]
        if [version["generation"] for version in versions] != [1]:
            self.notes.problem("list", f"{node['path']} has the generations {versions}, and one was published")
        for key, data in contents.items():
            if self.ask("read", "GET", "nodes/content", _file(node, key)) != data:
                self.notes.problem("read", f"{node['path']}: {key} is not what was sent")

    def _check_grown(self) -> None:
        data = self.ask("read", "GET", "runs/content", _file(self._run, "log.jsonl"))
        if len(data) < self.notes.grown:
            self.notes.problem("append", f"{self._run['path']} has {len(data)} bytes of {self.notes.grown}")
        if data != b"".join(self._lines(0, len(data))):
            self.notes.problem("append", f"{self._run['path']} holds other bytes than those that were appended")

    # What a client does.

    def _some_upload(self) -> None:
        name = f"a{len(self.notes.artifacts) + len(self.notes.unknown)}"
        if self.seat.large and self._random.random() < 0.2:
            self._upload(name, {"large.bin": self._random.randbytes(self._random.randint(*LARGE_BYTES))})
            return
        self._upload(name, {f"{part}.bin": self._random.randbytes(self._random.randint(1, 8192)) for part in "abc"})

    def _upload(self, name: str, contents: dict[str, bytes], kind: str = "Artifact") -> dict[str, Any]:
        begun = document(self.seat.folder, name, contents, strategy="new")
        begun["draft"]["type"] = kind
        self.notes.unknown.add(name)
        while True:
            state = json.loads(self.ask("begin", "POST", "uploads", {}, json.dumps(begun).encode()))
            if state["outcome"] is None:
                missing = {key: contents[key] for key in state["missing"]}
                path, known = f"uploads/{begun['op']}", {"round": state["round"]}
                if not missing or self.ask("batch", "POST", f"{path}/batch", known, batch(missing)) is not None:
                    answer = self.ask("commit", "POST", f"{path}/commit", known, b"")
                    state = {"outcome": None} if answer is None else json.loads(answer)
            if state["outcome"] is not None:
                break
            begun["resumed"] = True
        self.notes.unknown.discard(name)
        self.notes.artifacts[name] = contents
        node: dict[str, Any] = state["node"]
        if node["name"] != name:
            self.notes.problem("commit", f"{name} became {node['path']}, and nobody else uses this folder")
        return node

    def _append(self) -> None:
        start = self.notes.grown
        data = next(self._lines(start, start + LINE_BYTES))
        answer = self.ask("append", "POST", "runs/append", {**_file(self._run, "log.jsonl"), "start": start}, data)
        if answer is None:
            self.notes.follows = False
            return
        end = json.loads(answer)["end"]
        if end < start + len(data):
            self.notes.problem("append", f"{end} bytes are there, and {start + len(data)} were acknowledged")
        self.notes.grown = start + len(data)

    def _list(self) -> None:
        lost = set(self.notes.artifacts) - {node["name"] for node in self._children()}
        if lost:
            self.notes.problem("list", f"{self.seat.folder} shows no {min(lost)}, which was acknowledged")

    def _children(self) -> Iterator[dict[str, Any]]:
        after: str | None = ""
        while after is not None:
            page = json.loads(self.ask("list", "GET", "nodes/children", {"path": self.seat.folder, "after": after}))
            yield from page["items"]
            after = page["next"]

    def _read(self) -> None:
        name = self._random.choice(list(self.notes.artifacts))
        key, data = self._random.choice(list(self.notes.artifacts[name].items()))
        node = {"path": f"{self.seat.folder}/{name}", "generation": 1}
        if self.ask("read", "GET", "nodes/content", _file(node, key)) != data:
            self.notes.problem("read", f"{node['path']}: {key} is not what was sent")

    def _lines(self, start: int, end: int) -> Iterator[bytes]:
        for at in range(start, end, LINE_BYTES):
            digest = hashlib.sha256(f"{self.seat.number} {at}".encode()).hexdigest()
            yield (digest * (LINE_BYTES // len(digest)))[: LINE_BYTES - 1].encode() + b"\n"

    # How it asks.

    def ask(self, kind: str, method: str, path: str, query: dict[str, Any], body: bytes | None = None) -> Any:
        """Sends a request, again as the contract allows; None when the upload is unknown, or the ability is missing.

        Raises:
            Unanswered: It was refused, or not answered for long.
        """
        target = f"/apis/v1/{path}?{urlencode(query)}"
        headers = {"Authorization": f"Bearer {self.seat.key}"}
        if body is not None:
            headers["Content-Type"] = "application/json" if path == "uploads" else "application/octet-stream"
        before = time.monotonic() + PATIENCE_S
        while True:
            began = time.perf_counter()
            wait = self._random.uniform(0.1, 0.5)
            try:
                self._connection.request(method, target, body, headers)
                answer = self._connection.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                said = repr(error)
                if not self._interrupted:
                    self.notes.problem(kind, said)
            else:
                if answer.status < 400:
                    self.notes.seconds[kind].append(time.perf_counter() - began)
                    return data
                said = f"{answer.status} {data[:300]!r}"
                code = json.loads(data)["error"]["code"]
                if (kind, code) in UNKNOWN or code == "upload_not_found":
                    return None
                wait = float(answer.headers.get("Retry-After", wait))
                before = before if code in AGAIN else 0.0
                if not self._interrupted and code != "rate_limited":
                    self.notes.problem(kind, said)
            if time.monotonic() > before:
                self.notes.problem(kind, f"given up: {said}")
                raise Unanswered(said)
            self.notes.again[kind] += 1
            time.sleep(wait)


def _file(node: dict[str, Any], key: str) -> dict[str, Any]:
    return {"path": node["path"], "generation": node["generation"], "key": key}


def generate(seats: list[Seat], seconds: float, *, interrupted: bool) -> tuple[list[Notes], float]:
    """Runs clients, then lets each check what it was told.

    Returns:
        What they saw, and the processor time of this process meanwhile, in seconds, without the checks.
    """
    clients = [Client(seat, interrupted=interrupted) for seat in seats]
    before, until = time.process_time(), time.monotonic() + seconds
    threads = [threading.Thread(target=client.work, args=(until,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.process_time() - before
    kept = [(dict(client.notes.seconds), client.notes.again) for client in clients]
    for client in clients:  # the checks are no part of the load
        client.notes.seconds = {kind: [] for kind in KINDS}
        client.notes.again = dict.fromkeys(KINDS, 0)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(_checked, clients))
    for client, (times, again) in zip(clients, kept, strict=True):
        client.notes.seconds, client.notes.again = times, again
    return [client.notes for client in clients], took


def _checked(client: Client) -> None:
    try:
        client.check()
    except Unanswered as error:
        client.notes.problem("read", f"could not be checked: {error}")
