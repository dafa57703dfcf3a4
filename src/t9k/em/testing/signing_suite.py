"""What `t9k.em.backend.SignsRequests`, `SendsDirect` and `SignsReads` promise, as tests.

What was signed is sent by `requests`, which knows nothing of the store.
"""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests

from t9k.em.backend import Backend, ObjectStore, SendsDirect, SignsReads, SignsRequests
from t9k.em.errors import NotFound, SourceChanged
from t9k.em.records import Body, FileSpec, Outcome, SignedRequest, SignedUpload
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.store_suite import ODD_KEYS, StoreFixtures, get, keys, put
from t9k.em.testing.uploads import finish, make_request, read_node, upload

if TYPE_CHECKING:
    from t9k.em.backend import Upload

LIFETIME_S = 600.0
LARGE = bytes(range(251)) * ((17 << 20) // 251)
"""More than anybody sends at once."""

OK, REFUSED = 300, 400


class SignsRequestsSuite(StoreFixtures):
    """For stores that are `SignsRequests`.

    Attributes:
        checks_signatures: Whether the service looks at signatures; a double that stands in for it may not.
    """

    checks_signatures = True

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_signed(self, store: ObjectStore, key: str) -> None:
        put(store, "other", b"other")
        sent(store, key, key.encode())
        assert get(store, key) == key.encode()
        assert read(signing(store).sign_get(key, lifetime_s=LIFETIME_S)) == key.encode()
        assert get(store, "other") == b"other"

    @pytest.mark.parametrize("data", [b"", b"bytes", LARGE], ids=["empty", "small", "large"])
    def test_what_was_sent_is_the_object(self, store: ObjectStore, data: bytes) -> None:
        signed = signing(store).sign_put("a/b", len(data), sha256(data), lifetime_s=LIFETIME_S)
        assert sorted(covered(signed)) == list(range(0, len(data), 1 << 20))
        for request in reversed(signed.requests):
            assert send(request, data) < OK
            assert send(request, data) < OK, "sending again is harmless"
        told = signing(store).complete_signed("a/b", len(data), signed.token)
        again = signing(store).complete_signed("a/b", len(data), signed.token)
        assert get(store, "a/b") == data
        (listed,) = store.list("a/")
        for info in (told, again):
            assert (info.key, info.size, info.etag) == (listed.key, listed.size, listed.etag)
            assert abs(info.modified - listed.modified) < 2
            assert info.sha256 in ("", sha256(data))

    def test_a_signed_read_gives_all_or_a_range(self, store: ObjectStore) -> None:
        put(store, "a", b"0123456789")
        request = signing(store).sign_get("a", lifetime_s=LIFETIME_S)
        assert read(request) == b"0123456789"
        assert read(request, "bytes=2-4") == b"234"
        assert read(request, "bytes=7-") == b"789"

    def test_a_signature_is_for_one_key(self, store: ObjectStore) -> None:
        self.needs_signatures_checked()
        for key in ("a", "b"):
            put(store, key, key.encode())
        reading = [signing(store).sign_get(key, lifetime_s=LIFETIME_S) for key in ("a", "b")]
        assert requests.get(swapped(*reading), timeout=60).status_code >= REFUSED
        writing = [
            signing(store).sign_put(key, 1, sha256(b"x"), lifetime_s=LIFETIME_S).requests[0] for key in ("a", "b")
        ]
        assert requests.put(swapped(*writing), b"x", headers=writing[0].headers, timeout=60).status_code >= REFUSED
        assert get(store, "a") + get(store, "b") == b"ab"

    def test_a_signature_to_read_does_not_write(self, store: ObjectStore) -> None:
        self.needs_signatures_checked()
        put(store, "a", b"before")
        url = signing(store).sign_get("a", lifetime_s=LIFETIME_S).url
        assert requests.put(url, b"after", timeout=60).status_code >= REFUSED
        assert requests.delete(url, timeout=60).status_code >= REFUSED
        assert get(store, "a") == b"before"

    def test_a_signature_ends(self, store: ObjectStore) -> None:
        self.needs_signatures_checked()
        put(store, "a", b"before")
        reading = signing(store).sign_get("a", lifetime_s=1)
        writing = signing(store).sign_put("a", 5, sha256(b"after"), lifetime_s=1).requests[0]
        time.sleep(2.1)  # services count in whole seconds
        assert requests.get(reading.url, headers=dict(reading.headers), timeout=60).status_code >= REFUSED
        assert send(writing, b"after") >= REFUSED
        assert get(store, "a") == b"before"

    @pytest.mark.parametrize("size", [4, 6])
    def test_an_object_that_is_not_as_long_as_announced_is_refused(self, store: ObjectStore, size: int) -> None:
        signed = signing(store).sign_put("a/b", 5, sha256(b"bytes"), lifetime_s=LIFETIME_S)
        send_unannounced(signed.requests[0], b"x" * size)
        with pytest.raises(NotFound):
            signing(store).complete_signed("a/b", 5, signed.token)

    @pytest.mark.parametrize("by", [-1, 1])
    def test_a_part_that_is_not_as_long_as_announced_is_refused(self, store: ObjectStore, by: int) -> None:
        signed = signing(store).sign_put("a/b", len(LARGE), sha256(LARGE), lifetime_s=LIFETIME_S)
        *others, last = signed.requests
        for request in others:
            assert send(request, LARGE) < OK
        send_unannounced(last, b"x" * (last.size + by))
        with pytest.raises(NotFound):
            signing(store).complete_signed("a/b", len(LARGE), signed.token)
        assert keys(store, "a/") == []

    def test_what_was_not_sent_is_not_there(self, store: ObjectStore) -> None:
        for data in (b"bytes", LARGE):
            signed = signing(store).sign_put("a/b", len(data), sha256(data), lifetime_s=LIFETIME_S)
            for request in signed.requests[1:]:
                assert send(request, data) < OK
            for token in (signed.token, "", "nonsense", "../x?y=z&#"):
                with pytest.raises(NotFound):
                    signing(store).complete_signed("a/b", len(data), token)
            assert keys(store, "a/") == []

    def test_whoever_signs_again_asks_for_the_parts_that_are_missing(
        self, store: ObjectStore, new_store: Callable[[], ObjectStore]
    ) -> None:
        first = signing(store).sign_put("a/b", len(LARGE), sha256(LARGE), lifetime_s=LIFETIME_S)
        assert send(first.requests[1], LARGE) < OK
        another = new_store()
        second = signing(another).sign_put("a/b", len(LARGE), sha256(LARGE), lifetime_s=LIFETIME_S)
        assert covered(second) == covered(first) - covered(SignedUpload(requests=(first.requests[1],)))
        for request in second.requests:
            assert send(request, LARGE) < OK
        assert signing(store).sign_put("a/b", len(LARGE), sha256(LARGE), lifetime_s=LIFETIME_S).requests == ()
        signing(another).complete_signed("a/b", len(LARGE), second.token)
        assert get(store, "a/b") == LARGE

    def test_parts_of_other_bytes_do_not_count(self, store: ObjectStore) -> None:
        for request in signing(store).sign_put("a/b", len(LARGE), sha256(LARGE), lifetime_s=LIFETIME_S).requests:
            assert send(request, LARGE) < OK
        other = LARGE[::-1]
        signed = sent(store, "a/b", other)
        assert sorted(covered(signed)) == list(range(0, len(other), 1 << 20))
        assert get(store, "a/b") == other

    def test_what_is_there_is_replaced(self, store: ObjectStore) -> None:
        for data in (b"first", LARGE, b"third"):
            sent(store, "a/b", data)
            assert get(store, "a/b") == data
        assert keys(store, "a/") == ["a/b"]

    def test_who_puts_an_object_that_was_half_sent_is_not_disturbed(self, store: ObjectStore) -> None:
        signed = signing(store).sign_put("a/b", len(LARGE), sha256(LARGE), lifetime_s=LIFETIME_S)
        assert send(signed.requests[0], LARGE) < OK
        put(store, "a/b", LARGE[::-1])
        assert get(store, "a/b") == LARGE[::-1]
        sent(store, "a/b", LARGE)
        assert get(store, "a/b") == LARGE

    def needs_signatures_checked(self) -> None:
        """Skip what a service that looks at no signature cannot show."""
        if not self.checks_signatures:
            pytest.skip("this service looks at no signature")

    def test_no_url_is_in_a_repr(self, store: ObjectStore) -> None:
        signed = signing(store).sign_put("a/b", 5, sha256(b"bytes"), lifetime_s=LIFETIME_S)
        secret = urlsplit(signed.requests[0].url).query
        assert secret
        assert secret not in repr(signed)


class SendsDirectSuite(BackendFixtures):
    """For backends whose uploads are `SendsDirect`."""

    FILES = {"metrics/train.yaml": b"loss", "weights.bin": LARGE, "empty": b""}  # noqa: RUF012 - never changed

    def test_files_that_were_sent_straight_to_the_store_are_published(self, backend: Backend, folder: str) -> None:
        open_upload = backend.begin(make_request(folder, "m", self.FILES))
        for file in open_upload.missing:
            complete_direct(open_upload, file, self.FILES)
        assert list(open_upload.missing) == []
        node = open_upload.commit()
        assert node is not None
        assert open_upload.outcome is Outcome.PUBLISHED
        assert read_node(backend, backend.stat(node.path)) == self.FILES

    def test_files_may_go_either_way(self, backend: Backend, folder: str) -> None:
        open_upload = backend.begin(make_request(folder, "m", self.FILES))
        first, *others = open_upload.missing
        complete_direct(open_upload, first, self.FILES)
        complete_direct(open_upload, others[0], self.FILES)
        open_upload.put([(others[0], Body.of(self.FILES[others[0].key]))])
        node = finish(open_upload, self.FILES).node
        assert node is not None
        assert read_node(backend, node) == self.FILES

    def test_a_file_that_was_signed_and_not_sent_is_missing(self, backend: Backend, folder: str) -> None:
        open_upload = backend.begin(make_request(folder, "m", self.FILES))
        for file in open_upload.missing:
            signed = direct(open_upload).sign(file, lifetime_s=LIFETIME_S)
            assert signed is not None
            with pytest.raises(NotFound):
                direct(open_upload).complete_signed(file, signed.token)
        assert {file.key for file in open_upload.missing} == self.FILES.keys()
        assert open_upload.commit() is None
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m")
        node = finish(open_upload, self.FILES).node
        assert node is not None
        assert read_node(backend, node) == self.FILES

    @pytest.mark.parametrize("wrong", ["all", "one byte of the last part"])
    def test_other_bytes_of_the_same_length_are_refused(self, backend: Backend, folder: str, wrong: str) -> None:
        open_upload = backend.begin(make_request(folder, "m", self.FILES))
        file = next(file for file in open_upload.missing if file.key == "weights.bin")
        signed = direct(open_upload).sign(file, lifetime_s=LIFETIME_S)
        assert signed is not None
        other = LARGE[::-1] if wrong == "all" else LARGE[:-1] + bytes([LARGE[-1] ^ 1])
        for request in signed.requests:
            assert send(request, other) < OK
        with pytest.raises(SourceChanged, match=r"weights\.bin"):
            direct(open_upload).complete_signed(file, signed.token)
        assert file in open_upload.missing
        open_upload.put([(other, Body.of(self.FILES[other.key])) for other in open_upload.missing if other != file])
        assert open_upload.commit() is None
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m")
        complete_direct(open_upload, file, self.FILES)
        node = open_upload.commit()
        assert node is not None
        assert read_node(backend, node) == self.FILES

    def test_what_was_published_is_not_changed_by_requests_that_were_signed_before(
        self, backend: Backend, folder: str
    ) -> None:
        open_upload = backend.begin(make_request(folder, "m", self.FILES))
        file = next(file for file in open_upload.missing if file.key == "weights.bin")
        signed = direct(open_upload).sign(file, lifetime_s=LIFETIME_S)
        assert signed is not None
        for request in signed.requests:
            assert send(request, LARGE) < OK
        direct(open_upload).complete_signed(file, signed.token)
        node = finish(open_upload, self.FILES).node
        assert node is not None
        for request in signed.requests:
            assert send(request, LARGE[::-1]) >= REFUSED
        assert read_node(backend, node) == self.FILES

    def test_another_client_goes_on_with_the_parts_that_are_there(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", self.FILES)
        left = backend.begin(request)
        by_key = {file.key: file for file in left.missing}
        complete_direct(left, by_key["metrics/train.yaml"], self.FILES)
        signed = direct(left).sign(by_key["weights.bin"], lifetime_s=LIFETIME_S)
        assert signed is not None
        assert send(signed.requests[0], LARGE) < OK
        again = make_request(
            folder, "m", self.FILES, op=request.op, id=request.draft.id, resumed=True, metadata=request.draft.metadata
        )
        with new_backend() as another:
            open_upload = another.begin(again)
            assert {file.key for file in open_upload.missing} == {"weights.bin", "empty"}
            rest = direct(open_upload).sign(by_key["weights.bin"], lifetime_s=LIFETIME_S)
            assert rest is not None
            assert covered(rest) == covered(signed) - covered(SignedUpload(requests=signed.requests[:1]))
            for file in open_upload.missing:
                complete_direct(open_upload, file, self.FILES)
            node = open_upload.commit()
        assert node is not None
        assert read_node(backend, backend.stat(f"{folder}/m")) == self.FILES


class SignsReadsSuite(BackendFixtures):
    """For backends that are `SignsReads`."""

    def test_a_file_is_read_by_who_has_its_signature(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, SignsReads)
        contents = {"metrics/train.yaml": b"loss", "deep/er/Größe #1%.bin": b"0123456789"}
        node = upload(backend, make_request(folder, "m", contents), contents)
        for file in backend.files(node):
            request = backend.sign_read(node, file, lifetime_s=LIFETIME_S)
            assert request is not None
            assert request.method == "GET"
            assert read(request) == contents[file.key]
            assert read(request, "bytes=1-2") == contents[file.key][1:3]


def signing(store: ObjectStore) -> SignsRequests:
    """Return the store, which signs."""
    assert isinstance(store, SignsRequests)
    return store


def direct(open_upload: Upload) -> SendsDirect:
    """Return the upload, whose files may be sent straight to the store."""
    assert isinstance(open_upload, SendsDirect)
    return open_upload


def send(request: SignedRequest, data: bytes) -> int:
    """Send what a signed request brings of a file, and return the status of the answer."""
    assert request.method == "PUT"
    piece = data[request.start : request.start + request.size]
    return requests.put(request.url, piece, headers=dict(request.headers), timeout=60).status_code


def send_unannounced(request: SignedRequest, data: bytes) -> None:
    """Send other bytes than were announced, of another length; whether that is refused at once is up to the service."""
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
    requests.put(request.url, data, headers=headers, timeout=60)


def sent(store: ObjectStore, key: str, data: bytes) -> SignedUpload:
    """Sign, send and complete an object; what was signed is returned."""
    signed = signing(store).sign_put(key, len(data), sha256(data), lifetime_s=LIFETIME_S)
    for request in signed.requests:
        assert send(request, data) < OK
    signing(store).complete_signed(key, len(data), signed.token)
    return signed


def complete_direct(open_upload: Upload, file: FileSpec, contents: dict[str, bytes]) -> None:
    """Sign, send and complete a file of an upload."""
    signed = direct(open_upload).sign(file, lifetime_s=LIFETIME_S)
    assert signed is not None
    for request in signed.requests:
        assert send(request, contents[file.key]) < OK
    direct(open_upload).complete_signed(file, signed.token)
    direct(open_upload).complete_signed(file, signed.token)


def read(request: SignedRequest, byte_range: str = "") -> bytes:
    """Make a signed request for reading."""
    headers = {**request.headers, **({"Range": byte_range} if byte_range else {})}
    answer = requests.get(request.url, headers=headers, timeout=60)
    assert answer.status_code < OK
    return answer.content


def covered(signed: SignedUpload) -> set[int]:
    """Return the mebibytes that the requests bring, by their start; each of them once."""
    starts = [
        start for request in signed.requests for start in range(request.start, request.start + request.size, 1 << 20)
    ]
    assert len(set(starts)) == len(starts)
    return set(starts)


def swapped(request: SignedRequest, other: SignedRequest) -> str:
    """Return the URL of one request with the signature of another."""
    return urlunsplit(urlsplit(request.url)._replace(query=urlsplit(other.url).query))


def sha256(data: bytes) -> str:
    """Of all bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
