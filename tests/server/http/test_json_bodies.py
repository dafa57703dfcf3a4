"""Documents are parsed within bounds of memory, up to their first flaws."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from tests.server.scene import code
from tests.server.sending import document

from t9k.em import wire
from t9k.em.names import new_op
from t9k.em.server import open_uploads
from t9k.em.server.http import json_bodies
from t9k.em.server.http.error_responses import Refused
from t9k.em.server.models import FolderIn, UploadIn
from t9k.em.testing.uploads import make_request
from t9k.em.wire import MOST_FIELDS

FILE = {"key": "a", "size": 1, "sha256": "0" * 64}
BEGIN: dict[str, Any] = {
    "op": new_op(),
    "folder": "/alice/default",
    "draft": {"type": "Run", "name": "m", "alternativeName": "m_1", "id": "x", "metadata": {}},
}


def encoded(**fields) -> bytes:
    return json.dumps({**BEGIN, "files": [FILE], **fields}).encode()


def peak_bytes(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def many(item: str, size: int = 300_000) -> str:
    return ",".join([item] * (size // (len(item) + 1)))


HOSTILE = {
    "empty files": lambda: encoded().replace(json.dumps(FILE).encode(), many("{}").encode()),
    "lists as files": lambda: encoded().replace(json.dumps(FILE).encode(), many("[]").encode()),
    "a file of lists": lambda: encoded(files=[{**FILE, "key": [[]] * 100_000}]),
    "numbers as files": lambda: encoded().replace(json.dumps(FILE).encode(), many("1").encode()),
    "unknown fields": lambda: encoded(**{f"x{at}": 1 for at in range(30_000)}),
    "unknown fields of the draft": lambda: encoded(draft={f"x{at}": 1 for at in range(30_000)}),
    "lists in the metadata": lambda: encoded(draft={**BEGIN["draft"], "type": "x", "metadata": {"a": [[]] * 70_000}}),
    "objects in the metadata": lambda: encoded(draft={**BEGIN["draft"], "type": "x", "metadata": {"a": [{}] * 70_000}}),
    "wrong ancestors": lambda: encoded(ancestors=[1] * 100_000),
    "brackets": lambda: b"[" * 300_000,
    "braces": lambda: b'{"a":' * 60_000,
    "files in a field of another": lambda: encoded(folder=[FILE] * 2000),
    "a text without end": lambda: encoded()[:-2] + b',"x":"' + b"\\\\" * 150_000,
    "a list of files without end": lambda: encoded().replace(b"}]}", b"},"),
    "files with a comma too many": lambda: encoded().replace(b"}]}", b"},]}"),
    "no UTF-8": lambda: b"\xff" * 300_000,
    "a number of many digits": lambda: b'{"op":' + b"1" * 300_000 + b"}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_wrong_is_refused_within_forty_times_its_size(what) -> None:
    body = HOSTILE[what]()
    refused = []

    def work() -> None:
        with pytest.raises((Refused, RequestValidationError)) as caught:
            json_bodies.parse(body, UploadIn)
        refused.append(caught.value)

    assert peak_bytes(work) < 40 * len(body) + (4 << 20)
    assert len(str(refused[0])) < 500_000


def test_a_document_says_the_same_however_it_is_written() -> None:
    files = [{**FILE, "key": f"k{at}"} for at in range(300)]
    plain = json_bodies.parse(encoded(files=files), UploadIn)
    assert [file.model_dump() for file in plain.files] == files
    spaced = json.dumps({"files": files, **BEGIN}, indent=2).encode()
    assert json_bodies.parse(spaced, UploadIn) == plain
    assert json_bodies.parse(spaced.replace(b'"files"', b'"\\u0066iles"'), UploadIn) == plain
    nested = {**BEGIN, "draft": {**BEGIN["draft"], "metadata": {"files": [1], "x": '"files": [', "[": "]"}}}
    assert json_bodies.parse(json.dumps({**nested, "files": files}).encode(), UploadIn).files == plain.files
    assert json_bodies.parse(encoded(files=[]), UploadIn).files == []
    odd = [{**FILE, "key": key} for key in ('a"b', "a\\b", "a{b", "a]b", "\u00fc", "a,b", "\U0001f4a9")]
    for ascii_ in (True, False):
        text = json.dumps({**BEGIN, "files": odd}, ensure_ascii=ascii_)
        assert [file.model_dump() for file in json_bodies.parse(text.encode(), UploadIn).files] == odd


def test_the_first_wrong_file_is_told() -> None:
    with pytest.raises(RequestValidationError) as caught:
        json_bodies.parse(encoded(files=[FILE, {**FILE, "size": -1}, {}]), UploadIn)
    assert [flaw["loc"] for flaw in caught.value.errors()] == [("body", "files", 1, "size")]
    with pytest.raises(Refused, match=r"body\.files\.1: it is no object"):
        json_bodies.parse(encoded(files=[FILE, [FILE]]), UploadIn)


def test_a_document_has_a_limit_beside_its_files_and_an_object_one_of_its_fields() -> None:
    metadata = {"x": "y" * json_bodies.REST_BYTES}
    with pytest.raises(Refused, match="beside its list of files, of at most"):
        json_bodies.parse(encoded(draft={**BEGIN["draft"], "metadata": metadata}), UploadIn)
    metadata = {f"x{at}": "" for at in range(MOST_FIELDS + 1)}
    with pytest.raises(Refused, match="has 1001 fields, of at most 1000"):
        json_bodies.parse(encoded(draft={**BEGIN["draft"], "metadata": metadata}), UploadIn)
    metadata.popitem()
    assert (
        json_bodies.parse(encoded(draft={**BEGIN["draft"], "metadata": metadata}), UploadIn).draft.metadata == metadata
    )
    with pytest.raises(Refused, match="a field twice"):
        json_bodies.parse(b'{"path": "/a", "path": "/b"}', FolderIn)


def test_a_server_refuses_them_and_goes_on(alice) -> None:
    for what, body_of in HOSTILE.items():
        headers = {"Content-Type": "application/json; charset=utf-8"}
        answer = alice.ask("POST", "uploads", data=body_of(), headers=headers)
        assert answer.status_code in (400, 413), (what, answer.text)
        assert code(answer) in ("bad_request", "invalid_input", "too_large"), what
        assert len(answer.content) < 10_000, what
    for kind, body in (("text/plain", encoded()), ("", encoded()), ("application/json", b"")):
        answer = alice.ask("POST", "uploads", data=body, headers={"Content-Type": kind})
        assert (answer.status_code, code(answer)) == (400, "bad_request"), kind
    files = {f"f{at}": b"" for at in range(3000)}
    sent = document(f"/{alice.name}/default", "m", files, makeFolder=True)
    answer = alice.ask("POST", "uploads", json=sent)
    assert (answer.status_code, len(answer.json()["missing"])) == (200, 3000)


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 2500])
def test_what_is_kept_of_a_request_is_the_request(number) -> None:
    contents = {f"k,{at}]": b"%d" % at for at in range(number)}
    request = make_request("/alice/f", "m", contents, metadata={"files": [1], "x": '"files":['}, ancestors=[new_op()])
    stored = open_uploads._document(request)
    assert json.loads(stored) == json.loads(json.dumps(wire.request_json(request)))
    assert open_uploads._request(stored) == request
