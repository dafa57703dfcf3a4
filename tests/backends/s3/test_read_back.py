"""What was uploaded to S3 is plain objects, which every other tool reads as they are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import boto3
import pandas as pd
import pytest
from tests.services.places import S3Place
from tests.services.processes import program

from t9k import em
from t9k.em.artifact import Artifact

TABLE = pd.DataFrame({"step": [1, 2, 3], "loss": [0.5, 0.25, float("nan")]})
FILES = {
    "empty": b"",
    "with space/ü + #%2F ?&=.bin": b"odd",
    "deep/er/and deeper": b"deep",
    "large.bin": os.urandom(1 << 20) * 17,
}
pytestmark = pytest.mark.parametrize("driver", ["obstore", "fsspec"])


@pytest.fixture
def artifact(s3: S3Place, driver: str, tmp_path: Path) -> Artifact:
    """An artifact that was uploaded, and beside it the files of which it was made."""
    source = tmp_path / "source"
    for key, data in FILES.items():
        (source / key).parent.mkdir(parents=True, exist_ok=True)
        (source / key).write_bytes(data)
    TABLE.to_parquet(source / "table.parquet")
    artifact = em.create_artifact("model")
    artifact.add_dir(str(source))
    artifact.upload(f"{s3.new_root()}?driver={driver}#default")
    return artifact


@pytest.fixture
def place(artifact: Artifact) -> str:
    """Bucket and prefix of its objects."""
    root = artifact.remote[0]["uri"].partition("?")[0].partition("://")[2]
    bucket, _, prefix = root.partition("/")
    with closing(boto3.session.Session().client("s3")) as client:
        found = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/alice/default/model/")["Contents"]
    (base,) = {info["Key"].partition("/objects/")[0] for info in found if "/objects/" in info["Key"]}
    return f"{bucket}/{base}/objects/source"


def local(tmp_path: Path) -> Mapping[str, bytes]:
    source = tmp_path / "source"
    return {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}


def test_boto3_finds_the_keys_and_the_bytes(place: str, tmp_path: Path) -> None:
    bucket, _, prefix = place.partition("/")
    with closing(boto3.session.Session().client("s3")) as client:
        keys = [info["Key"] for info in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
        found = {key[len(prefix) + 1 :]: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    assert found == local(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("how", ["--download", "--checksum"])
def test_rclone_finds_no_difference(place: str, s3: S3Place, tmp_path: Path, how: str) -> None:
    environment = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_EM_TYPE": "s3",
        "RCLONE_CONFIG_EM_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_EM_ENV_AUTH": "true",
        "RCLONE_CONFIG_EM_ENDPOINT": s3.endpoint,
    }

    def check() -> subprocess.CompletedProcess[str]:
        command = [program("rclone"), "check", how, str(tmp_path / "source"), f"em:{place}"]
        return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)

    done = check()
    assert done.returncode == 0, done.stderr
    assert f"{len(FILES) + 1} matching files" in done.stderr
    (tmp_path / "source" / "deep" / "er" / "and deeper").write_bytes(b"diff")
    assert check().returncode == 1, "it would have told a difference"


@pytest.mark.long
def test_pandas_reads_a_table_where_it_lies(place: str) -> None:
    read = pd.read_parquet(f"s3://{place}/table.parquet", storage_options={"use_listings_cache": False})
    pd.testing.assert_frame_equal(read, TABLE)
