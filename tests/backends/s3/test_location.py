from __future__ import annotations

import pytest

from t9k.em.errors import InvalidURI, SecretInURI
from t9k.em.registry import open_backend
from t9k.em.uris import parse
from t9k_em_backends.s3.location import S3Location


def test_a_uri_names_a_bucket_a_root_and_how_to_get_there():
    place = S3Location.from_uri(
        parse("s3://b/a/root/?endpoint=https://host:9000&region=eu&path_style=false&profile=p&timeout=5")
    )
    assert (place.bucket, place.root, place.endpoint, place.region) == ("b", "a/root/", "https://host:9000", "eu")
    assert (place.path_style, place.profile, place.timeout_s, place.anonymous) == (False, "p", 5.0, False)
    assert place.text == "s3://b/a/root"
    assert S3Location.from_uri(parse("s3://b")).root == ""
    assert S3Location.from_uri(parse("s3://b?anonymous=true")).anonymous


def test_plain_http_may_be_turned_off_and_is_on_otherwise():
    assert S3Location.from_uri(parse("s3://b")).plain_http
    assert S3Location.from_uri(parse("s3://b?plain_http=true")).plain_http
    assert not S3Location.from_uri(parse("s3://b?plain_http=false")).plain_http


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://b?speed=fast", "takes no option 'speed'; it takes anonymous, endpoint"),
        ("s3://b?endpoint=host:9000", "is no URL of a service; write it like 'https://host:9000'"),
        ("s3://b?anonymous=maybe", "anonymous is true or false, not 'maybe'"),
        ("s3://b?plain_http=no", "plain_http is true or false, not 'no'"),
        ("s3://b?timeout=soon", "timeout is a number of seconds"),
        ("s3://b?timeout=0", "timeout is a number of seconds"),
        ("s3:///root", "names no bucket; write it like 's3://bucket/root'"),
        ("s3://b?driver=boto", "there is no driver 'boto' for s3://; there are: obstore, fsspec"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(uri, says):
    with pytest.raises(InvalidURI, match=says.replace("?", r"\?")):
        open_backend(uri)


def test_a_secret_has_no_place_in_a_uri():
    for uri in ("s3://key:secret@bucket", "s3://bucket?secret_access_key=hidden"):
        with pytest.raises(SecretInURI) as caught:
            open_backend(uri)
        assert "hidden" not in str(caught.value)


def test_the_uri_of_a_backend_leads_back_to_the_same_place():
    backend = open_backend("s3://b/r?timeout=9&region=eu&endpoint=http://host:1&driver=obstore")
    assert backend.uri == "s3://b/r?endpoint=http://host:1&region=eu"
    assert open_backend(backend.uri).uri == backend.uri
