"""What signs a request of ours is what botocore's own signer makes of the same request."""

from __future__ import annotations

from datetime import datetime, timezone
from unittest import mock
from urllib.parse import unquote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.utils import percent_encode
from hypothesis import example, given
from hypothesis import strategies as st

from t9k_em_backends.s3.plain_http.signature import UNSIGNED_PAYLOAD, encoded_path, sign

HOST = "s3.example:8333"
NOW = datetime(2024, 2, 29, 23, 59, 59, tzinfo=timezone.utc)
ODD_KEYS = [
    "a b",
    "~",
    "+",
    "%",
    "%20",
    "*",
    "a/b//c",
    "./a/../b",
    "?x=1&y",
    "#",
    "ü",
    "日本/\U0001f600",
    "\\",
    "'\"",
    "\n",
]

keys = st.sampled_from(ODD_KEYS) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
names = st.from_regex(r"\A(x-amz-meta-[a-z0-9-]{1,10}|range|content-length|content-md5)\Z")
secrets = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", min_size=1, max_size=64)
times = st.integers(946684800, 4102444799).map(lambda seconds: datetime.fromtimestamp(seconds, timezone.utc))


def signed_by_botocore(method, path, headers, credentials, region, now):
    """All headers of the request as botocore sends it."""
    request = AWSRequest(method=method, url=f"http://{HOST}{path}", headers=headers)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    who = Credentials(credentials["access_key_id"], credentials["secret_access_key"], credentials["token"])
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=now.replace(tzinfo=None)):
        botocore.auth.S3SigV4Auth(who, "s3", region).add_auth(request)
    return {"host": HOST, **{name.lower(): value for name, value in request.headers.items()}}


def signed_by_us(method, path, headers, credentials, region, now):
    return sign(method, path, {"host": HOST, **headers}, credentials, region, lambda: now.timestamp() + 0.75)


def some_credentials(secret="secret", token=None):
    return {"access_key_id": "id", "secret_access_key": secret, "token": token}


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE"]),
    key=keys,
    headers=st.dictionaries(names, words, max_size=5),
    secret=secrets,
    token=st.none() | secrets,
    region=st.sampled_from(["us-east-1", "eu-central-1", "lab"]),
    now=times,
)
@example("PUT", "a b~+%*", {"range": "bytes=0-9"}, "secret", "token", "us-east-1", NOW)
def test_a_request_is_signed_as_by_botocore(method, key, headers, secret, token, region, now):
    request = (method, encoded_path(f"/bucket/{key}"), headers, some_credentials(secret, token), region, now)
    assert signed_by_us(*request) == signed_by_botocore(*request)


@given(key=keys)
def test_a_path_is_escaped_as_by_botocore(key):
    assert encoded_path(f"/bucket/{key}") == percent_encode(f"/bucket/{key}", safe="/~")


@given(key=keys)
def test_an_escaped_path_fits_into_a_request_line_and_means_the_same_key(key):
    path = encoded_path(key)
    assert path.isascii()
    assert not set(path) & set(" ?#\r\n")
    assert unquote(path) == key


@pytest.mark.parametrize("around", ["", " ", "  \t"])
def test_white_space_around_a_value_is_not_signed(around):
    request = (encoded_path("/bucket/key"), {"range": f"{around}bytes=0-9{around}"}, some_credentials(), "lab", NOW)
    assert signed_by_us("GET", *request)["authorization"] == signed_by_botocore("GET", *request)["authorization"]


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_session_token_nothing_is_said_of_one(token):
    signed = signed_by_us("GET", "/b/k", {}, some_credentials(token=token), "lab", NOW)
    assert set(signed) == {"host", "x-amz-content-sha256", "x-amz-date", "authorization"}


def test_the_session_token_is_signed_and_sent():
    signed = signed_by_us("GET", "/b/k", {}, some_credentials(token="token"), "lab", NOW)
    assert signed["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in signed["authorization"]


def test_the_bytes_are_not_signed_and_the_secret_is_not_sent():
    signed = signed_by_us("PUT", "/b/k", {"content-length": "3"}, some_credentials("very-secret"), "lab", NOW)
    assert signed["x-amz-content-sha256"] == UNSIGNED_PAYLOAD
    assert "very-secret" not in str(signed)


def test_what_is_given_stays_as_it_is():
    headers = {"host": HOST, "range": "bytes=0-9"}
    sign("GET", "/b/k", headers, some_credentials(token="token"), "lab")
    assert headers == {"host": HOST, "range": "bytes=0-9"}


def test_another_day_region_or_secret_gives_another_signature():
    first = signed_by_us("GET", "/b/k", {}, some_credentials(), "lab", NOW)["authorization"]
    others = [
        signed_by_us("GET", "/b/k", {}, some_credentials(), "lab", NOW.replace(day=28)),
        signed_by_us("GET", "/b/k", {}, some_credentials(), "other", NOW),
        signed_by_us("GET", "/b/k", {}, some_credentials("other"), "lab", NOW),
    ]
    assert len({first, *(other["authorization"] for other in others)}) == 4
