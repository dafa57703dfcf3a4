"""Where the service of an `s3://` root is, and with which credentials: what every tool of AWS would find.

The order is that of the AWS SDKs: the URI's options, the environment, the profile in the configuration files, then
web identity, SSO, role chains, and the metadata services of containers and machines, all by botocore. What is decided here
holds for every driver and for the sockets: they are told all of it, and look at nothing by themselves.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Factory, field, frozen

from t9k.em.errors import BackendError, BackendPermissionError, EMError, InvalidURI, MissingExtra
from t9k_em_backends.s3.logs import keep_secrets_out
from t9k_em_backends.shared.error_codes import failure, no_credentials
from t9k_em_backends.shared.proxies import proxy_for
from t9k_em_backends.shared.uri_options import service_url

if TYPE_CHECKING:
    import botocore.session

    from t9k_em_backends.s3.location import S3Location

DEFAULT_REGION = "us-east-1"
_REGION = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_TRUE = {"true", "1", "yes", "on"}
REFRESH = timedelta(minutes=15)
"""How long credentials are used that do not say how long they live."""

Credentials = Mapping[str, Any]


@frozen(kw_only=True)
class Access:
    """How to reach a service.

    Attributes:
        endpoint: Its URL as somebody configured it; '' for Amazon's own.
        service: Its URL in any case, with neither the bucket nor a slash at its end.
        region: For signatures and for Amazon's host names.
        path_style: Whether the bucket stands in the path.
        proxy: URL of the proxy that leads there, which may hold a password; '' for none.
        ca_bundle: File with the certificates of those who sign the service's own; '' for those that are trusted anyway.
        credentials: Gives `access_key_id`, `secret_access_key`, `token` and `expires_at`; None for unsigned requests.
    """

    endpoint: str
    service: str = field(default=Factory(lambda self: self.endpoint, takes_self=True))
    region: str
    path_style: bool
    proxy: str = field(default="", repr=False)
    ca_bundle: str = ""
    credentials: Callable[[], Credentials] | None = field(repr=False)

    def url_of(self, bucket: str) -> str:
        """Return the URL that the keys of a bucket come behind, without a slash at its end."""
        return bucket_url(self.service, bucket, path_style=self.path_style)


def bucket_url(service: str, bucket: str, *, path_style: bool) -> str:
    """Return the URL that the keys of a bucket come behind."""
    if path_style:
        return f"{service}/{bucket}"
    scheme, _, host = service.partition("://")
    return f"{scheme}://{bucket}.{host}"


def find_access(place: S3Location) -> Access:
    """Look in the environment and the configuration files.

    Raises:
        BackendPermissionError: Credentials are missing or cannot be obtained.
        InvalidURI: No such profile exists.
        BackendError: The file of certificates does not exist.
    """
    if _is_all_in_environment(place):
        return _access(place, {}, ("", ""), _from_environment)
    with explained(place):
        session = _make_session(place)
        profile = session.get_scoped_config()
        tell_region(session, _region(place, profile))
        found = None if place.anonymous else session.get_credentials()
        if found is not None:
            found.get_frozen_credentials()  # what is wrong with them is told now and not by some thread
    if found is None and not place.anonymous:
        raise no_credentials(place.text)
    return _access(place, profile, _endpoint_of(session, profile), lambda: _refreshed(place, found))


def _access(
    place: S3Location,
    profile: Mapping[str, Any],
    of_profile: tuple[str, str],
    credentials: Callable[[], Credentials],
) -> Access:
    """Put together what was found; `of_profile` is its endpoint, and where that stands."""
    environment = os.environ
    endpoint = place.endpoint or _configured_endpoint(profile, of_profile)
    region = _region(place, profile)
    ca_bundle = (
        environment.get("AWS_CA_BUNDLE") or profile.get("ca_bundle") or environment.get("REQUESTS_CA_BUNDLE") or ""
    )
    service = endpoint or _amazon(profile, region)
    path_style = _path_style(place, profile, endpoint)
    if not place.anonymous:
        _sendable(place, credentials())
    return Access(
        endpoint=endpoint,
        service=service,
        region=region,
        path_style=path_style,
        proxy=proxy_for(bucket_url(service, place.bucket, path_style=path_style)),
        ca_bundle="" if endpoint.startswith("http://") else _ca_bundle(place, ca_bundle),
        credentials=None if place.anonymous else lambda: _sendable(place, credentials()),
    )


def _region(place: S3Location, profile: Mapping[str, Any]) -> str:
    region: str = (
        place.region
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
        or profile.get("region")
        or DEFAULT_REGION
    )
    if not _REGION.fullmatch(region):
        raise InvalidURI(f"{place.text}: {region!r} is no region; write it like 'eu-west-1', in the URI or AWS_REGION")
    return region


def tell_region(session: Any, region: str) -> None:
    """Have a session of botocore or aiobotocore ask for roles where the bucket is; by itself it does not read AWS_REGION."""
    session.set_config_variable("region", region)


def _configured_endpoint(profile: Mapping[str, Any], of_profile: tuple[str, str]) -> str:
    """Return the endpoint in the environment, else that of the profile; '' without one, or where all are to be ignored.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    ignored = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or profile.get("ignore_configured_endpoint_urls")
    if _is_true(ignored):
        return ""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return service_url(os.environ[name], f"{name} in the environment")
    text, where = of_profile
    return service_url(text, where) if text else ""


