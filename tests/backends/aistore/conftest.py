"""Servers of our own, one of each kind for all tests of a process; users are each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.backends.aistore.clients import Clients
from tests.services.aistore import AIStorePlace, Someone, aistore
from tests.services.places import S3Place


@pytest.fixture(scope="session")
def over_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AIStorePlace]:
    """A server over a directory."""
    with aistore(tmp_path_factory.mktemp("aistore-file"), body_bytes=5 << 20) as place:
        yield place


@pytest.fixture(scope="session")
def over_s3(tmp_path_factory: pytest.TempPathFactory, seaweedfs_service: S3Place) -> Iterator[AIStorePlace]:
    """A server over a bucket."""
    environment = {
        "AWS_ACCESS_KEY_ID": seaweedfs_service.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs_service.secret_key,
        "AWS_ENDPOINT_URL": seaweedfs_service.endpoint,
        "AWS_REGION": seaweedfs_service.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    directory = tmp_path_factory.mktemp("aistore-s3")
    with aistore(directory, root=seaweedfs_service.new_root(), environment=environment) as place:
        yield place


@pytest.fixture
def alice(over_files: AIStorePlace) -> Someone:
    """A user of the server over a directory."""
    return over_files.someone(prefix="alice")


@pytest.fixture
def client() -> Iterator[Clients]:
    """Makes backends, and closes them in the end."""
    with Clients() as clients:
        yield clients
