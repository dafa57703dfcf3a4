"""The stub knows what a request is called, and a real client believes its answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from tests.services.places import BUCKET, S3Place
from tests.services.proxy import Proxy
from tests.services.stub import DENIED, INTERNAL, NO_BUCKET, OK_WITH_ERROR, ignoring_conditions, operation, script
from tests.services.test_proxy import client_of


@pytest.fixture
def proxy(moto_service: S3Place) -> Iterator[Proxy]:
    with Proxy(moto_service.endpoint.partition("://")[2]) as proxy:
        yield proxy


@pytest.fixture
def client(moto_service: S3Place, proxy: Proxy) -> Iterator[Any]:
    with closing(client_of(moto_service, proxy)) as client:
        yield client


def test_requests_are_called_as_the_api_calls_them(client: Any, proxy: Proxy) -> None:
    called: list[str] = []
    client.meta.events.register("before-send.s3.*", lambda event_name, **_: called.append(event_name.split(".")[-1]))
    key = str(uuid4())
    client.head_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key=key, Body=b"x" * (5 << 20))
    client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.head_object(Bucket=BUCKET, Key=key)
    client.copy_object(Bucket=BUCKET, Key=f"{key}/copy", CopySource={"Bucket": BUCKET, "Key": key})
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    etag = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * (5 << 20))["ETag"]
    client.upload_part_copy(
        Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=2, CopySource={"Bucket": BUCKET, "Key": key}
    )
    client.list_parts(Bucket=BUCKET, Key=key, UploadId=upload)
    client.list_multipart_uploads(Bucket=BUCKET)
    client.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": 1}]}
    )
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
    client.list_objects_v2(Bucket=BUCKET)
    client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": f"{key}/copy"}]})
    assert [operation(exchange) for exchange in proxy.exchanges] == [name.replace("V2", "") for name in called]


def test_only_the_requests_that_are_meant_get_the_answer_and_only_so_often(client: Any, proxy: Proxy) -> None:
    key = str(uuid4())
    proxy.instead = script(DENIED, of="PutObject|GetObject", key=key, times=2)
    client.put_object(Bucket=BUCKET, Key="other", Body=b"")
    for call in (lambda: client.put_object(Bucket=BUCKET, Key=key), lambda: client.get_object(Bucket=BUCKET, Key=key)):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    client.put_object(Bucket=BUCKET, Key=key)
    assert [exchange.status for exchange in proxy.exchanges] == [200, 403, 403, 200]


@pytest.mark.parametrize("answer", [NO_BUCKET, INTERNAL, OK_WITH_ERROR])
def test_a_client_takes_it_for_an_error_even_with_status_200(client: Any, proxy: Proxy, answer: Any) -> None:
    proxy.instead = script(answer)
    with pytest.raises(ClientError, match=answer.code):
        client.copy_object(Bucket=BUCKET, Key="x", CopySource={"Bucket": BUCKET, "Key": "y"})
    with pytest.raises(ClientError, match=answer.code):
        client.complete_multipart_upload(Bucket=BUCKET, Key="x", UploadId="1", MultipartUpload={"Parts": []})


@pytest.mark.parametrize(("of", "ignored"), [(".*", True), ("CompleteMultipartUpload", False)])
def test_conditions_can_be_ignored(client: Any, proxy: Proxy, of: str, ignored: bool) -> None:
    key = str(uuid4())
    client.put_object(Bucket=BUCKET, Key=key, Body=b"first", IfNoneMatch="*")
    proxy.instead = ignoring_conditions(of=of)
    if ignored:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"second", IfNoneMatch="*")
    else:
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket=BUCKET, Key=key, Body=b"second", IfNoneMatch="*")
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == (b"second" if ignored else b"first")
