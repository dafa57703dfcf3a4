"""What one process has of a bucket: obstore's driver, botocore's, the short way over plain HTTP and the threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from t9k.em.errors import BackendError, EMError
from t9k_em_backends.s3.access import Access, find_access
from t9k_em_backends.s3.botocore_client import S3Client
from t9k_em_backends.s3.multipart import Multipart
from t9k_em_backends.s3.obstore_errors import translated
from t9k_em_backends.s3.plain_http.seam import plain_http_for
from t9k_em_backends.shared import inherited
from t9k_em_backends.shared.pacing import FEWEST, MOST
from t9k_em_backends.shared.timeouts import CONNECT_TIMEOUT_S

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Store

    from t9k_em_backends.s3.location import S3Location
    from t9k_em_backends.shared.pacing import Budget

REQUEST_TIMEOUT_S = 300.0
STALL_TIMEOUT_S = 60.0
COPY_TRIES = 3
"""How often a copy over plain HTTP is tried before it is left: a source may be gone, or the service busy."""

_NOT_FROM_THE_ENVIRONMENT: Mapping[str, Any] = {
    "s3_express": False,
    "request_payer": False,
    "conditional_put": "etag",
    "copy_if_not_exists": "multipart",
    "disable_tagging": False,
    "disable_bulk_delete": False,
}
"""What obstore would otherwise take from variables like AWS_S3_EXPRESS, which no other tool of AWS reads."""

_REFUSED_VARIABLES = ("AWS_SERVER_SIDE_ENCRYPTION",)
"""Variables that obstore obeys whatever it is told, and that botocore does not know: half of the requests would differ."""

RETRIES: RetryConfig = {"max_retries": 6, "retry_timeout": timedelta(seconds=90)}


class S3Clients:
    """What one process has of a store: the drivers and the threads.

    Attributes:
        process: Its number.
        ahead_s: The store's clock minus `time.monotonic`, once it is known.
        copies_keep_etags: Whether a copy is known to have the ETag of its source.
        trying_copies: Lock for the trial that sets `copies_over_http`.
        copies_over_http: Whether copies go over `plain_http`.
        copy_tries: Number of trials that are left.
        credentials: What gives them to obstore; None for requests without.
    """

    def __init__(self, place: S3Location, budget: Budget) -> None:
        self._place = place
        self.process = os.getpid()
        self.ahead_s: float | None = None
        self.copies_keep_etags = False
        self.trying_copies = threading.Lock()
        self.copies_over_http = False
        self.copy_tries = COPY_TRIES
        self.access = find_access(place)
        _refuse_variables(place)
        self.credentials = None if self.access.credentials is None else Credentials(self.access.credentials)
        self.client = S3Client(place, self.access)
        self.obstore = self._make()
        self.pool = ThreadPoolExecutor(8, thread_name_prefix="em-s3")
        self.writers = ThreadPoolExecutor(FEWEST, thread_name_prefix="em-s3-put")  # which may wait for `pool`
        self.plain_http = (
            plain_http_for(place.bucket, self.access, place.timeout_s or STALL_TIMEOUT_S) if place.plain_http else None
        )
        self.multipart = Multipart(call=self.client.call, budget=budget, pool=self.pool)
        self._from_buckets: dict[str, S3Store] = {place.bucket: self.obstore}
        inherited.outlive_forks(self)

    @property
    def refused(self) -> EMError | None:
        """Why the credentials could not be renewed, when that happened."""
        return None if self.credentials is None else self.credentials.refused

    def translated(self, where: str) -> contextlib.AbstractContextManager[None]:
        """Return the context in which calls of obstore are made.

        Args:
            where: What is asked for, as errors call it.
        """
        return translated(where, self.access.endpoint, refused=lambda: self.refused, region=self.client.region)

    def may_try_copies(self) -> bool:
        """Return whether it pays to find out if the service copies over plain HTTP."""
        return self.copy_tries > 0 and self.plain_http is not None and not self.plain_http.is_paused

    def from_bucket(self, bucket: str) -> S3Store:
        """Return a driver whose copies come out of another bucket into this one.

        obstore copies within one bucket. A store that takes this bucket for the host of another one names the other
        in the header that says what to copy, and this one in the URL.
        """
        if bucket not in self._from_buckets:
            self._from_buckets[bucket] = self._make(source=bucket)
        return self._from_buckets[bucket]

    def _make(self, source: str | None = None) -> S3Store:
        with self.translated(self._place.text):
            return make_driver(self._place, self.access, self.credentials, source)


class Credentials:
    """Give obstore the credentials as they are now; obstore would report a credential error like any other.

    Holds no reference to `S3Clients`: references that obstore holds are invisible to the garbage collector and would leak it.

    Args:
        find: What gives them.

    Attributes:
        refused: Why there were none when they were last asked for.
    """

    def __init__(self, find: Callable[[], Mapping[str, Any]]) -> None:
        self._find = find
        self.refused: EMError | None = None

    def __call__(self) -> Mapping[str, Any]:
        """Give them."""
        try:
            given = self._find()
        except EMError as error:
            self.refused = error
            raise
        self.refused = None
        return given


def _refuse_variables(place: S3Location) -> None:
    for name in _REFUSED_VARIABLES:
        if name in os.environ:
            raise BackendError(
                f"{place.text}: {name} in the environment would be obeyed by some requests and not by others; unset the "
                "variable and set the default encryption of the bucket, or open it with '?driver=fsspec', which does not read it"
            )


def make_driver(
    place: S3Location, access: Access, credentials: Callable[[], Mapping[str, Any]] | None, source: str | None = None
) -> S3Store:
    """Return the driver of obstore for a bucket.

    Args:
        place: The bucket.
        access: How it is reached.
        credentials: What gives them; None for requests without.
        source: See `S3Clients.from_bucket`.
    """
    from obstore.store import S3Store  # noqa: PLC0415 - `t9k_em_backends.s3.obstore_store` says what to do where there is none

    seconds = place.timeout_s or REQUEST_TIMEOUT_S
    options: dict[str, Any] = {
        **_NOT_FROM_THE_ENVIRONMENT,
        "region": access.region,
        "default_region": access.region,
        "endpoint": access.service,
        "virtual_hosted_style_request": not access.path_style,
        "allow_http": access.service.startswith("http://"),
        "skip_signature": credentials is None,
        # The SHA-256 that the service compares; it makes signing the bytes as well superfluous.
        "checksum_algorithm": "SHA256",
        "unsigned_payload": True,
    }
    if source is not None:
        options |= {"endpoint": f"{access.service}/{place.bucket}", "virtual_hosted_style_request": True}
    elif not access.path_style:
        options["endpoint"] = access.url_of(place.bucket)
    if "AWS_ENDPOINT_URL_S3" in os.environ:  # which comes before any other endpoint in obstore, that of the caller too
        options["aws_endpoint_url_s3"] = options["endpoint"]
    if credentials is not None:
        options["credential_provider"] = credentials
    # Without these, or with some of them missing, obstore looks for them in the environment.
    client_options: ClientConfig = {
        "allow_http": access.service.startswith("http://"),
        "allow_invalid_certificates": False,
        "timeout": timedelta(seconds=seconds),
        "connect_timeout": timedelta(seconds=min(CONNECT_TIMEOUT_S, seconds)),
        "pool_max_idle_per_host": str(MOST),
        **_proxied(access, options["endpoint"]),
    }
    if access.ca_bundle:
        client_options["root_certificate"] = Path(access.ca_bundle).read_bytes()
    return S3Store(source or place.bucket, client_options=client_options, retry_config=RETRIES, **options)


def _proxied(access: Access, endpoint: str) -> ClientConfig:
    """Have obstore go by the proxy that was found; without one, past a proxy that it would find by itself.

    The only way to use no proxy is to name one, and to except the requested host.
    """
    if access.proxy:
        return {"proxy_url": access.proxy, "proxy_excludes": ""}
    return {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": (urlsplit(endpoint).hostname or "").lower()}
