"""The one place where what obstore raises becomes this library's errors: its own, Python's, and panics of Rust.

A panic is a `BaseException` (https://pyo3.rs/main/doc/pyo3/panic/struct.panicexception), which `except Exception` lets
pass: one in a thread that uploads would end it, with nobody told.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

from t9k.em.errors import BackendError, EMError
from t9k_em_backends.shared.error_codes import failure, forget, unreachable, untrusted

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_REGION = re.compile(r"<Region>([\w-]+)</Region>")
_REDIRECTED = "redirect without LOCATION"
_UNTRUSTED = re.compile(r"InvalidCertificate\(|invalid peer certificate")  # as rustls has it
_UNNAMEABLE = "Encountered object with invalid path"

_KINDS = {
    "NotFoundError": "404",
    "FileNotFoundError": "404",
    "AlreadyExistsError": "412",
    "PermissionDeniedError": "403",
    "UnauthenticatedError": "401",
}


class PastTheEnd(BackendError):
    """A range begins where the object ends."""


class Unnameable(BackendError):
    """A listing has a key that obstore cannot name, and nothing of that page comes."""


@contextlib.contextmanager
def translated(
    where: str, endpoint: str, *, refused: Callable[[], EMError | None], region: Callable[[], str]
) -> Iterator[None]:
    """Have errors of this library come out of calls of obstore, and no others.

    Args:
        where: What is asked for, as errors call it.
        endpoint: Where it is asked for; '' for Amazon.
        refused: Says why there were no credentials, when that happened.
        region: Asks where the bucket lies; '' where nobody knows.
    """
    try:
        yield
    except EMError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise  # Ctrl-C, and what ends a generator
        ours = refused()
        if ours is None:
            ours = _translate(error, where, endpoint, region)
        forget(error)
        raise ours from None


def is_panic(error: BaseException) -> bool:
    """Return whether Rust broke down; its class cannot be imported."""
    return type(error).__name__ == "PanicException"


def _translate(error: BaseException, place: str, endpoint: str, region: Callable[[], str]) -> EMError:
    """Return the error of this library for an error of obstore; its text holds the answer of the service, never a signature."""
    text = str(error)
    kind = type(error).__name__
    if is_panic(error) or not (
        type(error).__module__.startswith("obstore") or isinstance(error, (OSError, ValueError))
    ):
        return BackendError(
            f"{place}: obstore broke down ({kind}: {text.splitlines()[0][:200] if text else 'it says no more'}); look at the "
            "endpoint, the region and the bucket's name, or open it with '?driver=fsspec'"
        )
    code = next(iter(_CODE.findall(text)), "")
    status = next(iter(_STATUS.findall(text)), "")
    if status == "416":
        return PastTheEnd(place)
    if _REDIRECTED in text:
        code = "PermanentRedirect"
    if not (code or status):
        code = _KINDS.get(kind, "")
    if code or status:
        if code in {"AuthorizationHeaderMalformed", "PermanentRedirect"} or status == "301":
            return failure(code, place, status, region=next(iter(_REGION.findall(text)), "") or region())
        return failure(code, place, status)
    if _UNNAMEABLE in text:
        return Unnameable(f"{place}: there are objects whose keys obstore cannot name; open it with '?driver=fsspec'")
    if _UNTRUSTED.search(text):
        return untrusted(place, endpoint)
    return unreachable(place, endpoint)
