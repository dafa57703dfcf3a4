"""URIs of stores and of referenced objects: taken apart, equal when they mean the same, and never with a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.errors import InvalidURI, SecretInURI
from t9k.em.uris import check_reference, is_uri, parse, root_of


class TestParse:
    def test_a_plain_path_is_a_local_store_taken_literally(self, tmp_path):
        for path in ("data/e m", "a#b?c=d%20", "x@y"):
            uri = parse(path)
            assert (uri.scheme, uri.path, uri.options, uri.folder) == ("file", str(tmp_path / path), {}, None)
            assert parse(uri.text).path == uri.path
        assert parse("~/data").path == str(Path.home() / "data")

    @pytest.mark.parametrize(
        ("text", "root", "path"),
        [
            ("file:///data/em", "file:///data/em", "/data/em"),
            ("FILE:///data/em/", "file:///data/em", "/data/em"),
            ("file:///data//x/../em/.", "file:///data/em", "/data/em"),
            ("file://localhost/data/e%20m", "file:///data/e%20m", "/data/e m"),
            ("s3://bucket/root/", "s3://bucket/root", "/root"),
            ("memory://name", "memory://name", ""),
            ("https://host:8080/a/b", "https://host:8080/a/b", "/a/b"),
            ("abfs://container@account/x", "abfs://container@account/x", "/x"),
        ],
    )
    def test_equal_roots_have_equal_texts(self, text, root, path):
        uri = parse(text)
        assert (uri.text, uri.path) == (root, path)

    def test_options_and_folder_come_apart(self):
        uri = parse("s3://bucket/root?region=eu&empty=#/alice/a%20b")
        assert (uri.netloc, uri.options, uri.folder) == ("bucket", {"region": "eu", "empty": ""}, "/alice/a b")
        assert parse("memory://x#").folder is None

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("", "use a URI like"),
            ("a\0b", "use a URI like"),
            ("s3://a\nb", "use a URI like"),
            ("data/\x1b", "use a URI like"),
            ("data/\ud800", "use a URI like"),
            ("file://host/x", "three slashes: 'file:///host/x'"),
            ("file://", "write it like 'file:///data/em'"),
            ("file:///a%00b", "write it like 'file:///data/em'"),
            ("s3://", "write it like 's3://name/root'"),
            ("s3://[x/y", "unusable host"),
        ],
    )
    def test_what_names_no_store_is_answered_with_a_form(self, text, advice):
        with pytest.raises(InvalidURI, match=advice):
            parse(text)

    @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
    def test_any_text_is_a_store_or_a_clear_error(self, text):
        for candidate in (text, f"s3://{text}", f"file:///{text}", f"file://{text}"):
            try:
                uri = parse(candidate)
            except InvalidURI:
                continue
            assert parse(uri.text).text == uri.text

    def test_tells_uris_from_paths(self):
        assert is_uri("s3://x")
        assert not any(map(is_uri, ["a/b", "/a", "C:\\x", "s3:/x", "1s://x", ""]))


SECRETS = [
    "s3://key:seCret@bucket/x",
    "s3://key%3AseCret@bucket/x",
    "https://seCret@host/x",
    "http://user:seCret@host/x",
    "ftp://user:seCret@host/x",
    *(
        f"s3://bucket/x?{name}=seCret"
        for name in [
            "secret",
            "password",
            "aws_secret_access_key",
            "token",
            "access-token",
            "accessToken",
            "apikey",
            "api_key",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "sig",
            "key",
            "clientSecret",
            "AWSAccessKeyId",
            "pwd",
            "account_key",
            *("passphrase", "pass", "db_pass", "pw", "creds", "jwt", "bearer", "privateKey", "shared_key", "authkey"),
            *("token[]", "%74oken", "Authorization", "cookie", "region=x;token", "storageKey"),
        ]
    ),
    "s3://bucket/x?profile=AKIASECRETSECRETSE12&x=seCret",
    "https://host/x?ghp_seCretseCretseCretseCretseCretseCretseCret",
]


@pytest.mark.parametrize("uri", SECRETS)
@pytest.mark.parametrize("check", [parse, check_reference])
def test_a_secret_is_refused_and_not_repeated(check, uri):
    with pytest.raises(SecretInURI, match="leave it out and use the environment") as caught:
        check(uri)
    assert "seCret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket?secret=x", "AWS_PROFILE"),
        ("gs://bucket?token=x", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("https://host/t9k?apikey=x", "em login"),
        ("http://user:x@host/t9k", "em login"),
        ("webdav://host?password=x", "the environment"),
    ],
)
def test_it_is_told_where_a_secret_belongs(uri, place):
    with pytest.raises(SecretInURI, match=place):
        parse(uri)


@pytest.mark.parametrize("flaw", ["\n", "\0", "\ud800"])
@pytest.mark.parametrize("uri", SECRETS)
@pytest.mark.parametrize("check", [parse, check_reference])
def test_a_secret_is_not_repeated_where_the_uri_has_another_flaw(check, uri, flaw):
    with pytest.raises(InvalidURI) as caught:
        check(f"{uri}{flaw}")
    assert "seCret" not in str(caught.value)


@pytest.mark.parametrize(
    "option", ["region", "monkey", "tokenizer", "keys", "signature_version", "design", "sort_by", "bypass", "compass"]
)
def test_options_that_hold_no_secret_are_taken(option):
    assert option in parse(f"s3://bucket?{option}=1").options


class TestReferences:
    @pytest.mark.parametrize("uri", ["https://host/a?v=1#x", "s3://b/k?versionId=3", "file:///a%20b", "t9k://host/x"])
    def test_are_taken_as_they_are(self, uri):
        assert check_reference(uri) == uri

    @pytest.mark.parametrize(
        "uri", ["", "a/b", "/a", "mailto:x", None, 1, "https://host/\n", "https://host/\ud800", "https://h\x7f/"]
    )
    def test_that_are_none_are_answered_with_a_form(self, uri):
        with pytest.raises(InvalidURI, match="use one like 'https://host/file'"):
            check_reference(uri)

    def test_with_an_unusable_host_are_refused(self):
        with pytest.raises(InvalidURI, match="unusable host"):
            check_reference("https://[x/")


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("file:///data/em#/alice", "file:///data/em"),
        ("/data/an em", "file:///data/an%20em"),
        ("memory://x?b=2&a=a%26b#y", "memory://x?a=a%26b&b=2"),
    ],
)
def test_the_root_with_its_options_is_a_uri_of_the_same_store(text, root):
    uri = parse(text)
    assert root_of(uri) == root
    again = parse(root)
    assert (again.text, again.options, again.folder) == (uri.text, uri.options, None)
