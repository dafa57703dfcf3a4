"""The secrets that open a bucket are found in no log, error, repr, pickle or file, whatever goes right or wrong."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.em.leaks import told
from tests.services import stub
from tests.services.places import S3Place
from tests.services.proxy import LOST, Proxy, every

from t9k import em
from t9k.em import session
from t9k.em.backend import SendsDirect, SignsReads
from t9k.em.errors import EMError, NotFound
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k.em.testing import make_request

pytestmark = pytest.mark.parametrize("driver", ["obstore", "fsspec"])


@pytest.fixture(autouse=True)
def _watch(moto: S3Place, monkeypatch, caplog, capfd, tmp_path) -> Iterator[None]:
    """After each test, nothing that it left holds a secret."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "seCret+kEy/tHaT/nobody+shall/see")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "tHe/session+token/tHaT/nobody+shall/see")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    for record in (record for phase in ("setup", "call") for record in caplog.get_records(phase)):
        for text in (record.getMessage(), str(record.__dict__), record.exc_text or ""):
            assert not secrets_in(text), record.name
    assert not secrets_in(printed.out + printed.err)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not secrets_in(path.read_bytes().decode("latin-1")), path


@pytest.fixture
def proxy(moto: S3Place) -> Iterator[Proxy]:
    with Proxy(moto.endpoint.partition("://")[2]) as proxy:
        yield proxy


@pytest.fixture
def uri(moto: S3Place, proxy: Proxy, driver: str) -> str:
    return f"{moto.new_root()}?driver={driver}&endpoint=http://{proxy.address}"


def secrets_in(text: str) -> list[str]:
    parts = ("seCret+kEy", "seCret%2BkEy", "tHe/session", "tHe%2Fsession")
    return [secret for secret in parts if secret in text]


def upload(uri: str, size: int = 10) -> None:
    source = Path("source")
    source.write_bytes(bytes(size))
    artifact = em.create_artifact("a")
    artifact.add_file(str(source), "x")
    artifact.upload(f"{uri}#default")
    with em.create_run(name="r") as run:
        run.log("train", {"loss": 0.5}, step=1)
        run.mark_output(artifact)
    run.upload(f"{uri}#default")


@pytest.mark.long
@pytest.mark.parametrize("size", [10, 17 << 20], ids=["small", "in parts"])
def test_after_uploads_and_downloads(uri: str, size: int, driver: str, caplog: pytest.LogCaptureFixture) -> None:
    upload(uri, size)
    if size > 10 or driver == "fsspec":
        assert [record for record in caplog.records if "botocore" in record.name], "what logs nothing proves nothing"
    em.login(uri)
    em.load_artifact("default/a").download()
    em.load_run("default/r")
    backend = session.current()
    for thing in (backend, backend.store, session, vars(backend), backend.stat("/alice/default/a")):
        assert not secrets_in(repr(thing))


@pytest.mark.long
@pytest.mark.parametrize(
    "answer",
    [stub.EXPIRED, stub.EXPIRED_403, stub.INVALID_TOKEN, stub.WRONG_SECRET, stub.SKEWED, stub.NO_BUCKET],
    ids=lambda answer: f"{answer.code}-{answer.status}",
)
@pytest.mark.parametrize("of", ["PutObject", "ListObjects", "CreateMultipartUpload"])
def test_after_a_refusal(uri: str, proxy: Proxy, answer: stub.Answer, of: str) -> None:
    proxy.instead = stub.script(answer, of=of)
    with pytest.raises(EMError) as caught:
        upload(uri, 17 << 20)
    assert not secrets_in(told(caught.value))


def test_after_signing_for_somebody_else(uri: str) -> None:
    contents = {"small": b"bytes", "in parts": bytes(17 << 20)}
    with open_backend(uri) as backend:
        open_upload = backend.begin(make_request("/alice/default", "m", contents))
        assert isinstance(open_upload, SendsDirect)
        assert isinstance(backend, SignsReads)
        for file in open_upload.missing:
            signed = open_upload.sign(file, lifetime_s=60)
            assert signed is not None
            assert all(secrets_in(request.url) for request in signed.requests), "the token belongs to the signature"
            assert not secrets_in(repr(signed))
            with pytest.raises(NotFound) as caught:
                open_upload.complete_signed(file, signed.token)
            assert not secrets_in(told(caught.value))
            open_upload.put([(file, Body.of(contents[file.key]))])
        node = open_upload.commit()
        assert node is not None
        reading = [backend.sign_read(node, entry, lifetime_s=60) for entry in backend.files(node)]
        assert len(reading) == 2
        assert not secrets_in(repr(reading))


@pytest.mark.long
def test_after_replies_that_were_lost(uri: str, proxy: Proxy) -> None:
    proxy.fate = every(3, LOST)
    upload(uri)


@pytest.mark.long
def test_after_nobody_answered(driver: str, moto: S3Place) -> None:
    with pytest.raises(EMError) as caught:
        em.login(f"{moto.new_root()}?driver={driver}&endpoint=http://127.0.0.1:1&timeout=1")
    assert not secrets_in(told(caught.value))


def test_in_a_pickle(uri: str) -> None:
    em.login(uri)
    backend = session.current()
    list(backend.list("/alice/default"))
    assert not secrets_in(pickle.dumps(backend.store).decode("latin-1"))
    assert list(pickle.loads(pickle.dumps(backend.store)).list("")) == []
    try:
        pickled = pickle.dumps(backend)
    except (TypeError, pickle.PicklingError, AttributeError) as refused:
        pickled = told(refused).encode()
    assert not secrets_in(pickled.decode("latin-1"))
