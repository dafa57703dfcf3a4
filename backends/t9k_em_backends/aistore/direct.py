"""Large files straight to and from the store behind a server, by requests that the server signs.

Where that does not work from here, for the store is in another network or refuses, files go through the server, and
this is not tried again until the backend is closed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import requests
from attrs import evolve

from t9k.em import wire
from t9k.em.errors import BackendUnavailable, CorruptData, NotFound, RequestRefused, SourceChanged
from t9k_em_backends.aistore.connection import CONNECT_S, NOBODY, Sessions
from t9k_em_backends.aistore.connection_errors import DRIVER_ERRORS, of_connection
from t9k_em_backends.aistore.failures import failure
from t9k_em_backends.aistore.logs import keep_signatures_out
from t9k_em_backends.aistore.pieces import send_pieces
from t9k_em_backends.aistore.signed import Hosts, Refused, check_signed, headers_of, place_of

if TYPE_CHECKING:
    from t9k.em.memory.budget import Budget
    from t9k.em.records import Body, SignedRequest, SignedUpload
    from t9k_em_backends.aistore.retries import Retries
    from t9k_em_backends.aistore.server import Server

DIRECT_BYTES = 8 << 20
"""From this size on a file takes the straight way: below, signing costs more than it saves."""

MOST_BYTES = 64 << 20
"""The most that one signed request may carry, for its body is kept in memory."""

MOST_REQUESTS = 10_000
"""The most requests that bring one file, which is how many parts S3 joins."""

ROUNDS = 3

_log = logging.getLogger(__name__)


class _NotOursError(Exception):
    """Somebody else has sent parts of a file, of which nothing is known; never leaves this module."""


class Direct:
    """The straight way of one backend.

    Args:
        server: Who signs.
        retries: How often to ask.
        budget: Where memory comes from.
    """

    def __init__(self, server: Server, retries: Retries, budget: Budget) -> None:
        self._server = server
        self._retries = retries
        self._budget = budget
        self._hosts = Hosts(server.address.url)
        self._sessions = Sessions(self._hosts.check_text)  # others than the server's: no key is ever near them
        self._works: bool | None = None

    @property
    def is_on(self) -> bool:
        """Whether to try the straight way."""
        about = self._server.about
        return (
            self._works is not False
            and self._server.address.direct
            and about is not None
            and "direct" in about.abilities
        )

    def close(self) -> None:
        """Close idle connections, and forget what did not work."""
        self._sessions.close()
        self._works = None

    def put(self, sign: Callable[[], SignedUpload | None], complete: Callable[[str], None], body: Body) -> bool:
        """Send a file.

        Args:
            sign: Signs what is missing of it; None where nothing is signed.
            complete: Reports to the server that it was sent.
            body: Its bytes.

        Returns:
            Whether it is there; otherwise it has to go through the server.

        Raises:
            SourceChanged: The bytes are not those that were announced; the server was not told.
        """
        sent: dict[int, tuple[int, bytes]] = {}
        for _ in range(ROUNDS):
            signed = sign()
            if signed is None:
                self._give_up("the server signs nothing for it")
                return False
            proven = self._works
            try:
                self._send(signed, body, sent)
            except _NotOursError:
                return False
            except Refused as refused:
                if proven:  # a signature ends after a while
                    continue
                self._give_up(str(refused))
                return False
            try:
                complete(signed.token)
            except NotFound:
                continue
            self._works = True
            return True
        self._give_up("what was sent does not arrive")
        return False

    def source(
        self, params: Mapping[str, Any], end: int, through: Callable[[int], requests.Response]
    ) -> Callable[[int], requests.Response]:
        """Return the function that reads a file from an offset on.

        Args:
            params: Names it to the server.
            end: The byte after the last that is wanted.
            through: Reads it through the server.
        """
        signed: SignedRequest | None = None
        first = ""

        def begin(at: int) -> requests.Response:
            nonlocal signed, first
            if not self.is_on:
                return through(at)
            why = ""
            for fresh in (True,) if signed is None else (False, True):  # a signature ends after a while
                try:
                    if fresh or signed is None:
                        signed = self._sign_read(params)
                    response = self._reply(signed, headers={"Range": f"bytes={at}-{end - 1}"}, most_bytes=end - at)
                except RequestRefused:
                    why = "the server signs nothing for it"
                    break
                except Refused as refused:
                    why = str(refused)
                    continue
                if response.status_code != 206:  # noqa: PLR2004 - Partial Content
                    response.close()
                    why = "it gives no ranges"
                    break
                tag = response.headers.get("ETag", "")
                first = first or tag
                if tag != first:
                    response.close()
                    raise failure(
                        CorruptData, f"{place_of(signed)}: a file was replaced while it was read; read it again"
                    )
                self._works = True
                return response
            if not self._works:
                self._give_up(why)
            return through(at)

        return begin

    def _sign_read(self, params: Mapping[str, Any]) -> SignedRequest:
        said = self._server.ask("GET", "/nodes/content/signed", params)
        return self._server.understood(lambda: wire.signed_of(said))

    def _send(self, signed: SignedUpload, body: Body, sent: dict[int, tuple[int, bytes]]) -> None:
        """Send what is missing of a file.

        Nobody compares the whole but this client, so that it has to know every part: one that is there already and was
        not sent by it a moment ago, but perhaps by a process that read a file which changed, is not built upon.

        Args:
            signed: What is missing.
            body: The bytes.
            sent: Start -> size and SHA-256 of the parts that were sent; added to.

        Raises:
            Refused: The store does not take them.
            _NotOursError: It has parts of which nothing is known.
            SourceChanged: The bytes are not those that were planned.
        """
        if any(request.size > MOST_BYTES for request in signed.requests):
            raise Refused(f"it wants more than {MOST_BYTES} bytes at once")
        if len(signed.requests) > MOST_REQUESTS:
            raise Refused(f"it wants more than {MOST_REQUESTS} requests")
        missing = {request.start: request for request in signed.requests}
        if len(missing) == 1 and signed.requests[0].size == body.size:
            with self._budget.holding(body.size):
                self._reply(signed.requests[0], data=body.read()).close()
            return
        sizes = {start: size for start, (size, _) in sent.items()}
        sizes |= {start: request.size for start, request in missing.items()}
        pieces = sorted(sizes.items())
        if [start for start, _ in pieces] != [0, *accumulate(size for _, size in pieces)][:-1] or (
            sum(sizes.values()) != body.size
        ):
            raise _NotOursError

        def send(start: int, data: bytes) -> None:
            known = len(data), hashlib.sha256(data).digest()
            if start in missing:
                self._reply(missing[start], data=data).close()
                sent[start] = known
            elif sent[start] != known:
                raise SourceChanged(
                    f"{body.what} changed while it was uploaded; upload again when nothing writes to it"
                )

        send_pieces(body, pieces, send, self._budget, check=True)

    def _reply(
        self,
        signed: SignedRequest,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = 0,
    ) -> requests.Response:
        """Send a signed request, again where that helps.

        Args:
            signed: The request.
            data: Its body.
            headers: More of them.
            most_bytes: How many bytes the body of the answer may have at most.

        Raises:
            Refused: The store does not take it, or cannot be reached from here and never could.
            BackendUnavailable: The store, which was reached before, cannot be reached.
        """
        check_signed(signed, "GET" if data is None else "PUT", self._hosts)
        place = place_of(signed)
        rules = self._retries if self._works else evolve(self._retries, most=2, total_s=min(5.0, self._retries.total_s))
        patience = rules.begin()
        timeout_s = self._server.address.timeout_s
        keep_signatures_out()
        while True:
            try:
                response = self._sessions.send(
                    signed.method,
                    signed.url,
                    data=data,
                    headers={**headers_of(signed), **(headers or {})},
                    auth=NOBODY,
                    timeout=(min(CONNECT_S, timeout_s), timeout_s),
                    most_bytes=most_bytes,
                )
            except DRIVER_ERRORS as error:
                why = of_connection(error, place)
                if (why.dropped and patience.at_once()) or (why.again and patience.wait()):
                    continue
                if self._works and why.again:
                    raise why.error from None
                raise Refused(str(why.error)) from None
            status = response.status_code
            if 200 <= status < 300:  # noqa: PLR2004 - success
                return response
            response.close()
            if status in (429, 500, 502, 503, 504):
                if patience.wait():
                    continue
                if self._works:
                    raise failure(BackendUnavailable, f"{place} answers {status}; try again later", status)
            raise Refused(f"{place} answers {status}")

    def _give_up(self, why: str) -> None:
        if self._works is not False:
            _log.info("large files go through %s and not straight to its store: %s", self._server.address.url, why)
        self._works = False
