"""Real services as fixtures: each starts when the first test asks for it and sets the environment that leads to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import others
from tests.services.places import BUCKET, REGION, GCSPlace, S3Place, WebDAVPlace
from tests.services.postgresql import PostgreSQLPlace, postgresql_in
from tests.services.seaweedfs import ACCESS_KEY, SECRET_KEY, seaweedfs


@pytest.fixture(scope="session")
def seaweedfs_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Place]:
    """SeaweedFS, one for all processes of a test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with seaweedfs(shared) as endpoint:
        yield _with_bucket(S3Place(endpoint=endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY))


@pytest.fixture(scope="session")
def moto_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Place]:
    with others.moto(tmp_path_factory.mktemp("moto")) as place:
        yield _with_bucket(place)


@pytest.fixture(scope="session")
def gcs_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSPlace]:
    with others.fake_gcs(tmp_path_factory.mktemp("gcs")) as place:
        yield place


@pytest.fixture(scope="session")
def webdav_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDAVPlace]:
    with others.webdav(tmp_path_factory.mktemp("webdav")) as place:
        yield place


@pytest.fixture(scope="session")
def rclone_s3_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Place]:
    with others.rclone_s3(tmp_path_factory.mktemp("rclone")) as place:
        yield place


@pytest.fixture(scope="session")
def postgresql_service() -> Iterator[PostgreSQLPlace]:
    # As root it runs as another user, who may not look into pytest's directory once a second run of pytest begins.
    with tempfile.TemporaryDirectory(prefix="em-postgresql-") as directory, postgresql_in(Path(directory)) as place:
        yield place


@pytest.fixture
def postgresql(postgresql_service: PostgreSQLPlace) -> str:
    """URL of an empty database of PostgreSQL."""
    return postgresql_service.new_database()


@pytest.fixture
def s3(seaweedfs_service: S3Place, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """S3 by SeaweedFS."""
    seaweedfs_service.set_env(monkeypatch)
    return seaweedfs_service


@pytest.fixture
def moto(moto_service: S3Place, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """S3 by moto."""
    moto_service.set_env(monkeypatch)
    return moto_service


@pytest.fixture
def gcs(gcs_service: GCSPlace, monkeypatch: pytest.MonkeyPatch) -> GCSPlace:
    """Google Cloud Storage by fake-gcs-server."""
    gcs_service.set_env(monkeypatch)
    return gcs_service


@pytest.fixture
def webdav(webdav_service: WebDAVPlace) -> WebDAVPlace:
    """WebDAV by rclone."""
    return webdav_service


@pytest.fixture
def rclone_s3(rclone_s3_service: S3Place, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """S3 by rclone, which ignores conditions."""
    rclone_s3_service.set_env(monkeypatch)
    return rclone_s3_service


def _with_bucket(place: S3Place) -> S3Place:
    """Makes the bucket of a service, if another process has not."""
    import boto3
    from botocore.config import Config

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=place.endpoint,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
        region_name=REGION,
        config=Config(retries={"max_attempts": 10}),
    )
    try:
        client.create_bucket(Bucket=BUCKET)
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        pass
    finally:
        client.close()
    return place
