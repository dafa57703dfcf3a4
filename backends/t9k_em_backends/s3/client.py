"""The S3 API by botocore, for what obstore does not do: uploads in parts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from t9k.em.errors import InvalidURI, MissingExtra
from t9k_em_backends.failures import failure, forget, unreachable
from t9k_em_backends.s3.access import explained
from t9k_em_backends.s3.logs import keep_secrets_out
from t9k_em_backends.s3.retries import retry_too_many_requests

if TYPE_CHECKING:
    from t9k_em_backends.s3.access import Access
    from t9k_em_backends.s3.place import S3Place

CONNECTIONS = 16
TRIES = 7
TIMEOUT_S = 120.0


class S3Client:
    """One bucket; botocore is loaded and connected by the first call.

    Args:
        place: The bucket.
        access: How to reach it.
    """

    def __init__(self, place: S3Place, access: Access) -> None:
        self._place = place
        self._access = access
        self._client: Any = None
        self._making = threading.Lock()

    def call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """Makes one call of the API on the bucket.

        Args:
            operation: As botocore names it, for example 'upload_part'.
            **parameters: As the API names them.

        Returns:
            The answer.

        Raises:
            BackendError, NotFound: See `failures.failure`.
        """
        client = self._ready()
        from botocore import exceptions  # noqa: PLC0415 - slow to import, and small files need none

        where = f"s3://{self._place.bucket}/{parameters.get('Key', '')}"
        with explained(self._place):
            try:
                answer: Mapping[str, Any] = getattr(client, operation)(Bucket=self._place.bucket, **parameters)
            except exceptions.ClientError as error:
                found = error.response.get("Error", {}).get("Code", "")
                status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
                forget(error)
                raise failure("NoSuchKey" if found == "NoSuchUpload" else found, where, status) from None
            except exceptions.ParamValidationError as error:
                raise InvalidURI(f"{where}: {error}; correct the URI") from None
            except (exceptions.HTTPClientError, exceptions.ConnectionError, OSError):
                raise unreachable(where, self._access.endpoint) from None
            except RecursionError:  # a redirect that leads to itself
                raise failure("PermanentRedirect", where) from None
        return answer

    def _ready(self) -> Any:
        with self._making:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> Any:
        try:
            import botocore.session  # noqa: PLC0415 - slow to import, and small files need none
            from botocore import UNSIGNED  # noqa: PLC0415 - likewise
            from botocore.config import Config  # noqa: PLC0415 - likewise
        except ImportError as error:
            raise MissingExtra("botocore is not installed; pip install 't9k-em[obstore]'") from error
        access = self._access
        keep_secrets_out()
        session = botocore.session.Session(profile=self._place.profile)
        retry_too_many_requests(session, TRIES)
        config = Config(
            max_pool_connections=CONNECTIONS,
            connect_timeout=10,
            read_timeout=self._place.timeout_s or TIMEOUT_S,
            retries={"mode": "standard", "max_attempts": TRIES},
            # Every part carries a checksum that the service compares, so its bytes need not be signed as well.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "payload_signing_enabled": False,
                "addressing_style": "path" if access.path_style else "virtual",
            },
            **({"signature_version": UNSIGNED} if access.credentials is None else {}),
        )
        return session.create_client(
            "s3", endpoint_url=access.endpoint or None, region_name=access.region, config=config
        )
