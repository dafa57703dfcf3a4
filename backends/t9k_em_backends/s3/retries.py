"""What botocore repeats and should not, and what it should and does not.

A service whose certificate is not trusted has the same one a moment later. And Amazon says 503 SlowDown where services like
it and the proxies before them say 429 TooManyRequests, which botocore knows by another name only.
"""

from __future__ import annotations

import random
from typing import Any

TRIES = 7
LONGEST_S = 30.0
_TOO_MANY_REQUESTS = 429


def is_about_certificates(error: BaseException) -> bool:
    """Return whether a request failed because of the certificate of the service."""
    said = str(error)
    return "CERTIFICATE_VERIFY_FAILED" in said or ("SSL validation failed" in said and "doesn't match" in said)


def fix_retries(session: Any, tries: int = TRIES) -> None:
    """Make the S3 clients of a session repeat what helps.

    What is answered with status 429 is repeated after a wait, as long as `Retry-After` says; what fails because of a
    certificate is not repeated.

    Args:
        session: Of botocore or aiobotocore; only clients that it makes afterwards do this.
        tries: How often a request is made at most.
    """

    def pause_s(response: Any, attempts: int, caught_exception: BaseException | None = None, **_: Any) -> float | None:
        if caught_exception is not None and is_about_certificates(caught_exception):
            raise caught_exception
        answer = response[1].get("ResponseMetadata", {}) if response is not None else {}
        if answer.get("HTTPStatusCode") != _TOO_MANY_REQUESTS or attempts >= tries:
            return None
        told = answer.get("HTTPHeaders", {}).get("retry-after", "")
        own_s = 2.0 ** (attempts - 1) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        return min(LONGEST_S, float(told) if told.isdigit() else own_s)

    session.register("needs-retry.s3", pause_s)
