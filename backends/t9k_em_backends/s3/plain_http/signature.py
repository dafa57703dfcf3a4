"""Signature Version 4 of one request, as https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html has it.

botocore signs too, but takes as long for it as a small request takes altogether.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"


def encoded_path(path: str) -> str:
    """Return a path as it stands in a request and in what is signed: S3 wants each byte escaped that is not unreserved."""
    return quote(path, safe="/-_.~")


def sign(
    method: str,
    path: str,
    headers: Mapping[str, str],
    credentials: Mapping[str, Any],
    region: str,
    clock: Callable[[], float] = time.time,
) -> dict[str, str]:
    """Return the headers of a request to S3 and those that sign it and them; its body is not signed.

    Args:
        method: Of the request.
        path: From `encoded_path`; there is no query.
        headers: By lower-case name, `host` among them.
        credentials: `access_key_id`, `secret_access_key` and `token`.
        region: Of the bucket.
        clock: Seconds since the epoch.
    """
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock()))
    signed = {**headers, "x-amz-content-sha256": UNSIGNED_PAYLOAD, "x-amz-date": now}
    if credentials.get("token"):
        signed["x-amz-security-token"] = credentials["token"].strip()
    names = sorted(signed)
    which = ";".join(names)
    lines = "".join([f"{name}:{signed[name].strip()}\n" for name in names])
    request = f"{method}\n{path}\n\n{lines}\n{which}\n{UNSIGNED_PAYLOAD}"
    day = now[:8]
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"{_ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = _key(credentials["secret_access_key"], day, region)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    signed["authorization"] = (
        f"{_ALGORITHM} Credential={credentials['access_key_id']}/{scope}, SignedHeaders={which}, Signature={signature}"
    )
    return signed


@lru_cache(maxsize=8)
def _key(secret: str, day: str, region: str) -> bytes:
    """Return the key that signs all requests of a day."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
