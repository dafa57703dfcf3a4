"""What a service's answer means: one table of error codes for all drivers of object stores, with what to do next.

The codes are those of the S3 API (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), which the stores
that imitate it share; a driver that reports an HTTP status alone asks with that, as text.
"""

from __future__ import annotations

from collections.abc import Mapping

from t9k.em.errors import (
    AlreadyExists,
    BackendError,
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    EMError,
    InvalidKey,
    InvalidURI,
    NotFound,
)

_Meaning = tuple[type[EMError], str]

_DENIED: _Meaning = (
    BackendPermissionError,
    "the credentials do not allow this; ask for permission to list, read, write and delete there",
)
_WRONG_KEY: _Meaning = (
    BackendPermissionError,
    "the credentials are wrong; check the profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)
_EXPIRED: _Meaning = (
    BackendPermissionError,
    "the credentials have expired; get new ones (with AWS SSO: aws sso login) and run the same command again",
)
_NO_BUCKET: _Meaning = (InvalidURI, "there is no such bucket; make it first, or correct the URI and the endpoint")
_CLOCK: _Meaning = (
    BackendPermissionError,
    "this machine's clock differs from the store's by more than it accepts; set the clock",
)
_ELSEWHERE: _Meaning = (
    InvalidURI,
    "the bucket lies in another region; add '?region=...' to the URI, or set AWS_REGION",
)
_BUSY: _Meaning = (BackendUnavailable, "the store is busy; run the same command again, it goes on where it stopped")
_FULL: _Meaning = (BackendFull, "the store is full or over its quota; make room and run the same command again")
_TAKEN: _Meaning = (AlreadyExists, "an object is there already")
_TOO_LONG: _Meaning = (
    InvalidKey,
    "the key is too long for the store, which counts the root in; use shorter names, or a shorter root",
)
_UNABLE: _Meaning = (BackendError, "the store cannot do what it was asked; use another store, or a newer version of it")
_GONE: _Meaning = (NotFound, "there is no such object")

_MEANINGS: Mapping[str, _Meaning] = {
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "Forbidden": _DENIED,
    "403": _DENIED,
    "401": _WRONG_KEY,
    "Unauthorized": _WRONG_KEY,
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_KEY,
    "InvalidToken": _WRONG_KEY,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "PermanentRedirect": _ELSEWHERE,
    "301": _ELSEWHERE,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "RequestTimeTooSkewed": _CLOCK,
    "NoSuchBucket": _NO_BUCKET,
    "KeyTooLongError": _TOO_LONG,
    "NotImplemented": _UNABLE,
    "501": _UNABLE,
    "NoSuchKey": _GONE,
    "404": _GONE,
    "PreconditionFailed": _TAKEN,
    "412": _TAKEN,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "507": _FULL,
    "SlowDown": _BUSY,
    "TooManyRequests": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "OperationAborted": _BUSY,
    "ConditionalRequestConflict": _BUSY,
    "RequestTimeout": _BUSY,
    "409": _BUSY,
    "429": _BUSY,
    "500": _BUSY,
    "502": _BUSY,
    "503": _BUSY,
    "504": _BUSY,
}


def failure(code: str, place: str, status: str = "", *, region: str = "") -> EMError:
    """Return the error that an answer stands for.

    A conditional write that the store answers with a conflict (409) is not lost: another one is in progress, and the
    outcome is unknown until somebody looks.

    Args:
        code: Error code or HTTP status of the answer.
        place: What was asked for, as a URI without secrets.
        status: HTTP status, for a code that the table does not have; without one the outcome is unknown.
        region: Where the bucket lies, for one that lies elsewhere; '' where nobody says.
    """
    meaning = _MEANINGS.get(code) or _MEANINGS.get(status)
    kind, advice = meaning or (None, "")
    if region and meaning is _ELSEWHERE:
        advice = (
            f"the bucket lies in the region {region}; add '?region={region}' to the URI, or set AWS_REGION={region}"
        )
    if kind is None:
        status = code if code.isdigit() else status
        if status.startswith("4"):  # the request itself is at fault
            return BackendError(
                f"{place}: the store refuses the request ({code}); look at its permissions and its settings"
            )
        return BackendUnavailable(
            f"{place}: the store answers {code or 'nothing'}; run the same command again, it goes on where it stopped"
        )
    return kind(f"{place}: {advice}")


def no_credentials(place: str) -> EMError:
    """Return the error for a request that nobody can sign."""
    return BackendPermissionError(
        f"{place}: no credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add "
        "'?anonymous=true' to the URI of a public bucket"
    )


def unreachable(place: str, endpoint: str) -> EMError:
    """Return the error for a store that nothing comes back from.

    Args:
        place: What was asked for.
        endpoint: Where it was looked for; '' for the service's own address.
    """
    where = f" at {endpoint}" if endpoint else ""
    return BackendUnavailable(
        f"{place}: the store{where} cannot be reached; check the network and the endpoint, then run the same command "
        "again, it goes on where it stopped"
    )


def untrusted(place: str, endpoint: str) -> EMError:
    """Return the error for a service whose TLS certificate is not good here.

    Args:
        place: What was asked for.
        endpoint: Where the service is; '' for its own address.
    """
    of = f" of {endpoint}" if endpoint else ""
    return BackendUnavailable(
        f"{place}: the TLS certificate{of} is not trusted here, is for another name, or has expired; if an authority of your "
        "own signed it, put the certificate of that into a file and set AWS_CA_BUNDLE to its path"
    )


def forget(error: BaseException | None) -> None:
    """Empty the errors of a driver, which may hold a whole answer with the session token in it.

    One of ours takes their place, but Python keeps them as its context, and some programs pickle that as well.

    Args:
        error: The last one; those that it came from are emptied too.
    """
    while error is not None and not isinstance(error, EMError):
        error.args = (type(error).__name__,)
        for name in vars(error).keys() & {"kwargs", "msg", "request", "response"}:
            setattr(error, name, {} if name != "msg" else "")
        error = error.__cause__ or error.__context__
