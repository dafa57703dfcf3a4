"""The services of the object store benchmark: those of the tests, each time with nothing in them, warmed up."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

from attrs import evolve
from stores.peers import BUCKET, GCS, OTHER_BUCKET, RCLONE_UP, S3, USER, em
from stores.trees import Tree

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.services.seaweedfs import ACCESS_KEY, SECRET_KEY, seaweedfs  # noqa: E402 - found by the line above

REGION = "us-east-1"
GONE_S = 60  # how long a server may take to end and remove its data


def plain_environment(directory: Path) -> dict[str, str]:
    """Nothing of who runs the benchmark, and a home of its own."""
    home = directory / "home"
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(directory), "EM_USER": USER}


def s3_environment(endpoint: str) -> dict[str, str]:
    """How S3 clients find the service, rclone by the remote `bench`."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "RCLONE_CONFIG": "",  # none
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
        "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
        "RCLONE_CONFIG_BENCH_ENDPOINT": endpoint,
        "RCLONE_CONFIG_BENCH_REGION": REGION,
    }


@contextlib.contextmanager
def seaweedfs_s3(directory: Path, tools: Path, warm: Tree) -> Iterator[S3]:
    """SeaweedFS with two buckets, which are gone with it.

    Args:
        directory: Where its data and downloads may lie.
        tools: Where s5cmd and rclone are.
        warm: What is sent before anything is measured: a bucket gets its first volumes when it is first written to.
    """
    shared = directory / uuid4().hex[:10]
    scratch = shared / "scratch"
    scratch.mkdir(parents=True)
    try:
        with seaweedfs(shared) as endpoint:
            environment = plain_environment(directory) | s3_environment(endpoint)
            s3 = S3(scheme="s3", environment=environment, scratch=scratch, endpoint=endpoint, tools=tools)
            for bucket in (BUCKET, OTHER_BUCKET):
                root = s3.fresh(bucket)
                for command in (
                    s3.s5cmd("mb", f"s3://{bucket}"),
                    em("upload", warm.artifact, "--folder", f"s3://{root}"),
                    em("download", s3.uri(warm, root), s3.new_directory()),
                    s3.s5cmd("cp", f"{warm.objects}/", f"s3://{s3.fresh(bucket)}/"),
                    s3.rclone("copy", warm.objects, f"bench:{s3.fresh(bucket)}", *RCLONE_UP),
                ):
                    s3.output(command)
            yield s3
    finally:
        data, before = shared / "seaweedfs" / "data", time.monotonic() + GONE_S
        while data.exists() and time.monotonic() < before:  # its keeper does that once we have left
            time.sleep(0.1)
        shutil.rmtree(shared)


@contextlib.contextmanager
def fake_gcs_server(directory: Path) -> Iterator[GCS]:
    """A service that speaks the JSON API of Google Cloud Storage."""
    from tests.services.others import fake_gcs  # noqa: PLC0415 - brings pytest, whose memory would count in every peak

    shared = directory / uuid4().hex[:10]
    scratch = shared / "scratch"
    scratch.mkdir(parents=True)
    try:
        with fake_gcs(shared / "gcs") as place:
            environment: Mapping[str, str] = plain_environment(directory) | {
                "STORAGE_EMULATOR_HOST": place.endpoint,
                "GOOGLE_CLOUD_PROJECT": place.project,
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # or it tries gRPC first, for a minute
            }
            yield GCS(scheme="gs", environment=environment, scratch=scratch, bucket=place.bucket)
    finally:
        shutil.rmtree(shared)


@contextlib.contextmanager
def far(s3: S3, delay_ms: float) -> Iterator[S3]:
    """The same service with a delay before each request."""
    command = [sys.executable, "-m", "tests.services.proxy", f"--to={s3.endpoint.partition('://')[2]}"]
    with subprocess.Popen([*command, f"--delay-ms={delay_ms}"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            endpoint = proxy.stdout.readline().strip()
            yield evolve(s3, endpoint=endpoint, environment={**s3.environment, **s3_environment(endpoint)})
        finally:
            proxy.kill()
