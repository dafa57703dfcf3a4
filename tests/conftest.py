"""Real services for every test that asks for one, see `tests/services`."""

from __future__ import annotations

from tests.services.fixtures import (  # noqa: F401 - fixtures are found by their names
    gcs,
    gcs_service,
    moto,
    moto_service,
    postgresql,
    postgresql_service,
    rclone_s3,
    rclone_s3_service,
    s3,
    seaweedfs_service,
    webdav,
    webdav_service,
)
