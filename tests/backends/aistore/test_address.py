"""Which addresses and options a server may have, and what a backend tells of itself."""

from __future__ import annotations

import pickle

import pytest

import t9k
from t9k.em.errors import InvalidURI, SecretInURI
from t9k.em.registry import open_backend
from t9k.em.uris import is_same_root
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import DEFAULT_TIMEOUT_S, address_of, is_key
from t9k_em_backends.aistore.server import configured_key

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"


def open_at(uri: str, **arguments: object) -> AIStoreBackend:
    backend = open_backend(uri, **arguments)  # type: ignore[arg-type]  # as each test has them
    assert isinstance(backend, AIStoreBackend)
    return backend


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("https://host/t9k/aistore/server/", "https://host/t9k/aistore/server"),
        ("https://host:8443?timeout=5&direct=false", "https://host:8443"),
        ("http://10.0.0.5:8000/?insecure=true", "http://10.0.0.5:8000?insecure=true"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost/x", "http://localhost/x"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_the_uri_of_a_backend_says_where_it_is(uri: str, kept: str) -> None:
    backend = open_at(uri)
    assert backend.uri == kept
    assert open_at(kept).uri == kept
    assert repr(backend) == f"<AIStoreBackend {kept}>"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://host/aistore", "insecure=true"),
        ("http://10.0.0.5", "insecure=true"),
        ("http://localhost.evil.example", "insecure=true"),
        ("http://127.0.0.1.evil.example", "insecure=true"),
        ("http://host?insecure=false", "insecure=true"),
        ("https://host?insecure=perhaps", "true or false"),
        ("https://host:99999", "port"),
        ("https://:80", "no host"),
        ("https://ho st", "no host"),
        ("https://host?timeout=-1", "number of seconds"),
        ("https://host?colour=red", "takes no option 'colour'"),
    ],
)
def test_what_is_no_address_is_refused_without_asking_anybody(uri: str, says: str) -> None:
    with pytest.raises(InvalidURI) as caught:
        open_at(uri)
    assert says in str(caught.value)


@pytest.mark.parametrize("uri", [f"https://alice:{KEY}@host", f"https://host?apikey={KEY}", f"https://{KEY}@host"])
def test_a_key_does_not_belong_into_a_uri(uri: str) -> None:
    with pytest.raises(SecretInURI) as caught:
        open_at(uri)
    assert KEY not in str(caught.value)


def test_the_timeout_of_a_caller_wins() -> None:
    from t9k.em.uris import parse

    uri = parse("https://host?timeout=5")
    assert (address_of(uri, None).timeout_s, address_of(uri, 7).timeout_s) == (5, 7)
    assert address_of(parse("https://host"), None).timeout_s == DEFAULT_TIMEOUT_S
    with pytest.raises(InvalidURI):
        address_of(uri, -1)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (KEY, True),
        (KEY.upper(), True),
        (KEY[:-1], False),
        (KEY.replace("-", ""), False),
        (f" {KEY}", False),
        ("", False),
    ],
)
def test_a_key_is_a_uuid(text: str, is_one: bool) -> None:
    assert is_key(text) is is_one


def test_a_pickle_holds_no_key_and_finds_the_configured_one() -> None:
    backend = open_at("https://host/aistore?timeout=5", api_key=KEY)
    data = pickle.dumps(backend)
    assert KEY.encode() not in data
    again = pickle.loads(data)
    assert (again.uri, again._address, again._key()) == (backend.uri, backend._address, None)
    t9k.CONFIG.update({"aistore_host": "https://host/aistore", "api_key": KEY})
    assert again._key() == KEY


@pytest.mark.parametrize(
    ("saved", "url", "has_key"),
    [
        ("https://host/a", "https://host/a", True),
        ("https://HOST:443/a/", "https://host/a", True),
        ("https://host/a?insecure=true", "https://host/a", True),
        ("http://host/a", "https://host/a", False),
        ("https://host/b", "https://host/a", False),
        ("https://host.evil/a", "https://host/a", False),
        ("https://host:8443/a", "https://host/a", False),
        ("file:///a", "https://host/a", False),
        (None, "https://host/a", False),
    ],
)
def test_a_saved_key_is_for_the_host_that_it_was_saved_with(saved: str | None, url: str, has_key: bool) -> None:
    t9k.CONFIG.update({"aistore_host": saved, "api_key": KEY})
    assert configured_key(url) == (KEY if has_key else None)


def test_what_is_no_uri_is_no_root() -> None:
    assert not is_same_root("https://[", "https://[")
    assert is_same_root("s3://Bucket/root?region=x", "s3://Bucket/root/")
    assert not is_same_root("s3://bucket/root", "s3://Bucket/root")
    assert is_same_root("/data/em", "file:///data/em#/alice")
