"""Where a test finds a service: its address, what opens it, and a root of its own there."""

from __future__ import annotations

from uuid import uuid4

import pytest
from attrs import field, frozen

BUCKET = "em-tests"
REGION = "us-east-1"


def new_root(scheme: str) -> str:
    """URI of a root that nobody else uses, in the bucket that all tests share; short, for it counts in the length of keys."""
    return f"{scheme}://{BUCKET}/{uuid4().hex[:10]}"


@frozen(kw_only=True)
class S3Place:
    """A service that speaks the S3 API, and who may use it.

    Attributes:
        endpoint: Its URL.
        access_key: The id of a key that may do everything.
        secret_key: The secret of that key.
        region: What requests are signed for.
        bucket: A bucket that is there.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION
    bucket: str = BUCKET

    def new_root(self) -> str:
        """URI of a root that nobody else uses."""
        return new_root("s3")

    def set_env(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets every S3 client find the service in the environment, and nothing of the machine it runs on."""
        for name in (
            "AWS_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_DEFAULT_REGION",
            "AWS_CONFIG_FILE",
            "AWS_ENDPOINT_URL_S3",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        monkeypatch.setenv("AWS_REGION", self.region)
        monkeypatch.setenv("AWS_DEFAULT_REGION", self.region)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@frozen(kw_only=True)
class GCSPlace:
    """A service that speaks the JSON API of Google Cloud Storage; it asks nobody who they are.

    Attributes:
        endpoint: Its URL.
        project: Any name does.
        bucket: A bucket that is there.
    """

    endpoint: str
    project: str = "tests"
    bucket: str = BUCKET

    def new_root(self) -> str:
        """URI of a root that nobody else uses."""
        return new_root("gs")

    def set_env(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets every client find the service in the environment."""
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", self.endpoint)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", self.project)
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # or it tries gRPC first, for a minute
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@frozen(kw_only=True)
class WebDAVPlace:
    """A WebDAV server that asks nobody who they are.

    Attributes:
        endpoint: Its URL.
    """

    endpoint: str

    def new_root(self) -> str:
        """URI of a root that nobody else uses, but for the option `endpoint`."""
        return f"webdav://{self.endpoint.partition('://')[2]}/{uuid4()}"
