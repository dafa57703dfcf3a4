"""Credentials that end, from wherever the AWS SDKs get them, open a store and are renewed in the middle of an upload."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore import credentials
from tests.services.metadata import CONTAINER_TOKEN, SSO_TOKEN, Metadata
from tests.services.places import S3Place
from tests.services.proxy import Exchange, Proxy

from t9k.em.errors import BackendPermissionError
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k_em_backends.s3.plain_http import pool
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES

ROLE = "arn:aws:iam::123456789012:role/em"
LARGE = 3 * MULTIPART_FROM_BYTES
_KEY = re.compile(r"Credential=(\w+)/")


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as service:
        yield service


@pytest.fixture
def service(moto_service: S3Place, monkeypatch, tmp_path) -> Iterator[Proxy]:
    """S3 and STS, of which every request is seen; and an environment without credentials."""
    moto_service.set_env(monkeypatch)
    for name in [*os.environ]:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", moto_service.region)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Proxy(urlsplit(moto_service.endpoint).netloc) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{proxy.address}")
        yield proxy


@pytest.fixture
def later(monkeypatch, service) -> Callable[[str], None]:
    """Lets 55 minutes pass once a request with this first line comes: the keys of an hour end soon."""
    now = credentials._local_now
    passed = timedelta()

    def remaining_s(found) -> float:
        return (found._expiry_time - now() - passed).total_seconds()

    monkeypatch.setattr(credentials.RefreshableCredentials, "_seconds_remaining", remaining_s)
    monkeypatch.setattr(credentials, "_local_now", lambda: now() + passed)

    def at(pattern: str) -> None:
        def look(exchange: Exchange) -> str:
            nonlocal passed
            if re.search(pattern, exchange.line):
                passed = timedelta(minutes=55)
            return ""

        service.fate = look

    return at


def write_config(text: str) -> None:
    path = Path.home() / ".aws" / "config"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def web_identity(monkeypatch, metadata, tmp_path) -> None:
    """As EKS does for a service account (IRSA)."""
    (tmp_path / "token").write_text("a-token")
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))


def container(monkeypatch, metadata, tmp_path) -> None:
    """As ECS does, and EKS with pod identities."""
    (tmp_path / "token").write_text(CONTAINER_TOKEN)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.url}/container")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))


def machine(monkeypatch, metadata, tmp_path) -> None:
    """As EC2 does for an instance profile (IMDSv2)."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)


def assumed_role(monkeypatch, metadata, tmp_path) -> None:
    write_config(
        f"[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = s\n"
        f"[profile team]\nrole_arn = {ROLE}\nsource_profile = base\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "team")


def process(monkeypatch, metadata, tmp_path) -> None:
    program = (
        "import json, urllib.request as r\n"
        f"asked = r.Request('{metadata.url}/container', headers={{'Authorization': '{CONTAINER_TOKEN}'}})\n"
        "key = json.load(r.urlopen(asked))\n"
        "print(json.dumps(dict(key, Version=1, SessionToken=key['Token'])))\n"
    )
    (tmp_path / "give.py").write_text(program)
    write_config(f"[default]\ncredential_process = {sys.executable} -S {tmp_path / 'give.py'}\n")


def sso(monkeypatch, metadata, tmp_path) -> None:
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"accessToken": SSO_TOKEN, "expiresAt": "2999-01-01T00:00:00Z", "startUrl": "https://sso.example/start"}
    (cache / f"{hashlib.sha1(b'people').hexdigest()}.json").write_text(json.dumps(token))
    write_config(
        "[default]\nsso_session = people\nsso_account_id = 123456789012\nsso_role_name = em\n"
        "[sso-session people]\nsso_region = us-east-1\nsso_start_url = https://sso.example/start\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", metadata.url)
    for tokens in ("botocore.tokens", "aiobotocore.tokens"):  # where they look follows from HOME when they are imported
        provider = importlib.import_module(tokens).SSOTokenProvider
        monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", str(cache))


WAYS: list[Callable[..., None]] = [web_identity, container, machine, assumed_role, process, sso]


def keys_of(proxy: Proxy, pattern: str) -> set[str]:
    """Which keys signed those requests whose first line has a pattern."""
    return {
        found[1]
        for exchange in proxy.exchanges
        if re.search(pattern, exchange.line) and (found := _KEY.search(exchange.headers.get("authorization", "")))
    }


@pytest.mark.long
@pytest.mark.parametrize("driver", ["obstore", "fsspec"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_credentials_that_end_are_used_and_renewed_in_the_middle_of_an_upload(
    service, metadata, later, monkeypatch, tmp_path, moto_service, way, driver
):
    way(monkeypatch, metadata, tmp_path)
    later("^POST .*[?]uploads")
    data = os.urandom(1 << 20) * (LARGE >> 20)
    with open_backend(f"{moto_service.new_root()}?driver={driver}&path_style=true") as backend:
        backend.store.put("small", Body.of(b"data"))
        backend.store.put("large", Body.of(data))
        assert b"".join(backend.store.get("small")) == b"data"
        assert b"".join(backend.store.get("large")) == data
        assert {info.key for info in backend.store.list("")} == {"small", "large"}
        backend.store.delete(["small", "large"])
    begun, parts = keys_of(service, "^POST .*[?]uploads"), keys_of(service, "[?&]partNumber=")
    assert len(begun) == 1
    assert parts
    assert not begun & parts
    if metadata.given:
        assert keys_of(service, "/em-tests/") <= set(metadata.given)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_they_are_renewed_while_many_small_files_go_over_sockets(
    service, metadata, later, monkeypatch, tmp_path, moto_service, way
):
    monkeypatch.setattr(pool, "CREDENTIALS_S", 0.0)
    way(monkeypatch, metadata, tmp_path)
    later("^PUT .*/key-5")
    bodies = []
    for number in range(12):
        path = tmp_path / f"file-{number}"
        path.write_bytes(b"x%d" % number)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        body = Body(size=path.stat().st_size, sha256=sha256, open=partial(path.open, "rb"), path=path)
        bodies.append((f"key-{number}", body))
    with open_backend(moto_service.new_root()) as backend:
        assert backend.store.batch_files > 1  # sockets are used
        backend.store.put_many(bodies[:6])
        backend.store.put_many(bodies[6:])
        assert {info.key for info in backend.store.list("")} == {key for key, _ in bodies}
    put = [exchange for exchange in service.exchanges if exchange.method == "PUT"]
    assert not any("aws-sdk" in exchange.headers.get("user-agent", "") for exchange in put)
    assert len(keys_of(service, "^PUT .*/key-")) > 1


@pytest.mark.parametrize("driver", ["obstore", "fsspec"])
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_a_line_break_at_the_end_of_a_variable_is_said_to_be_one(service, monkeypatch, moto_service, driver, name):
    for other in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(other, "hidden\n" if other == name else "hidden")
    for size in (1, MULTIPART_FROM_BYTES):
        store = open_backend(f"{moto_service.new_root()}?driver={driver}").store
        with pytest.raises(BackendPermissionError, match="a line break or another character that no key has") as caught:
            store.put("key", Body.of(bytes(size)))
        assert "hidden" not in str(caught.value)
        store.close()


@pytest.mark.parametrize("driver", ["obstore", "fsspec"])
def test_a_token_file_that_is_not_there_is_no_foreign_error(service, monkeypatch, tmp_path, moto_service, driver):
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(BackendPermissionError, match="credentials cannot be got"):
        open_backend(f"{moto_service.new_root()}?driver={driver}").store.put("key", Body.of(b""))
