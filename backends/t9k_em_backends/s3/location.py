"""Which bucket and root an `s3://` URI means, and what its options say; no I/O and no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from t9k.em.errors import InvalidURI
from t9k_em_backends.shared.uri_options import check_known, flag, seconds, url

if TYPE_CHECKING:
    from t9k.em.uris import URI

_OPTIONS = ("anonymous", "endpoint", "path_style", "plain_http", "profile", "region", "timeout")


@frozen(kw_only=True)
class S3Location:
    """A root in a bucket.

    Attributes:
        bucket: Name of the bucket.
        root: Prefix of all keys; '' or ends with a slash.
        endpoint: URL of the service; None for what the environment or the profile says, else Amazon's.
        region: None for what the environment or the profile says.
        path_style: Whether the bucket stands in the path of a URL and not in its host; None for the path where there is
            an endpoint, the host otherwise.
        anonymous: Whether requests are not signed.
        profile: Of the AWS configuration files; None for what the environment says.
        timeout_s: How long one request may take, in seconds; None for the driver's default.
        plain_http: Whether a service without TLS may be asked over sockets of our own, see ADR 0009.
    """

    bucket: str
    root: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    anonymous: bool = False
    profile: str | None = None
    timeout_s: float | None = None
    plain_http: bool = True

    @classmethod
    def from_uri(cls, uri: URI) -> S3Location:
        """Take a URI apart.

        Raises:
            InvalidURI: The URI names no bucket, or an option is unknown or its value invalid.
        """
        if not uri.netloc:
            raise InvalidURI(f"{uri.text} names no bucket; write it like 's3://bucket/root'")
        check_known(uri, _OPTIONS)
        root = uri.path.strip("/")
        return cls(
            bucket=uri.netloc,
            root=f"{root}/" if root else "",
            endpoint=url(uri, "endpoint") or None,
            region=uri.options.get("region"),
            path_style=flag(uri, "path_style"),
            anonymous=flag(uri, "anonymous") or False,
            profile=uri.options.get("profile"),
            timeout_s=seconds(uri, "timeout"),
            plain_http=flag(uri, "plain_http") is not False,
        )

    @property
    def text(self) -> str:
        """Name of the root in error messages."""
        return f"s3://{self.bucket}/{self.root}".rstrip("/")
