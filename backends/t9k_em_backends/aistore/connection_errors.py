"""What a connection that failed means: each reason has advice of its own."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from http.client import BadStatusLine, RemoteDisconnected
from urllib.parse import urlsplit

import requests
import urllib3

from t9k.em.errors import BackendError, BackendUnavailable
from t9k_em_backends.aistore.failures import RequestFailure, failure
from t9k_em_backends.aistore.signed import ForbiddenAddress
from t9k_em_backends.shared.allowance import SLOWEST_BYTES_S, TooMuch, TooSlow

DRIVER_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError)
"""What requests and urllib3 raise."""

_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")


def of_connection(error: Exception, where: str) -> RequestFailure:
    """Return what became of a request that got no answer; what the driver raised is emptied, for it knows the key.

    Args:
        error: What requests or urllib3 raised.
        where: The address of the server.
    """
    causes = list(_causes(error))
    found = _find(causes, where)
    _forget(causes)
    return found


def _find(causes: Sequence[BaseException], where: str) -> RequestFailure:
    host = urlsplit(where).hostname or where
    for kinds, explain in _MEANINGS:
        for cause in causes:
            if isinstance(cause, kinds) and (why := explain(cause, where, host)):
                return why
    return broken_off(where)


def broken_off(where: str) -> RequestFailure:
    """Return the error for a connection that ended too early.

    Args:
        where: The address of the server.
    """
    return _down(f"{where} broke the connection off; try again", maybe_executed=True, dropped=True)


def _down(message: str, *, again: bool = True, maybe_executed: bool = False, dropped: bool = False) -> RequestFailure:
    error = failure(BackendUnavailable, message, is_connection=True)
    return RequestFailure(error=error, again=again, maybe_executed=maybe_executed, dropped=dropped)


def _proxy(cause: BaseException, where: str, host: str) -> RequestFailure:
    return _down(
        f"{where} cannot be reached through the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY); correct it, "
        f"or name {host} in NO_PROXY",
        again=not isinstance(cause, requests.exceptions.InvalidProxyURL),
    )


def _dns(cause: BaseException, where: str, host: str) -> RequestFailure:
    return _down(
        f"{where}: there is no host {host}, says DNS; check the address, and the network",
        again=isinstance(cause, OSError) and cause.errno == socket.EAI_AGAIN,
    )


def _certificate(cause: BaseException, where: str, host: str) -> RequestFailure:
    why = getattr(cause, "verify_message", "") or "not trusted"
    if "mismatch" in why or "match" in why or "valid for" in why:
        advice = f"is for another name than {host}; use the name that it is for"
    elif "expired" in why:
        advice = "has expired; ask the operator of the server to renew it, and check the clock of this machine"
    else:
        advice = (
            f"is not trusted here ({why}); put the certificate of the authority that signed it into a file, and set "
            "REQUESTS_CA_BUNDLE to its path"
        )
    return _down(f"{where}: its TLS certificate {advice}", again=False)


def _tls(cause: BaseException, where: str, _: str) -> RequestFailure:
    reason = getattr(cause, "reason", "") or "broken off"
    if reason in _PLAIN:
        return _down(f"{where} does not speak TLS; is its address http:// and not https://?", again=False)
    return _down(f"{where}: TLS failed ({reason}); try again", maybe_executed=True)


def _refused(_: BaseException, where: str, __: str) -> RequestFailure:
    return _down(
        f"{where} refuses connections, so nothing listens there; check the address and port, or start the server"
    )


def _silent(_: BaseException, where: str, __: str) -> RequestFailure:
    return _down(f"{where} cannot be reached, a connection gets no answer; check the address, network and firewall")


def _late(_: BaseException, where: str, __: str) -> RequestFailure:
    return _down(f"{where} did not answer in time; try again, or wait longer with '?timeout=120'", maybe_executed=True)


def _slow(_: BaseException, where: str, __: str) -> RequestFailure:
    return _down(
        f"{where} sends or takes less than {SLOWEST_BYTES_S >> 10} KiB a second; try again, or wait longer with "
        "'?timeout=120'",
        maybe_executed=True,
    )


def _endless(_: BaseException, where: str, __: str) -> RequestFailure:
    return RequestFailure(
        error=failure(BackendError, f"{where} answers without end, which no AIStore does; is that the server you mean?")
    )


def _forbidden(cause: BaseException, where: str, _: str) -> RequestFailure:
    return RequestFailure(error=failure(BackendError, f"{where}: {cause}"))


def _no_http(cause: BaseException, where: str, _: str) -> RequestFailure | None:
    if isinstance(cause, RemoteDisconnected):
        return None
    return _down(f"{where} does not answer in HTTP; is its address https:// and not http://?", again=False)


def _bundle(cause: BaseException, where: str, _: str) -> RequestFailure | None:
    if "TLS CA certificate bundle" not in str(cause):
        return None
    message = f"{where}: the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names is not there; correct the variable"
    return RequestFailure(error=failure(BackendError, message))


def _address(_: BaseException, where: str, __: str) -> RequestFailure:
    return RequestFailure(
        error=failure(
            BackendError, f"{where}, or a proxy that the environment names (HTTPS_PROXY), is no address; correct it"
        )
    )


_Explain = Callable[[BaseException, str, str], RequestFailure | None]
_MEANINGS: Sequence[tuple[tuple[type[BaseException], ...], _Explain]] = (  # the first that fits
    ((TooMuch,), _endless),
    ((ForbiddenAddress,), _forbidden),
    ((requests.exceptions.InvalidProxyURL, requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), _proxy),
    ((socket.gaierror,), _dns),
    ((ssl.SSLCertVerificationError,), _certificate),
    ((ssl.SSLError,), _tls),
    ((ConnectionRefusedError,), _refused),
    ((requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError), _silent),
    ((TooSlow,), _slow),
    ((requests.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError), _late),
    ((BadStatusLine,), _no_http),
    ((OSError,), _bundle),
    ((requests.exceptions.InvalidURL, urllib3.exceptions.LocationParseError, UnicodeError), _address),
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it: requests wraps what urllib3 wraps."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            pending += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def _forget(causes: Sequence[BaseException]) -> None:
    """Take requests, answers and URLs out of the errors of a driver, which Python keeps beside ours."""
    for cause in causes:
        if isinstance(cause, (requests.RequestException, urllib3.exceptions.HTTPError)):
            cause.args = (type(cause).__name__,)
            for name in vars(cause).keys() & {"request", "response", "pool", "url", "reason", "_message", "conn"}:
                setattr(cause, name, None)
