"""The S3 API by botocore, for what obstore does not do: uploads in parts, and signatures."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from t9k.em.errors import BackendError, EMError, InvalidURI, MissingExtra, NotAuthenticated
from t9k_em_backends.s3.access import expiry, explained, tell_region
from t9k_em_backends.s3.logs import keep_secrets_out
from t9k_em_backends.s3.retries import TRIES, fix_retries, is_about_certificates
from t9k_em_backends.shared.error_codes import failure, forget, unreachable, untrusted

if TYPE_CHECKING:
    from t9k_em_backends.s3.access import Access
    from t9k_em_backends.s3.location import S3Location

CONNECTIONS = 16
TIMEOUT_S = 120.0
LONGEST_S = 7 * 24 * 3600  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html


def proxies(access: Access) -> Mapping[str, str]:
    """Return the proxies for botocore: the one that was found, and otherwise none that botocore would find by itself."""
    return {access.service.partition(":")[0]: access.proxy} if access.proxy else {}


class S3Client:
    """One bucket; botocore is loaded and connected by the first call.

    Args:
        place: The bucket.
        access: How to reach it.
    """

    def __init__(self, place: S3Location, access: Access) -> None:
        self._place = place
        self._access = access
        self._session: Any = None
        self._clients: dict[str | None, Any] = {}  # by how they sign; None for what the service wants
        self._making = threading.Lock()

    def call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """Make one call of the API on the bucket.

        Args:
            operation: As botocore names it, for example 'upload_part'.
            **parameters: As the API names them.

        Returns:
            The answer.

        Raises:
            BackendError, NotFound: See `failures.failure`.
        """
        with self._translated(parameters.get("Key", "")):
            client = self._ready()
            answer: Mapping[str, Any] = getattr(client, operation)(Bucket=self._place.bucket, **parameters)
        return answer

    def sign(self, operation: str, *, lifetime_s: float, **parameters: Any) -> str:
        """Sign one call for somebody else to make; the service is not asked.

        Args:
            operation: As botocore names it.
            lifetime_s: How long the signature is good; less where S3 does not allow so much, or the credentials end before.
            **parameters: As the API names them; those that become headers have to be sent with it.

        Returns:
            Its URL, which is a secret.

        Raises:
            NotAuthenticated: Requests are not signed here.
            BackendPermissionError: The credentials have ended.
        """
        self.require_credentials()
        # A presigned URL is of the old Signature Version 2 unless one asks; that is refused in most regions.
        with self._translated(parameters.get("Key", "")):
            client = self._ready("s3v4")
            url: str = client.generate_presigned_url(
                operation,
                Params={"Bucket": self._place.bucket, **parameters},
                ExpiresIn=self._seconds(lifetime_s),
            )
        return url

    def region(self) -> str:
        """Ask where the bucket lies, which the service tells whoever looks in another region; '' where it does not."""
        try:
            answer = self.call("head_bucket")
        except EMError:
            return ""
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return str(headers.get("x-amz-bucket-region", ""))

    def require_credentials(self) -> None:
        """Sees to it that there is something to sign with.

        Raises:
            NotAuthenticated: Requests are not signed here.
        """
        if self._access.credentials is None:
            raise NotAuthenticated(f"{self._place.text} was opened without credentials; open it with some to sign")

    def _seconds(self, lifetime_s: float) -> int:
        """Return the lifetime of a signature in seconds, which is no longer than that of the credentials behind it."""
        seconds = min(lifetime_s, LONGEST_S)
        found = self._session.get_credentials()
        if found is not None:
            found.get_frozen_credentials()  # gets new ones when they end soon
            end = expiry(found)
            if end is not None:
                seconds = min(seconds, (end - datetime.now(timezone.utc)).total_seconds())
        return max(1, int(seconds))

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Provide the one place where botocore's errors become this library's."""
        try:
            from botocore import exceptions  # noqa: PLC0415 - slow to import, and small files need none
        except ImportError as error:
            raise MissingExtra("botocore is not installed; pip install 't9k-em[obstore]'") from error
        of_credentials = (
            exceptions.CredentialRetrievalError,
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.SSOError,
            exceptions.TokenRetrievalError,
        )
        where = f"s3://{self._place.bucket}/{key}"
        with explained(self._place):
            try:
                yield
            except (EMError, *of_credentials):
                raise
            except exceptions.ClientError as error:
                found = error.response.get("Error", {}).get("Code", "")
                status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
                forget(error)
                raise failure("NoSuchKey" if found == "NoSuchUpload" else found, where, status) from None
            except exceptions.ParamValidationError as error:
                raise InvalidURI(f"{where}: {error}; correct the URI") from None
            except (exceptions.HTTPClientError, exceptions.ConnectionError, OSError) as error:
                explain = untrusted if is_about_certificates(error) else unreachable
                forget(error)
                raise explain(where, self._access.endpoint) from None
            except RecursionError:  # a redirect that leads to itself
                raise failure("PermanentRedirect", where) from None
            except RuntimeError:  # what botocore says of credentials that are past their end when they are new
                raise failure("ExpiredToken", where) from None
            except exceptions.BotoCoreError as error:
                forget(error)
                raise unreachable(where, self._access.endpoint) from None
            except Exception as error:  # noqa: BLE001 - what botocore raises of what was configured
                kind = type(error).__name__
                forget(error)
                raise BackendError(
                    f"{where}: botocore cannot ask for it ({kind}); look at the endpoint, the region and the bucket's name"
                ) from None

    def _ready(self, signature: str | None = None) -> Any:
        with self._making:
            if signature not in self._clients:
                self._clients[signature] = self._make(signature)
            return self._clients[signature]

    def _make(self, signature: str | None) -> Any:
        import botocore.session  # noqa: PLC0415 - slow to import, and small files need none
        from botocore import UNSIGNED  # noqa: PLC0415 - likewise
        from botocore.config import Config  # noqa: PLC0415 - likewise

        access = self._access
        keep_secrets_out()
        if self._session is None:
            self._session = botocore.session.Session(profile=self._place.profile)
            tell_region(self._session, access.region)
            fix_retries(self._session, TRIES)
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
                "use_accelerate_endpoint": False,
            },
            proxies=proxies(access),
            signature_version=UNSIGNED if access.credentials is None else signature,
        )
        return self._session.create_client(
            "s3",
            endpoint_url=access.endpoint or None,
            region_name=access.region,
            verify=access.ca_bundle or True,  # or botocore looks by itself, and takes an empty variable for a file
            config=config,
        )
