"""Requests to one server: the session, who asks, retries, and what answers mean."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any
from urllib.request import getproxies_environment

import requests
from attrs import define

from t9k.em.errors import BackendError
from t9k_em_backends.aistore.bodies import MOST_BYTES, read_document
from t9k_em_backends.aistore.connection_errors import DRIVER_ERRORS, broken_off, of_connection
from t9k_em_backends.aistore.error_responses import is_cut, is_encoded, of_answer
from t9k_em_backends.aistore.failures import Failed, failure
from t9k_em_backends.aistore.retries import Patience, Retries
from t9k_em_backends.aistore.transport import Check, PacedAdapter, within
from t9k_em_backends.shared.allowance import Allowance
from t9k_em_backends.shared.proxies import passes_by

CONNECTIONS = 64
CONNECT_S = 10.0
OVERHEAD_BYTES = 1 << 20
"""What may come beside the body of an answer and as much again for the frames of its chunks: heads and trailers."""


class Bearer(requests.auth.AuthBase):
    """Send an API key, and keep requests from sending what a .netrc says instead.

    Args:
        key: The key; '' sends none.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def __repr__(self) -> str:
        return "<Bearer>"


NOBODY = Bearer("")


class Sessions:
    """The session of each process.

    One session serves all threads: its connections are those of urllib3, whose pools are made for that, and nothing
    else in it is changed once it is made. A session for each thread would begin without connections in every upload,
    whose threads are new. After a fork the child makes its own, for a connection that two processes use tells each
    of them what the other asked for.

    Args:
        check: Of the addresses that connections lead to.
    """

    def __init__(self, check: Check | None = None) -> None:
        self._of_process: _Session | None = None
        self._check = check

    def send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Bearer,
        timeout: tuple[float, float],
        most_bytes: int,
    ) -> requests.Response:
        """Make a request once; its answer is left to be read, and a redirect is an answer.

        Args:
            method: Of HTTP.
            url: Where to.
            params: Of the query.
            data: The body.
            headers: More of them.
            auth: Who asks.
            timeout: For the connection and for each piece of data, in seconds. In all it may wait for both of these, and for
                what the bytes need at `SLOWEST_BYTES_S`.
            most_bytes: How many bytes the body of the answer may have at most.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError, OSError: There was no answer.
        """
        own = self._of_process
        if own is None or own.process != os.getpid():
            own = self._of_process = _Session()  # two threads may do this at once: one of the two stays
        request = requests.Request(method, url, params=params, data=data, headers=headers, auth=auth)
        prepared = own.session.prepare_request(request)
        allowance = Allowance(timeout[1], sum(timeout), most_bytes=2 * most_bytes + OVERHEAD_BYTES)
        with within(allowance, self._check):
            return own.session.send(prepared, timeout=timeout, allow_redirects=False, **own.settings(url))

    def close(self) -> None:
        """Close idle connections; the next use makes new ones."""
        own, self._of_process = self._of_process, None
        if own is not None and own.process == os.getpid():
            own.session.close()


class _Straight(requests.Session):
    """Go nowhere else: even where redirects are not followed, requests reads their body and prepares for them."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """See requests; there is none."""


class _Session:
    """The session of this process, and what the environment says about proxies and certificates.

    That is looked up once for each host: doing it for every request would take longer than the request itself.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.session = _Straight()
        adapter = PacedAdapter(pool_connections=8, pool_maxsize=CONNECTIONS, max_retries=0)
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        agent = f"t9k-em/{version('t9k-em')} {requests.utils.default_user_agent()}"
        # Bytes arrive as they are kept, and ranges of them.
        self.session.headers.update({"User-Agent": agent, "Accept-Encoding": "identity"})
        self._settings: dict[str, Any] = {}

    def settings(self, url: str) -> dict[str, Any]:
        """Return the arguments of `Session.send` beside the request."""
        host = url.partition("?")[0].split("/", 3)[2]
        found: dict[str, Any] | None = self._settings.get(host)
        if found is None:
            found = dict(self.session.merge_environment_settings(url, {}, True, None, None))
            if passes_by(url, getproxies_environment().get("no", "")):  # where requests does not see it
                found["proxies"] = {}
            self._settings[host] = found
        return found


@define
class Connection:
    """How one server is asked.

    Attributes:
        url: Its address.
        timeout_s: How long to wait for data.
        retries: How often to ask.
    """

    url: str
    timeout_s: float
    retries: Retries
    _key: Callable[[], str]
    _sessions: Sessions

    def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        document: Any = None,
        data: bytes | None = None,
        kind: str = "application/octet-stream",
        patience: Patience | None = None,
        wait_s: float = 0.0,
        anonymous: bool = False,
    ) -> Any:
        """Make a request, again where that helps.

        Args:
            method: Of HTTP.
            path: Of the API, after the server's address.
            params: Of the query.
            document: A body as JSON.
            data: A body of bytes.
            kind: What `data` is.
            patience: How often to try; by default as `retries` say.
            wait_s: How much longer than `timeout_s` the answer may take.
            anonymous: Whether to leave the API key out.

        Returns:
            What the JSON in the answer holds; None for an answer without content.

        Raises:
            EMError: See `t9k_em_backends.aistore.failures`.
        """
        headers = {}
        if document is not None:
            data, kind = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), "application/json"
        if data is not None:
            headers["Content-Type"] = kind

        def once() -> Any:
            response = self.send(method, path, params, data=data, headers=headers, wait_s=wait_s, anonymous=anonymous)
            if response.status_code == 204:  # noqa: PLR2004 - No Content
                response.close()
                return None
            return read_document(response, self.url)

        return self.repeat(once, patience)

    def repeat(self, once: Callable[[], Any], patience: Patience | None = None) -> Any:
        """Try something until it succeeds, fails for good, or patience ends.

        Args:
            once: What to do; raises `Failed`.
            patience: How often.

        Raises:
            EMError: The last error.
        """
        patience = patience or self.retries.begin()
        while True:
            try:
                return once()
            except Failed as failed:
                why = failed.why
            patience.maybe_executed |= why.maybe_executed
            if why.dropped and patience.at_once():
                continue
            if not why.again or not patience.wait(why.after_s):
                raise why.error from None

    def send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        anonymous: bool = False,
        most_bytes: int | None = None,
    ) -> requests.Response:
        """Make a request once, and leave the body of a good answer to be read.

        Raises:
            Failed: No try got a good answer.
        """
        auth = NOBODY if anonymous else Bearer(self._key())  # which may raise, and errors of ours are OSErrors as well
        try:
            response = self._sessions.send(
                method,
                f"{self.url}{path}",
                params=params,
                data=data,
                headers=headers,
                auth=auth,
                timeout=(min(CONNECT_S, self.timeout_s), self.timeout_s + wait_s),
                most_bytes=MOST_BYTES if most_bytes is None else most_bytes,
            )
        except DRIVER_ERRORS as error:
            raise Failed(of_connection(error, self.url)) from None
        if is_cut(response):
            response.close()
            raise Failed(broken_off(self.url))
        if not 200 <= response.status_code < 300:  # noqa: PLR2004 - success
            raise Failed(of_answer(response, self.url))
        if is_encoded(response):
            response.close()
            raise failure(
                BackendError,
                f"{self.url} compresses what it was asked to send as it is; ask its operator, or that of a proxy on the way, to switch "
                "compression off for it",
                response.status_code,
            )
        return response
