"""What the environment, profiles and configuration files say is found in the order of the AWS SDKs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from t9k.em.errors import BackendPermissionError, InvalidURI
from t9k_em_backends.s3.access import Access, find_access
from t9k_em_backends.s3.location import S3Location

PLACE = S3Location(bucket="b")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def given(access: Access):
    """The credentials that an access gives."""
    assert access.credentials is not None
    return access.credentials()


def write_config(text: str, name: str = "config") -> None:
    path = Path.home() / ".aws" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_keys_in_the_environment_are_enough(keys, monkeypatch):
    access = find_access(PLACE)
    assert (access.endpoint, access.region, access.path_style) == ("", "us-east-1", False)
    assert given(access)["access_key_id"] == "id"
    assert given(access)["token"] is None
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert given(access)["token"] == "token"
    assert "secret" not in repr(access)


def test_the_uri_comes_before_the_environment_and_that_before_the_profile(keys, monkeypatch):
    write_config("[default]\nregion = profile\nendpoint_url = http://profile\n")
    assert (find_access(PLACE).endpoint, find_access(PLACE).region) == ("http://profile", "profile")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "default")
    assert (find_access(PLACE).endpoint, find_access(PLACE).region) == ("http://all", "default")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3/")
    monkeypatch.setenv("AWS_REGION", "region")
    assert (find_access(PLACE).endpoint, find_access(PLACE).region) == ("http://s3", "region")
    place = S3Location(bucket="b", endpoint="http://uri", region="uri")
    assert (find_access(place).endpoint, find_access(place).region) == ("http://uri", "uri")


def test_an_endpoint_takes_the_bucket_in_the_path_unless_told_otherwise(keys):
    assert find_access(S3Location(bucket="b", endpoint="http://uri")).path_style
    assert not find_access(S3Location(bucket="b", endpoint="http://uri", path_style=False)).path_style
    assert find_access(S3Location(bucket="b", path_style=True)).path_style


def test_a_profile_has_credentials_and_the_endpoint_of_its_services(monkeypatch):
    write_config(
        "[profile lab]\nregion = eu-1\nservices = lab\n[services lab]\ns3 =\n  endpoint_url = http://lab\n", "config"
    )
    write_config("[lab]\naws_access_key_id = lab-id\naws_secret_access_key = lab-secret\n", "credentials")
    for place in (S3Location(bucket="b", profile="lab"), PLACE):
        access = find_access(place)
        assert (access.endpoint, access.region) == ("http://lab", "eu-1")
        assert given(access)["access_key_id"] == "lab-id"
        monkeypatch.setenv("AWS_PROFILE", "lab")


def test_a_process_that_gives_credentials_is_asked_again_when_they_expire(tmp_path):
    answer = {
        "Version": 1,
        "AccessKeyId": "made",
        "SecretAccessKey": "s",
        "SessionToken": "t",
        "Expiration": "2999-01-01T00:00:00Z",
    }
    (tmp_path / "answer").write_text(json.dumps(answer))
    write_config(f"[default]\ncredential_process = cat {tmp_path / 'answer'}\n")
    credentials = given(find_access(PLACE))
    assert (credentials["access_key_id"], credentials["token"]) == ("made", "t")
    assert credentials["expires_at"].year == 2999


def test_nothing_found_says_what_to_set():
    with pytest.raises(
        BackendPermissionError, match="no credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID"
    ):
        find_access(PLACE)
    assert find_access(S3Location(bucket="b", anonymous=True)).credentials is None


def test_half_of_a_key_is_no_key(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    with pytest.raises(BackendPermissionError, match="no credentials were found"):
        find_access(PLACE)


def test_a_profile_that_is_not_there_is_named():
    with pytest.raises(InvalidURI, match="The config profile .nobody. could not be found; correct AWS_PROFILE"):
        find_access(S3Location(bucket="b", profile="nobody"))


def test_a_session_of_sso_that_ended_says_how_to_log_in():
    write_config(
        "[default]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.com/start\n"
    )
    with pytest.raises(BackendPermissionError, match="aws sso login"):
        find_access(PLACE)


def test_a_process_that_fails_is_told_by_its_kind_alone():
    write_config("[default]\ncredential_process = sh -c 'echo hidden-secret >&2; exit 1'\n")
    with pytest.raises(BackendPermissionError, match="credentials cannot be got") as caught:
        find_access(PLACE)
    assert "hidden" not in str(caught.value)
