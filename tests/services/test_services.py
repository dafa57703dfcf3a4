"""The services that other tests rely on answer, and each test has a root of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest
from tests.services.processes import answers, running


@pytest.mark.long
@pytest.mark.parametrize("service", ["s3", "moto", "rclone_s3"])
def test_an_s3_service_keeps_what_a_client_finds_through_the_environment(request, service):
    place = request.getfixturevalue(service)
    client = boto3.session.Session().client("s3")
    try:
        root = place.new_root()
        assert root != place.new_root()
        key = root.partition(f"s3://{place.bucket}/")[2] + "/a"
        client.put_object(Bucket=place.bucket, Key=key, Body=b"bytes")
        assert client.get_object(Bucket=place.bucket, Key=key)["Body"].read() == b"bytes"
        listed = client.list_objects_v2(Bucket=place.bucket, Prefix=key[:-1])
        assert [found["Key"] for found in listed["Contents"]] == [key]
    finally:
        client.close()


def test_a_wrong_key_is_refused(s3):
    client = boto3.session.Session().client("s3", aws_secret_access_key="wrong", aws_access_key_id=s3.access_key)
    try:
        with pytest.raises(client.exceptions.ClientError, match="SignatureDoesNotMatch"):
            client.put_object(Bucket=s3.bucket, Key="a", Body=b"")
    finally:
        client.close()


def test_gcs_has_its_bucket(gcs):
    with urllib.request.urlopen(f"{gcs.endpoint}/storage/v1/b/{gcs.bucket}/o") as answer:
        assert b"storage#objects" in answer.read()
    assert os.environ["STORAGE_EMULATOR_HOST"] == gcs.endpoint


def test_webdav_keeps_a_file(webdav):
    url = webdav.new_root().replace("webdav://", "http://")
    with urllib.request.urlopen(urllib.request.Request(url, data=b"bytes", method="PUT")):
        pass
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"bytes"


def test_a_server_is_gone_after_its_block(tmp_path):
    serve = [sys.executable, "-m", "http.server", "--bind=127.0.0.1"]
    with running(tmp_path / "server", lambda port: [*serve, str(port)]) as port:
        assert answers(f"http://127.0.0.1:{port}/")
    assert not answers(f"http://127.0.0.1:{port}/")


def test_a_server_that_does_not_start_is_reported_with_what_it_says(tmp_path):
    broken = [sys.executable, "-c", "raise SystemExit('no disk')"]
    with pytest.raises(RuntimeError, match="no disk"), running(tmp_path / "server", lambda _: broken):
        pass


@pytest.mark.long
def test_seaweedfs_is_shared_and_gone_with_its_last_user_even_if_that_was_killed(tmp_path):
    use = (
        "import os, pathlib, sys; from tests.services.seaweedfs import seaweedfs\n"
        "with seaweedfs(pathlib.Path(sys.argv[1])) as endpoint:\n"
        "    print(endpoint, flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", use, str(tmp_path)]
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    users = [subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    try:
        endpoints = [user.stdout.readline() for user in users if user.stdout]
        assert endpoints[0] == endpoints[1]
        users[0].communicate("\n")
        assert answers(endpoints[1].strip())
    finally:
        for user in users:
            user.kill()
            user.communicate()
    while (tmp_path / "seaweedfs" / "data").exists():  # until the keeper is done; the time limit of tests ends it
        pass
    assert not answers(endpoints[1].strip())
