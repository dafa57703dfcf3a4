"""What botocore does not repeat by itself: a request that the service answers with status 429.

Amazon says 503 SlowDown instead, but services like it and the proxies before them say 429 TooManyRequests, which
botocore knows by another name only.
"""

from __future__ import annotations

import random
from typing import Any

TRIES = 7
LONGEST_S = 30.0
_TOO_MANY_REQUESTS = 429


def retry_too_many_requests(session: Any, tries: int = TRIES) -> None:
    """Makes the S3 clients of a session wait and repeat what is answered with status 429, as long as `Retry-After` says.

    Args:
        session: Of botocore or aiobotocore; only clients that it makes afterwards do this.
        tries: How often a request is made at most.
    """

    def pause_s(response: Any, attempts: int, **_: Any) -> float | None:
        answer = response[1].get("ResponseMetadata", {}) if response is not None else {}
        if answer.get("HTTPStatusCode") != _TOO_MANY_REQUESTS or attempts >= tries:
            return None
        told = answer.get("HTTPHeaders", {}).get("retry-after", "")
        own_s = 2.0 ** (attempts - 1) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        return min(LONGEST_S, float(told) if told.isdigit() else own_s)

    session.register("needs-retry.s3", pause_s)