def _amazon(profile: Mapping[str, Any], region: str) -> str:
    """Return the URL of Amazon's own service in a region.

    https://docs.aws.amazon.com/general/latest/gr/s3.html
    """
    s3 = _section(profile, "s3")
    fips = os.environ.get("AWS_USE_FIPS_ENDPOINT") or profile.get("use_fips_endpoint")
    dual = (
        os.environ.get("AWS_USE_DUALSTACK_ENDPOINT")
        or s3.get("use_dualstack_endpoint")
        or profile.get("use_dualstack_endpoint")
    )
    host = ("s3-fips" if _is_true(fips) else "s3") + (".dualstack" if _is_true(dual) else "")
    return f"https://{host}.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _path_style(place: S3Location, profile: Mapping[str, Any], endpoint: str) -> bool:
    """Return whether the bucket stands in the path.

    Where nobody says so: with an endpoint, and for a bucket with a dot, for whose host Amazon's certificate is not good.
    """
    style = _section(profile, "s3").get("addressing_style")
    if place.path_style is not None:
        return place.path_style
    if style in {"path", "virtual"}:
        return bool(style == "path")
    return bool(endpoint) or "." in place.bucket


def _section(profile: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = profile.get(name)
    return found if isinstance(found, dict) else {}


def _is_true(value: object) -> bool:
    return str(value).strip().lower() in _TRUE


def _sendable(place: S3Location, credentials: Credentials) -> Credentials:
    """Refuse what no header can hold, like the line break at the end of a file that a variable was made of."""
    for name in ("access_key_id", "secret_access_key", "token"):
        value = credentials[name] or ""
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            raise BackendPermissionError(
                f"{place.text}: the credentials hold a space, a line break or another character that no key has (in "
                f"{name}); set them anew"
            )
    return credentials


def _ca_bundle(place: S3Location, file: str) -> str:
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


def _make_session(place: S3Location) -> botocore.session.Session:
    try:
        import botocore.session  # noqa: PLC0415 - slow to import, and keys in the environment need none
    except ImportError as error:
        raise MissingExtra("botocore is not installed; pip install 't9k-em[obstore]'") from error
    keep_secrets_out()
    return botocore.session.Session(profile=place.profile)


@contextlib.contextmanager
def explained(place: S3Location) -> Iterator[None]:
    """Provide the one place where botocore's errors about credentials become this library's."""
    from botocore import exceptions  # noqa: PLC0415 - slow to import, and keys in the environment need none

    try:
        yield
    except exceptions.ProfileNotFound as error:
        raise InvalidURI(f"{place.text}: {error}; correct AWS_PROFILE or '?profile=...'") from None
    except (exceptions.SSOError, exceptions.TokenRetrievalError):
        raise failure("ExpiredToken", place.text) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise no_credentials(place.text) from None
    except EMError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a token file, a metadata service or a program makes botocore raise
        raise BackendPermissionError(
            f"{place.text}: credentials cannot be got ({type(error).__name__}); run 'aws sts get-caller-identity' for details"
        ) from None


def _is_all_in_environment(place: S3Location) -> bool:
    """Return whether nothing outside of the environment can matter, so that botocore need not be loaded."""
    environment = os.environ
    files = (
        environment.get("AWS_CONFIG_FILE", "~/.aws/config"),
        environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    )
    return (
        place.profile is None
        and not environment.keys() & {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}
        and (place.anonymous or {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= environment.keys())
        and not any(os.path.exists(os.path.expanduser(file)) for file in files)  # noqa: PTH110, PTH111 - Path's raises where nobody has a home
    )


def _endpoint_of(session: botocore.session.Session, profile: Mapping[str, Any]) -> tuple[str, str]:
    """Return the endpoint in a profile, that of its services section for S3, else that of all services; and where that stands."""
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    of_s3 = _section(services, "s3").get("endpoint_url")
    if of_s3:
        return str(of_s3), "endpoint_url in the services section of the AWS profile"
    return str(profile.get("endpoint_url") or ""), "endpoint_url in the AWS profile"


def _refreshed(place: S3Location, found: Any) -> Credentials:
    """Return the credentials of botocore as they are now; it gets new ones by itself before they expire."""
    with explained(place):
        now = found.get_frozen_credentials()
    return {
        "access_key_id": now.access_key,
        "secret_access_key": now.secret_key,
        "token": now.token,
        "expires_at": expiry(found) or datetime.now(timezone.utc) + REFRESH,
    }


def expiry(found: Any) -> datetime | None:
    """Return the time at which credentials of botocore end; None for credentials without an end."""
    end: datetime | None = getattr(found, "_expiry_time", None)  # botocore has no public name for it
    return end and end.astimezone(timezone.utc)  # obstore takes no other zone, not even another name of this one


def _from_environment() -> Credentials:
    return {
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "token": os.environ.get("AWS_SESSION_TOKEN") or None,
        "expires_at": None,
    }
