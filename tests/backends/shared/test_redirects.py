"""A service that redirects gets nobody's credentials or bytes to another host, whichever driver asks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.backends.aistore.scripted import Reply, Request, Scripted, as_json

from t9k.em.backend import ObjectStore
from t9k.em.errors import BackendError, EMError
from t9k.em.records import Body
from t9k.em.uris import parse
from t9k_em_backends import gs
from t9k_em_backends.fsspec.webdav import WebDAVStore
from t9k_em_backends.gs import GSStore
from t9k_em_backends.s3.obstore_store import ObstoreStore
from t9k_em_backends.s3.s3fs_store import S3fsStore

STATUSES = [301, 302, 303, 307, 308]
BYTES = b"secret bytes"
CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: list(store.get("k")),
    "list": lambda store: list(store.list("")),
    "put": lambda store: store.put("k", Body.of(BYTES)),
    "create": lambda store: store.put("k", Body.of(BYTES), if_absent=True),
    "put_many": lambda store: store.put_many([("k", Body.of(BYTES)), ("l", Body.of(BYTES))]),
    "delete": lambda store: store.delete(["k"]),
}


@pytest.fixture
def elsewhere() -> Iterator[Scripted]:
    with Scripted(lambda _: Reply(status=404)) as scripted:
        yield scripted


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_SESSION_TOKEN": "session-token",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


def redirecting(status: int, elsewhere: Scripted) -> Scripted:
    """A service at 127.0.0.1 that sends everybody to localhost, which is another host."""

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            return as_json({"access_token": "google-token", "expires_in": 3600, "token_type": "Bearer"})
        return Reply(status=status, headers={"Location": f"{elsewhere.url}{request.path}"})

    return Scripted(answer)


def nothing_came(elsewhere: Scripted) -> bool:
    """Whether nobody brought a credential or the bytes of an object."""
    names = {"authorization", "x-amz-security-token", "cookie", "x-goog-api-key", "proxy-authorization"}
    return not any(names & request.headers.keys() or BYTES in request.body for request in elsewhere.requests)


@pytest.mark.long
@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("make", [ObstoreStore, S3fsStore])
def test_no_driver_of_s3_takes_credentials_or_bytes_along(
    elsewhere: Scripted, make: type[ObjectStore], status: int
) -> None:
    with redirecting(status, elsewhere) as service:
        uri = f"s3://bucket/root?endpoint=http://127.0.0.1:{service.port}&timeout=5"
        with contextlib.closing(make.from_uri(parse(uri))) as store:
            for call in CALLS.values():
                with pytest.raises(EMError):
                    call(store)
        assert service.requests
    assert nothing_came(elsewhere)


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scripted], None]:
    """Makes an account of Google's, whose token a service gives."""

    def make(service: Scripted) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        told = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": "a@p.iam.gserviceaccount.com",
            "token_uri": f"http://127.0.0.1:{service.port}/token",
        }
        (tmp_path / "account.json").write_text(json.dumps(told))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        monkeypatch.setattr(gs, "PAUSES_S", ())

    return make


@pytest.mark.parametrize("status", STATUSES)
def test_that_of_google_takes_no_credentials_or_bytes_along(
    elsewhere: Scripted, account: Callable[[Scripted], None], status: int
) -> None:
    with redirecting(status, elsewhere) as service:
        account(service)
        uri = f"gs://bucket/root?endpoint=http://127.0.0.1:{service.port}&timeout=5"
        with contextlib.closing(GSStore.from_uri(parse(uri))) as store:
            for call in CALLS.values():
                with pytest.raises(BackendError):
                    call(store)
        assert {request.headers.get("authorization") for request in service.requests} >= {"Bearer google-token"}
    assert elsewhere.requests == []


def test_a_large_file_goes_to_no_other_host_with_credentials(
    elsewhere: Scripted, account: Callable[[Scripted], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gs, "CHUNK_BYTES", 256 << 10)
    body = Body.of(BYTES * (2 << 20))

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            return as_json({"access_token": "google-token", "expires_in": 3600, "token_type": "Bearer"})
        return as_json({}, Location=f"{elsewhere.url}/upload")

    with Scripted(answer) as service:
        account(service)
        uri = f"gs://bucket/root?endpoint=http://127.0.0.1:{service.port}&timeout=5"
        with (
            contextlib.closing(GSStore.from_uri(parse(uri))) as store,
            pytest.raises(BackendError, match="another host"),
        ):
            store.put("k", body)
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", STATUSES)
def test_that_of_webdav_takes_no_bytes_along(elsewhere: Scripted, status: int) -> None:
    with redirecting(status, elsewhere) as service:
        uri = f"webdav://host/root?endpoint=http://127.0.0.1:{service.port}"
        with contextlib.closing(WebDAVStore.from_uri(parse(uri))) as store:
            for call in CALLS.values():
                with suppress(EMError):
                    call(store)
        assert service.requests
    assert nothing_came(elsewhere)
