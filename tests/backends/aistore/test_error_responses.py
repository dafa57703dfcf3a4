"""What answers mean: errors of the library that are requests.HTTPError as well, with advice."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator

import pytest
import requests
from tests.backends.aistore.clients import AT_ONCE
from tests.backends.aistore.scripted import PAGE, VERSION, Reply, Scripted, an_error, as_json

from t9k.em import errors, wire
from t9k.em.errors import BackendError, BackendPermissionError, EMError, NotAuthenticated, RateLimited
from t9k.em.names import new_op
from t9k.em.testing import make_request
from t9k.em.uris import parse
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import address_of

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"
PATH = "/alice/default/m"
OP = new_op()


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as scripted:
        yield scripted


def backend_at(server: Scripted, key: str | None = KEY) -> AIStoreBackend:
    return AIStoreBackend(address_of(parse(server.url), 5), key, retries=AT_ONCE)


def error_of(server: Scripted) -> EMError:
    with backend_at(server) as backend, pytest.raises(EMError) as caught:
        backend.stat(PATH)
    return caught.value


@pytest.mark.long
@pytest.mark.parametrize("code", wire.CODES)
def test_each_code_is_its_error_and_an_http_error_and_can_be_pickled(server: Scripted, code: str) -> None:
    server.answers = lambda _: an_error(code, "the reason")
    error = error_of(server)
    assert isinstance(error, wire.CODES[code].error)
    assert isinstance(error, requests.HTTPError)
    assert "the reason" in str(error)
    assert server.url in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.response.status_code) == (str(error), wire.CODES[code].status)
    assert again.request is again.response.request is None
    assert type(error).__name__ == wire.CODES[code].error.__name__


def test_details_survive_the_wire_and_a_pickle(server: Scripted) -> None:
    server.answers = lambda _: an_error("rate_limited", Retry_After="7")
    limited = pickle.loads(pickle.dumps(error_of(server)))
    assert isinstance(limited, RateLimited)
    assert limited.retry_after_s == 7
    server.answers = lambda _: an_error("key_revoked")
    refused = pickle.loads(pickle.dumps(error_of(server)))
    assert isinstance(refused, NotAuthenticated)
    assert refused.reason == "key_revoked"
    assert f"em login {server.url}" in str(refused)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.NotAuthenticated),
        (403, errors.BackendPermissionError),
        (404, errors.NotFound),
        (418, errors.RequestRefused),
        (429, errors.RateLimited),
        (503, errors.BackendUnavailable),
        (500, errors.BackendError),
    ],
)
def test_a_code_of_a_later_version_means_what_its_status_means(
    server: Scripted, status: int, kind: type[EMError]
) -> None:
    server.answers = lambda _: as_json(wire.error_json("brand_new", "see the news", "1"), status)
    error = error_of(server)
    assert type(error).__name__ == kind.__name__
    assert "see the news" in str(error)


@pytest.mark.long
@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (Reply(status=404, body=b"not here"), BackendError, "is there an AIStore at this address?"),
        (Reply(status=404, body=b'{"error": "no"}'), BackendError, "is there an AIStore at this address?"),
        (Reply(status=405, body=b"<html>"), BackendError, "is there an AIStore at this address?"),
        (Reply(status=500, body=b"oops"), BackendError, "is there an AIStore at this address?"),
        (Reply(status=400, body=b"sent to HTTPS port"), BackendError, "use https://"),
        (Reply(status=401, body=b"who?"), BackendPermissionError, "proxy"),
        (Reply(status=407, body=b"who?"), BackendPermissionError, "NO_PROXY"),
        (Reply(status=413, body=b"<html>"), errors.RequestRefused, "client_max_body_size"),
        (Reply(status=429, body=b"slow"), RateLimited, "too many requests"),
        (Reply(status=502, body=b"<html>"), errors.BackendUnavailable, "the server behind that proxy is not there"),
        (Reply(status=302, headers={"Location": "https://sso.host/a?k=s3cret"}), BackendError, "https://sso.host/a;"),
        (Reply(status=301, headers={"Location": "//["}), BackendError, "somewhere else"),
        (PAGE, BackendError, "a web page"),
        (Reply(body=b"{", headers={"Content-Type": "application/json"}), BackendError, "broken JSON"),
        (Reply(body=b"x"), BackendError, "no JSON"),
        (as_json([]), BackendError, "upgrade t9k-em"),
        (as_json({"path": 1}), BackendError, "upgrade t9k-em"),
    ],
)
def test_what_no_aistore_answers_is_named(server: Scripted, reply: Reply, kind: type[EMError], says: str) -> None:
    server.answers = lambda _: reply
    error = error_of(server)
    assert isinstance(error, kind)
    assert isinstance(error, requests.HTTPError)
    assert not isinstance(error, errors.NotFound), "nobody may take it for a node that is not there"
    assert says in str(error)
    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (PAGE, "a web page"),
        (Reply(status=404, body=b"404 page not found"), "is there an AIStore at this address?"),
        (as_json({"service": "other"}), "is there an AIStore at this address?"),
        (as_json([]), "is there an AIStore at this address?"),
        (as_json({**VERSION, "api": 2}), "upgrade the older one"),
        (as_json({**VERSION, "limits": {}}), "upgrade t9k-em"),
    ],
)
def test_a_login_elsewhere_says_so_and_sends_no_key(server: Scripted, version: Reply, says: str) -> None:
    server.version = version
    with pytest.raises(requests.HTTPError) as caught:
        backend_at(server).open()
    assert isinstance(caught.value, BackendError)
    assert says in str(caught.value)
    assert len(server.requests) == 1
    assert "authorization" not in server.requests[0].headers


def test_a_redirect_is_not_followed(server: Scripted) -> None:
    with Scripted() as other:
        server.answers = lambda _: Reply(status=307, headers={"Location": f"{other.url}/apis/v1/nodes"})
        assert f"{other.url};" in str(error_of(server))
        assert other.requests == []


@pytest.mark.parametrize("key", ["", "no key", f"{KEY}\n", KEY[:-1], f"Bearer {KEY}", "é" * 36])
def test_what_can_be_no_key_is_refused_before_it_is_sent(server: Scripted, key: str) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        backend_at(server, key).open()
    assert isinstance(caught.value, requests.HTTPError)
    assert caught.value.reason == ("key_malformed" if key else "key_missing")
    assert caught.value.response is None
    assert [request.what for request in server.requests] == ([] if key else ["/version"])
    assert not key or key not in str(caught.value)


def test_without_a_key_the_address_is_looked_at_first(server: Scripted) -> None:
    with pytest.raises(NotAuthenticated, match="em login") as caught:
        backend_at(server, None).open()
    assert caught.value.reason == "key_missing"
    server.version = PAGE
    with pytest.raises(BackendError, match="a web page"):
        backend_at(server, None).open()


def test_the_user_is_asked_for_once(server: Scripted) -> None:
    with backend_at(server) as backend:
        assert [backend.whoami() for _ in range(3)] == ["alice"] * 3
        assert backend.parallelism == 5
    assert [request.what for request in server.requests] == ["/version", "/user"]


@pytest.mark.parametrize("name", ["", "../bob", "a/b", None, 5])
def test_a_user_who_cannot_be_is_refused(server: Scripted, name: object) -> None:
    server.user = as_json({"name": name})
    with pytest.raises(BackendError, match="upgrade"):
        backend_at(server).open()


def test_listings_go_through_all_pages(server: Scripted) -> None:
    from t9k.em.records import FileEntry, Node

    node = Node(path=PATH, kind="Run", id="1", generation=2)
    entries = [FileEntry(key=f"k{number}", op="o", size=1, sha256="0" * 64) for number in range(7)]

    def answer(request):
        first = int(request.query.get("after", "0"))
        last = first + int(request.query["limit"])
        items = [wire.file_json(entry) for entry in entries[first:last]]
        return as_json({"items": items, "next": str(last) if last < len(entries) else None})

    server.answers = answer
    with backend_at(server) as backend:
        assert backend.files(node) == entries
        assert [request.query.get("after") for request in server.asked("/nodes/files")] == [None, "3", "6"]
        server.answers = lambda request: as_json({"items": [], "next": "again"})
        with pytest.raises(BackendError, match="again and again"):
            backend.files(node)


@pytest.mark.parametrize(("abilities", "sent"), [(["parts"], None), (["parts", "ancestors"], [OP])])
def test_only_a_server_that_compares_what_an_upload_comes_from_is_told(
    server: Scripted, abilities: list[str], sent: list[str] | None
) -> None:
    server.version = as_json({**VERSION, "abilities": abilities})
    server.answers = lambda _: an_error("diverged", "version 2 is there")
    with backend_at(server) as backend, pytest.raises(errors.Diverged, match="version 2 is there"):
        backend.begin(make_request("/alice/default", "m", {}, ancestors=[OP]))
    [request] = server.asked("/uploads")
    assert json.loads(request.body).get("ancestors") == sent
