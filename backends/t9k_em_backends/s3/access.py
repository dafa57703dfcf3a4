"""Where the service of an `s3://` root is, and with which credentials: what every tool of AWS would find.

The order is that of the AWS SDKs: the URI's options, the environment, the profile in the configuration files, then
web identity, SSO, role chains, and the metadata services of containers and machines, all by botocore.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from t9k.em.errors import BackendError, BackendPermissionError, InvalidURI, MissingExtra
from t9k_em_backends.failures import failure, no_credentials
from t9k_em_backends.s3.logs import keep_secrets_out

if TYPE_CHECKING:
    import botocore.session

    from t9k_em_backends.s3.place import S3Place

DEFAULT_REGION = "us-east-1"
REFRESH = timedelta(minutes=15)
"""How long credentials are used that do not say how long they live."""

Credentials = Mapping[str, Any]


@frozen(kw_only=True)
class Access:
    """How to reach a service.

    Attributes:
        endpoint: Its URL; '' for Amazon's own.
        region: For signatures and for Amazon's host names.
        path_style: Whether the bucket stands in the path.
        ca_bundle: File with the certificates of those who sign the service's own; '' for those that are trusted anyway.
        credentials: Gives `access_key_id`, `secret_access_key`, `token` and `expires_at`; None for unsigned requests.
    """

    endpoint: str
    region: str
    path_style: bool
    ca_bundle: str = ""
    credentials: Callable[[], Credentials] | None = field(repr=False)


def find_access(place: S3Place) -> Access:
    """Looks in the environment and the configuration files.

    Raises:
        BackendPermissionError: There are no credentials, or they cannot be got.
        InvalidURI: There is no such profile.
        BackendError: There are no certificates where they are said to be.
    """
    if _is_all_in_environment(place):
        return _access(place, {}, "", _from_environment)
    with explained(place):
        session = _make_session(place)
        profile = session.get_scoped_config()
        found = None if place.anonymous else session.get_credentials()
        if found is not None:
            found.get_frozen_credentials()  # what is wrong with them is told now and not by some thread
    if found is None and not place.anonymous:
        raise no_credentials(place.text)
    return _access(place, profile, _endpoint_of(session, profile), lambda: _refreshed(place, found))


def _access(
    place: S3Place, profile: Mapping[str, Any], endpoint: str, credentials: Callable[[], Credentials]
) -> Access:
    environment = os.environ
    endpoint = (
        place.endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or endpoint
    )
    region = (
        place.region
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or profile.get("region")
        or DEFAULT_REGION
    )
    ca_bundle = (
        environment.get("AWS_CA_BUNDLE") or profile.get("ca_bundle") or environment.get("REQUESTS_CA_BUNDLE") or ""
    )
    return Access(
        endpoint=endpoint.rstrip("/"),
        region=region,
        path_style=bool(endpoint) if place.path_style is None else place.path_style,
        ca_bundle="" if endpoint.startswith("http://") else _ca_bundle(place, ca_bundle),
        credentials=None if place.anonymous else credentials,
    )


def _ca_bundle(place: S3Place, file: str) -> str:
    if not file:
        return ""
    import ssl  # noqa: PLC0415 - slow to import, and most need none

    try:
        path = Path(file).expanduser().absolute()  # it is read again later, when the process may be elsewhere
        ssl.create_default_context(cafile=path)
    except (OSError, RuntimeError):  # the latter where nobody has such a home
        raise BackendError(
            f"{place.text}: {file} is no file of certificates; correct AWS_CA_BUNDLE, or 'ca_bundle' of the profile"
        ) from None
    return str(path)


def _make_session(place: S3Place) -> botocore.session.Session:
    try:
        import botocore.session  # noqa: PLC0415 - slow to import, and keys in the environment need none
    except ImportError as error:
        raise MissingExtra("botocore is not installed; pip install 't9k-em[obstore]'") from error
    keep_secrets_out()
    return botocore.session.Session(profile=place.profile)


@contextlib.contextmanager
def explained(place: S3Place) -> Iterator[None]:
    """The one place where botocore's errors about credentials become this library's."""
    from botocore import exceptions  # noqa: PLC0415 - slow to import, and keys in the environment need none

    try:
        yield
    except exceptions.ProfileNotFound as error:
        raise InvalidURI(f"{place.text}: {error}; correct AWS_PROFILE or '?profile=...'") from None
    except (exceptions.SSOError, exceptions.TokenRetrievalError):
        raise failure("ExpiredToken", place.text) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise no_credentials(place.text) from None
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise BackendPermissionError(
            f"{place.text}: credentials cannot be got ({type(error).__name__}); 'aws sts get-caller-identity' tells more"
        ) from None


def _is_all_in_environment(place: S3Place) -> bool:
    """Whether nothing outside of the environment can matter, so that botocore need not be loaded."""
    environment = os.environ
    files = (
        environment.get("AWS_CONFIG_FILE", "~/.aws/config"),
        environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    )
    return (
        place.profile is None
        and not environment.keys() & {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}
        and (place.anonymous or {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= environment.keys())
        and not any(Path(file).expanduser().exists() for file in files)
    )


def _endpoint_of(session: botocore.session.Session, profile: Mapping[str, Any]) -> str:
    """The endpoint in a profile: that of its services section for S3, else that of all services."""
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    s3 = services.get("s3", {})
    return str((s3.get("endpoint_url") if isinstance(s3, dict) else None) or profile.get("endpoint_url") or "")


def _refreshed(place: S3Place, found: Any) -> Credentials:
    """The credentials of botocore as they are now; it gets new ones by itself before they expire."""
    with explained(place):
        now = found.get_frozen_credentials()
    return {
        "access_key_id": now.access_key,
        "secret_access_key": now.secret_key,
        "token": now.token,
        "expires_at": expiry(found) or datetime.now(timezone.utc) + REFRESH,
    }


def expiry(found: Any) -> datetime | None:
    """When credentials of botocore end, as far as they say."""
    end: datetime | None = getattr(found, "_expiry_time", None)  # botocore has no public name for it
    return end


def _from_environment() -> Credentials:
    return {
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "token": os.environ.get("AWS_SESSION_TOKEN") or None,
        "expires_at": None,
    }
