"""Mirrors between a directory and a real S3, and within one."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from tests.services.proxy import Proxy

from t9k.em import mirror, session
from t9k.em.testing import make_request, read_node, upload

CONTENTS = {f"payload/{number}": b"%d" % number * 1000 for number in range(20)}


@pytest.fixture
def source(tmp_path) -> str:
    uri = (tmp_path / "store").as_uri()
    fill(uri)
    return uri


def fill(uri: str) -> None:
    for version in range(2):
        contents = {**CONTENTS, "payload/new": b"%d" % version}
        request = make_request("/alice/exp", "cnn", contents, id="cnn", strategy="replace")
        upload(session.backend_at(uri), request, contents)
    upload(session.backend_at(uri), make_request("/bob/data", "mnist", CONTENTS), CONTENTS)


def contents(uri: str) -> list[dict[str, bytes]]:
    backend = session.backend_at(uri)
    return [
        read_node(backend, node) for path in ("/alice/exp/cnn", "/bob/data/mnist") for node in backend.versions(path)
    ]


def test_there_and_back_again(source, s3, tmp_path):
    there, back = s3.new_root(), (tmp_path / "back").as_uri()
    reports = [
        mirror(source, there),
        mirror(there, back),
        mirror(source, back, verify=True),
        mirror(back, there, verify=True),
    ]
    assert all(report.complete for report in reports)
    assert len({report.digest for report in reports}) == 1
    assert {entry.action.value for report in reports[2:] for entry in report.entries} == {"unchanged"}
    assert contents(back) == contents(there) == contents(source)


def test_within_one_bucket_the_service_copies(s3, monkeypatch):
    with Proxy(urlsplit(s3.endpoint).netloc) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{proxy.address}")
        source, target = s3.new_root(), s3.new_root()
        fill(source)
        before = len(proxy.exchanges)
        report = mirror(source, target)
        made = proxy.exchanges[before:]
        assert report.complete
        about_files = [exchange for exchange in made if "/payload/" in urlsplit(exchange.target).path]
        copies = [exchange for exchange in about_files if "x-amz-copy-source" in exchange.headers]
        assert {exchange.method for exchange in about_files} <= {"HEAD", "PUT"}
        assert len(copies) == sum(exchange.method == "PUT" for exchange in about_files) == 2 * len(CONTENTS) + 2
        assert contents(target) == contents(source)
