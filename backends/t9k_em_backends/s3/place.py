"""Which bucket and root an `s3://` URI means, and what its options say; no I/O and no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from t9k.em.errors import InvalidURI

if TYPE_CHECKING:
    from t9k.em.uris import URI

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_OPTIONS = ("anonymous", "endpoint", "path_style", "profile", "region", "timeout")


@frozen(kw_only=True)
class S3Place:
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
    """

    bucket: str
    root: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    anonymous: bool = False
    profile: str | None = None
    timeout_s: float | None = None

    @classmethod
    def from_uri(cls, uri: URI) -> S3Place:
        """Takes a URI apart.

        Raises:
            InvalidURI: It has no bucket, or an option is unknown or has no such value.
        """
        if not uri.netloc:
            raise InvalidURI(f"{uri.text} names no bucket; write it like 's3://bucket/root'")
        unknown = sorted(uri.options.keys() - set(_OPTIONS))
        if unknown:
            raise InvalidURI(f"{uri.text} takes no option {unknown[0]!r}; it takes {', '.join(_OPTIONS)}")
        endpoint = uri.options.get("endpoint")
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise InvalidURI(f"{uri.text}: the endpoint {endpoint!r} is no URL; write it like 'https://host:9000'")
        root = uri.path.strip("/")
        return cls(
            bucket=uri.netloc,
            root=f"{root}/" if root else "",
            endpoint=endpoint,
            region=uri.options.get("region"),
            path_style=_flag(uri, "path_style", None),
            anonymous=bool(_flag(uri, "anonymous", False)),
            profile=uri.options.get("profile"),
            timeout_s=_seconds(uri.options),
        )

    @property
    def text(self) -> str:
        """How errors call it."""
        return f"s3://{self.bucket}/{self.root}".rstrip("/")


def _flag(uri: URI, name: str, default: bool | None) -> bool | None:
    value = uri.options.get(name)
    if value is None:
        return default
    if value.lower() not in _BOOLEANS:
        raise InvalidURI(f"{uri.text}: {name} is true or false, not {value!r}")
    return _BOOLEANS[value.lower()]


def _seconds(options: Mapping[str, str]) -> float | None:
    value = options.get("timeout")
    try:
        seconds = None if value is None else float(value)
    except ValueError:
        seconds = -1
    if seconds is not None and not 0 < seconds < float("inf"):
        raise InvalidURI(f"timeout is a number of seconds, not {value!r}")
    return seconds
