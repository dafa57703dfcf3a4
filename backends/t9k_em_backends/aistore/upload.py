"""One upload to an AIStore server: small files in batches, others whole, large ones in parts or straight to the store."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from t9k.em import wire
from t9k.em.backend import Upload
from t9k.em.errors import (
    BackendError,
    BackendUnavailable,
    CommitUnknown,
    InvalidInput,
    NotFound,
    RequestRefused,
    SourceChanged,
    UploadForgotten,
)
from t9k.em.records import Body, FileSpec, Node, Outcome, Part, SignedUpload, UploadRequest
from t9k_em_backends.aistore.direct import DIRECT_BYTES
from t9k_em_backends.aistore.failures import failure
from t9k_em_backends.aistore.pieces import Piece, send_pieces

if TYPE_CHECKING:
    from t9k.em.memory.budget import Budget
    from t9k_em_backends.aistore.direct import Direct
    from t9k_em_backends.aistore.server import Server

SMALL_BYTES = 1 << 20
"""A file that is not larger goes in a batch."""

ROUNDS = 3
MOST_ROUNDS = 100
"""How often `commit` may say that something has changed; each time somebody else has published under the name."""

HASHED_BYTES_S = 50 << 20
"""How fast a server at least reads what it has to compare, in bytes a second."""

_T = TypeVar("_T")


class AIStoreUpload(Upload):
    """See `t9k.em.backend.Upload`; made by `AIStoreBackend.begin`.

    Args:
        server: The server.
        request: What to upload.
        direct: The straight way to the store.
        budget: Where memory comes from.
    """

    def __init__(self, server: Server, request: UploadRequest, direct: Direct, budget: Budget) -> None:
        self._server = server
        self._request = request
        self._direct = direct
        self._budget = budget
        self._most = server.ready().body_bytes
        self._round = 0
        self._rounds = 0
        self._missing: set[str] = set()
        self._begun = 0
        self._lock = threading.Lock()
        self._begin(request)

    @property
    def missing(self) -> Sequence[FileSpec]:
        """See the port."""
        return [file for file in self._request.files if file.key in self._missing]

    def put(self, items: Sequence[tuple[FileSpec, Body]]) -> None:
        """See the port."""
        batch: list[tuple[FileSpec, Body]] = []
        size = 0
        for file, body in items:
            if self.outcome is not None:  # it was finished before the server forgot it
                return
            if file.size > min(SMALL_BYTES, self._most // 2):
                self._put_large(file, body)
                continue
            length = file.size + len(wire.frame(file))
            if batch and size + length > self._most:
                self._put_batch(batch)
                batch, size = [], 0
            batch.append((file, body))
            size += length
        if batch:
            self._put_batch(batch)

    def commit(self) -> Node | None:
        """See the port."""
        if self.outcome is not None:
            return self.node
        patience = self._server.connection.retries.begin()
        try:
            said = self._call(lambda: self._ask("POST", "commit", patience=patience))
        except BackendUnavailable as error:
            if not patience.maybe_executed:
                raise
            raise failure(
                CommitUnknown,
                f"{self._server.address.url}: whether {self._request.draft.name!r} was published could not be learned; "
                f"upload it again, which finds out ({error})",
            ) from None
        if said is not None:
            self._take(said)
        self._rounds += 1
        if self.outcome is None and self._rounds >= MOST_ROUNDS:
            raise failure(
                BackendError,
                f"{self._server.address.url} asked {MOST_ROUNDS} times for more, and does not publish "
                f"{self._request.draft.name!r}; upload it again later, and report it to the operator of that server if it goes on",
            )
        return self.node

    # Parts and signatures, for who sends them elsewhere.

    def put_part(self, file: FileSpec, start: int, body: Body) -> None:
        """See `t9k.em.backend.TakesParts`."""
        if start < 0 or start + body.size > file.size:
            raise InvalidInput(f"{file.key!r} has {file.size} bytes, and the part is not within them")
        with self._budget.holding(body.size):
            data = body.read() if body.sha256 else _read(body)
            for at in range(0, len(data), self._most):
                self._send_part(file, start + at, data[at : at + self._most])

    def parts(self, file: FileSpec) -> Sequence[Part]:
        """See `t9k.em.backend.TakesParts`."""
        said = self._call(lambda: self._ask("GET", "parts", {"key": file.key}))
        if said is None:
            return []
        return self._server.understood(lambda: [wire.part_of(item) for item in said["items"]])

    def join_parts(self, file: FileSpec) -> None:
        """See `t9k.em.backend.TakesParts`."""
        self._call(lambda: self._ask("POST", "join", document={"key": file.key}, wait_s=hashing_s(file.size)))
        self._missing.discard(file.key)

    def sign(self, file: FileSpec, *, lifetime_s: float) -> SignedUpload | None:
        """See `t9k.em.backend.SendsDirect`; the server says for how long."""
        del lifetime_s
        try:
            said = self._call(lambda: self._ask("POST", "sign", document={"key": file.key}))
        except RequestRefused:
            return None
        return None if said is None else self._server.understood(lambda: wire.signed_upload_of(said))

    def complete_signed(self, file: FileSpec, token: str) -> None:
        """See `t9k.em.backend.SendsDirect`."""
        document = {"key": file.key, "token": token}
        self._call(lambda: self._ask("POST", "signed", document=document, wait_s=hashing_s(file.size)))
        self._missing.discard(file.key)

    # How the upload stands.

    def _begin(self, request: UploadRequest) -> None:
        abilities = self._server.ready().abilities
        if "ancestors" not in abilities:  # an older server, which publishes on top of whatever is there
            request = evolve(request, ancestors=None)
        if "compare" not in abilities:  # likewise, which looks at nothing that it has already
            request = evolve(request, compare="listing")
        document = wire.request_json(request)
        wire.check_json(document["draft"]["metadata"])
        size = len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
        most = self._server.ready().document_bytes
        if size > most:
            raise failure(
                RequestRefused,
                f"{self._server.address.url}: the list of {len(request.files)} files takes {size} bytes and the server "
                f"takes {most}; upload fewer files, for example as an archive",
            )
        # A server that finds files of an earlier process, or compares what it has, may have to read them.
        reads = request.resumed or request.compare != "listing"
        wait_s = hashing_s(sum(file.size for file in request.files)) if reads else 0.0
        self._take(self._server.ask("POST", "/uploads", document=document, wait_s=wait_s))
        self._begun += 1

    def _take(self, said: Any) -> None:
        """Take note of what the server says about the upload."""

        def understand() -> None:
            outcome = None if said["outcome"] is None else Outcome(said["outcome"])
            node = None if outcome is None else wire.node_of(said["node"])
            missing, round_ = set(map(str, said["missing"])), int(said["round"])
            self._missing, self._round = missing, max(round_, self._round)
            self.node, self.outcome = node, outcome

        self._server.understood(understand)

    def _call(self, work: Callable[[], _T]) -> _T | None:
        """Do something with the upload, and begin it again when the server has forgotten it.

        Returns:
            What `work` gives; None when the upload turns out to be finished.
        """
        for _ in range(ROUNDS):
            begun = self._begun
            try:
                return work()
            except UploadForgotten:
                with self._lock:
                    if self._begun == begun:  # else another thread was faster
                        self._begin(evolve(self._request, resumed=True))
                if self.outcome is not None:
                    return None
        return work()

    def _ask(self, method: str, what: str, params: dict[str, Any] | None = None, **options: Any) -> Any:
        address = f"/uploads/{self._request.op}/{what}"
        return self._server.ask(method, address, {**(params or {}), "round": self._round}, **options)

    # Sending.

    def _put_batch(self, batch: Sequence[tuple[FileSpec, Body]]) -> None:
        if len(batch) == 1:
            self._put_whole(*batch[0])
            return
        with self._budget.holding(sum(file.size for file, _ in batch)):
            data = b"".join(part for file, body in batch for part in (wire.frame(file), body.read()))
            self._call(lambda: self._ask("POST", "batch", data=data, kind=wire.BATCH_TYPE))
        for file, _ in batch:
            self._missing.discard(file.key)

    def _put_whole(self, file: FileSpec, body: Body) -> None:
        with self._budget.holding(file.size):
            data = body.read()
            self._call(lambda: self._ask("PUT", "file", {"key": file.key}, data=data))
        self._missing.discard(file.key)

    def _put_large(self, file: FileSpec, body: Body) -> None:
        if file.size >= DIRECT_BYTES and self._direct.is_on and self._put_direct(file, body):
            return
        if file.size <= self._most:
            self._put_whole(file, body)
        else:
            self._put_parts(file, body)

    def _put_direct(self, file: FileSpec, body: Body) -> bool:
        return self._direct.put(
            lambda: self.sign(file, lifetime_s=0), lambda token: self.complete_signed(file, token), body
        )

    def _put_parts(self, file: FileSpec, body: Body) -> None:
        if "parts" not in self._server.ready().abilities:
            raise failure(
                RequestRefused,
                f"{self._server.address.url} takes {self._most} bytes at once and no parts, and {file.key!r} has "
                f"{file.size}; ask its operator to raise --body-bytes",
            )
        for left in range(ROUNDS, 0, -1):
            is_first = left == ROUNDS and not self._request.resumed
            there = [] if is_first else [(part.start, part.size) for part in self.parts(file)]
            pieces = _cut(_gaps(there, file.size), self._most)
            send_pieces(body, pieces, partial(self._send_part, file), self._budget, check=False)
            try:
                self.join_parts(file)
            except NotFound:  # some part is not there any more
                if left == 1:
                    raise
            else:
                return

    def _send_part(self, file: FileSpec, start: int, data: bytes) -> None:
        # The server compares the whole when it is joined, so that no part is hashed twice.
        self._call(lambda: self._ask("PUT", "part", {"key": file.key, "start": start}, data=data))


def _read(body: Body) -> bytes:
    """All bytes of a body whose checksum nobody knows.

    Raises:
        SourceChanged: Fewer bytes arrive.
    """
    with body.open() as stream:
        data = stream.read(body.size)
    if len(data) != body.size:
        raise SourceChanged(f"{body.what} changed while it was uploaded; upload again when nothing writes to it")
    return data


def hashing_s(size_bytes: int) -> float:
    """Return the seconds that a server may take to read so many bytes."""
    return size_bytes / HASHED_BYTES_S


def _gaps(there: Sequence[Piece], size: int) -> list[Piece]:
    """Return the bytes of [0, size) that no part has."""
    gaps, at = [], 0
    for start, length in sorted(there):
        if start > at:
            gaps.append((at, start - at))
        at = max(at, start + length)
    if at < size:
        gaps.append((at, size - at))
    return gaps


def _cut(gaps: Sequence[Piece], most: int) -> list[Piece]:
    """Return the same bytes in pieces of at most so many."""
    return [(at, min(most, start + length - at)) for start, length in gaps for at in range(start, start + length, most)]
