"""Forms of requests: what is refused, and what comes back."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import socket
import threading
from urllib.parse import quote, urlsplit

import pytest
from tests.server.scene import code
from tests.server.sending import document, read, upload
from tests.services.aistore import Someone, aistore

from t9k.em.names import new_op
from t9k.em.server.app import bare_app

CONTENT = {"w.bin": bytes(range(256)) * 4}
OPERATIONS = sorted(
    (method.upper(), path) for path, operations in bare_app().openapi()["paths"].items() for method in operations
)
TRICKS = [
    "..%2f..%2fetc/passwd",
    "%2e%2e/x",
    "%252e%252e/x",
    "./x",
    "//etc/passwd",
    "a//b",
    "x%00",
    "..%5cx",
    "%0a",
    "x" * 20_000,
]


def raw(someone: Someone, method: str, target: str, **headers: str) -> http.client.HTTPResponse:
    """Sends an address exactly as it is written."""
    connection = http.client.HTTPConnection(urlsplit(someone.url).netloc, timeout=30)
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in {"Authorization": f"Bearer {someone.key}", "Content-Length": "0", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


def code_of(answer: http.client.HTTPResponse) -> str:
    return json.loads(answer.body)["error"]["code"]


@pytest.fixture
def folder(alice):
    return f"/{alice.name}/f"


@pytest.fixture
def node(alice, folder):
    return upload(alice, folder, "m", CONTENT)


@pytest.fixture
def op(alice, folder):
    begun = document(folder, "m", CONTENT)
    assert alice.ask("POST", "uploads", json=begun).status_code == 200
    return begun["op"]


class TestPathTricks:
    @pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick[:20])
    def test_an_address_is_refused_on_every_route(self, alice, trick):
        for method, path in OPERATIONS:
            for target in (
                f"{path.split('{')[0].rstrip('/')}/{trick}",
                f"{path.replace('{', '').replace('}', '')}/{trick}",
            ):
                answer = raw(alice, method, target)
                assert (answer.status, code_of(answer)) == (400, "bad_request"), (method, target[:80])

    @pytest.mark.long
    @pytest.mark.parametrize(
        "trick", [*TRICKS[:-1], "/alice/../bob", "/a/./b", "/alice/%2e%2e", "/a/", "", "a", "\ud800", "/a\0"]
    )
    def test_a_node_path_is_refused_on_every_route(self, alice, trick):
        taking = [
            (method, path)
            for path, operations in bare_app().openapi()["paths"].items()
            for method, operation in operations.items()
            if any(parameter["name"] == "path" for parameter in operation.get("parameters", ()))
        ]
        assert len(taking) >= 10
        if trick.startswith("/alice/%2e"):
            trick = "/alice/.."
        for method, path in taking:
            given = quote(trick.encode("utf-8", "surrogatepass"), safe="%")
            answer = raw(alice, method.upper(), f"{path}?path={given}&generation=1&key=k&start=0&kind=public")
            assert answer.status == 400, (method, path, answer.body)
            assert code_of(answer) in ("bad_request", "invalid_name")

    @pytest.mark.parametrize(
        "key", ["../x", "a/../b", "/etc/passwd", "a//b", "..\\x", "C:\\x", ".em/x", "a\0", "x" * 1025]
    )
    def test_a_key_of_a_file_is_refused(self, alice, folder, node, key):
        assert alice.ask("POST", "uploads", json=document(folder, "x", {key: b""})).status_code == 400
        answer = alice.ask(
            "POST", "runs/append", params={"path": node["path"], "generation": 1, "key": key, "start": 0}, data=b"x"
        )
        assert answer.status_code == 400

    def test_names_with_odd_characters_are_not_tricks(self, alice):
        folder = f"/{alice.name}/a%2Fb #?&=+ü/%2e"
        node = upload(alice, folder, "x[*]::", {"a?b/%2F#": b"odd"})
        assert node["path"] == f"{folder}/x[*]::"
        assert read(alice, node, "a?b/%2F#").content == b"odd"


class TestKeys:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("", "key_missing"),
            ("Basic abc", "key_missing"),
            ("Bearer ", "key_missing"),
            ("Bearer abc", "key_malformed"),
            (f"Bearer {'x' * 4000}", "key_malformed"),
            ("Bearer 6f7b3c1e-0d0e-4c4b-9a51-3b1a2f4e5d6c", "key_unknown"),
        ],
    )
    def test_a_key_that_is_none_is_told_apart(self, server, header, expected):
        someone = Someone(server.url, "", "")
        someone.session.headers["Authorization"] = header
        answer = someone.ask("GET", "user")
        assert (answer.status_code, code(answer)) == (401, expected)
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_a_revoked_key_and_one_of_a_disabled_user_are_told_apart(self, server, alice, bob):
        server.accounts.revoke_key(alice.name, server.accounts.keys(alice.name)[0].id)
        assert code(alice.ask("GET", "user")) == "key_revoked"
        server.accounts.set_disabled(bob.name, True)
        assert code(bob.ask("GET", "user")) == "user_disabled"

    @pytest.mark.long
    def test_a_query_key_is_taken_only_where_that_is_switched_on(self, server, alice, tmp_path):
        someone = Someone(alice.url, alice.name, "")
        someone.session.headers["Authorization"] = ""
        answer = someone.ask("GET", "/oauth2/userinfo", params={"apikey": alice.key})
        assert code(answer) == "key_missing"
        with aistore(tmp_path / "old", allow_query_keys=True) as old:
            carol, dave = old.someone(), old.someone()
            query = Someone(old.url, carol.name, "")
            query.session.headers["Authorization"] = ""
            answer = query.ask("GET", "/oauth2/userinfo", params={"apikey": carol.key})
            assert answer.json() == {"preferred_username": carol.name}
            assert dave.ask("GET", "/oauth2/userinfo", params={"apikey": carol.key}).json() == {
                "preferred_username": dave.name
            }
            assert carol.key not in old.log()
        assert alice.key not in server.log()

    def test_a_key_that_one_makes_works_until_it_is_revoked(self, alice):
        made = alice.ask("POST", "keys", json={"note": "laptop", "expires": "2999-01-01T00:00:00Z"}).json()
        again = Someone(alice.url, alice.name, made["key"])
        assert again.ask("GET", "user").json()["name"] == alice.name
        assert made["id"] in [key["id"] for key in alice.ask("GET", "keys").json()["items"]]
        assert made["key"] not in alice.ask("GET", "keys").text
        assert alice.ask("DELETE", f"keys/{made['id']}").status_code == 204
        assert code(again.ask("GET", "user")) == "key_revoked"


class TestBodies:
    def test_what_is_no_json_of_ours_is_refused(self, alice, folder):
        nested = b"[" * 100_000 + b"]" * 100_000
        good = document(folder, "m", CONTENT)
        wrong = [
            b"",
            b"{",
            b"[]",
            b'"x"',
            b"nul",
            b"\xff\xfe",
            nested,
            b'{"path": ' + nested + b"}",
            b'{"path": "/a", "path": 1}',
            json.dumps({**good, "op": 5}).encode(),
            json.dumps({**good, "files": {}}).encode(),
        ]
        for body in wrong:
            for method, target in (("POST", "uploads"), ("POST", "folders"), ("PUT", "shares")):
                answer = alice.ask(method, target, data=body, headers={"Content-Type": "application/json"})
                assert answer.status_code == 400, (body[:40], answer.text)
                assert code(answer) in ("bad_request", "invalid_input", "invalid_name")

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": NaN}',
            '{"a": [1e999]}',
            '{"a": 99999999999999999999}',
            r'{"a": "\ud800"}',
            r'{"\udfff": 1}',
            '{"a":' * 80 + "1" + "}" * 80,
        ],
    )
    def test_metadata_that_some_reader_cannot_take_are_refused(self, alice, folder, text):
        body = json.dumps(document(folder, "m", CONTENT)).replace('"metadata": {}', f'"metadata": {text}')
        answer = alice.ask("POST", "uploads", data=body.encode(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, code(answer)) == (400, "invalid_input"), answer.text

    def test_a_huge_number_of_digits_is_refused(self, alice, folder):
        body = json.dumps(document(folder, "m", CONTENT)).replace(
            '"metadata": {}', '"metadata": {"a": ' + "9" * 100_000 + "}"
        )
        answer = alice.ask("POST", "uploads", data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400

    def test_compressed_and_chunked_bodies_are_refused(self, alice, op):
        bomb = gzip.compress(b" " * 50_000_000)
        for target in ("folders", f"uploads/{op}/file?key=w.bin"):
            method = "POST" if target == "folders" else "PUT"
            answer = alice.ask(method, target, data=bomb, headers={"Content-Encoding": "gzip"})
            assert (answer.status_code, code(answer)) == (415, "unsupported_encoding")
            answer = alice.ask(method, target, data=iter([b"x", b"y"]))
            assert (answer.status_code, code(answer)) == (411, "length_required")

    @pytest.mark.parametrize(
        ("target", "most"),
        [
            ("folders", 1 << 20),
            ("uploads", 32 << 20),
            ("uploads/20261125T101500.000000Z-4e48t2abcd/file?key=k", 16 << 20),
        ],
    )
    def test_a_body_that_is_too_large_is_refused_before_it_is_sent(self, alice, target, most):
        method = "PUT" if "?" in target else "POST"
        answer = raw(alice, method, f"/apis/v1/{target}", **{"Content-Length": str(most + 1)})
        assert (answer.status, code_of(answer)) == (413, "too_large")

    def test_a_body_that_ends_early_leaves_nothing(self, alice, op):
        parts = urlsplit(alice.url)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            head = f"PUT /apis/v1/uploads/{op}/file?key=w.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\nContent-Length: 1024\r\n\r\n"
            connection.sendall(head.encode() + CONTENT["w.bin"][:1000])
        assert alice.ask("GET", f"uploads/{op}").json()["missing"] == ["w.bin"]

    def test_bytes_that_were_not_announced_are_refused(self, alice, op):
        wrong = [CONTENT["w.bin"][:-1], CONTENT["w.bin"] + b"x", b"\0" * 1024, b""]
        for data in wrong:
            answer = alice.ask("PUT", f"uploads/{op}/file", params={"key": "w.bin"}, data=data)
            assert (answer.status_code, code(answer)) == (400, "source_changed")
        answer = alice.ask("PUT", f"uploads/{op}/file", params={"key": "other"}, data=b"x")
        assert code(answer) == "not_found"
        assert alice.ask("POST", f"uploads/{op}/commit").json()["missing"] == ["w.bin"]
        assert alice.ask("PUT", f"uploads/{op}/file", params={"key": "w.bin"}, data=CONTENT["w.bin"]).status_code == 204
        assert alice.ask("POST", f"uploads/{op}/commit").json()["outcome"] == "published"

    @pytest.mark.parametrize(
        "batch",
        [
            b"\0",
            b"\0\0\0\x05{",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x02{}",
            b"\0\0\0\x02[]abc",
            b"\0\0\0\x1d" + b'{"key":"w.bin","size":99999}' + b"x",
            b"GARBAGE!" * 10,
        ],
    )
    def test_what_is_no_batch_is_refused(self, alice, op, batch):
        answer = alice.ask("POST", f"uploads/{op}/batch", data=batch)
        assert (answer.status_code, code(answer)) == (400, "bad_request")

    def test_parts_are_compared_with_their_digests(self, alice, op):
        data = CONTENT["w.bin"]
        digest = base64.b64encode(hashlib.sha256(data[:500]).digest()).decode()
        for start, piece, header, status in (
            (0, data[:500], f"sha-256=:{digest}:", 204),
            (500, data[500:], f"sha-256=:{digest}:", 400),
            (500, data[500:], "md5=:AAAA:", 204),
            (1000, data[:100], "", 400),
        ):
            answer = alice.ask(
                "PUT",
                f"uploads/{op}/part",
                params={"key": "w.bin", "start": start},
                data=piece,
                headers={"Content-Digest": header},
            )
            assert answer.status_code == status, answer.text
        assert alice.ask("GET", f"uploads/{op}/parts", params={"key": "w.bin"}).json() == {
            "items": [{"start": 0, "size": 500}, {"start": 500, "size": 524}]
        }
        assert alice.ask("POST", f"uploads/{op}/join", json={"key": "w.bin"}).status_code == 204
        assert alice.ask("POST", f"uploads/{op}/commit").json()["outcome"] == "published"


class TestReading:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("bytes=0-9", (206, 0, 10)),
            ("bytes=1000-", (206, 1000, 1024)),
            ("bytes=-24", (206, 1000, 1024)),
            ("bytes=5-5", (206, 5, 6)),
            ("bytes=0-99999", (206, 0, 1024)),
            ("bytes=-99999", (206, 0, 1024)),
            ("bytes=9-5", (200, 0, 1024)),
            ("lines=1-2", (200, 0, 1024)),
            ("bytes=0-1,4-5", (200, 0, 1024)),
            ("", (200, 0, 1024)),
        ],
    )
    def test_ranges(self, alice, node, header, expected):
        status, start, end = expected
        answer = read(alice, node, "w.bin", headers={"Range": header})
        assert (answer.status_code, answer.content) == (status, CONTENT["w.bin"][start:end])
        assert answer.headers["ETag"] == f'"{hashlib.sha256(CONTENT["w.bin"]).hexdigest()}"'
        if status == 206:
            assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/1024"

    def test_a_range_past_the_end_is_told(self, alice, node):
        answer = read(alice, node, "w.bin", headers={"Range": "bytes=1024-"})
        assert (answer.status_code, code(answer)) == (416, "range_not_satisfiable")
        assert answer.headers["Content-Range"] == "bytes */1024"

    def test_pages_follow_each_other(self, alice, folder):
        for name in ("a", "b", "c", "d", "e"):
            upload(alice, folder, name, {})
        found, after = [], ""
        while after is not None:
            answer = alice.ask("GET", "nodes/children", params={"path": folder, "limit": 2, "after": after}).json()
            assert len(answer["items"]) <= 2
            found += [node["name"] for node in answer["items"]]
            after = answer["next"]
        assert found == ["a", "b", "c", "d", "e"]
        for limit in (0, -1, 1001, "x"):
            assert alice.ask("GET", "nodes/children", params={"path": folder, "limit": limit}).status_code == 400

    def test_answers_carry_an_id_that_the_log_has(self, server, alice):
        answer = alice.ask("GET", "nodes", params={"path": "/nobody"})
        assert answer.json()["error"]["requestId"] == answer.headers["X-Request-Id"]
        mine = alice.ask("GET", "user", headers={"X-Request-Id": "my-request-0001"})
        assert answer.headers["X-Request-Id"] in server.log()
        assert mine.headers["X-Request-Id"] == "my-request-0001"
        forged = alice.ask("GET", "user", headers={"X-Request-Id": "a\tb"})
        assert "\t" not in forged.headers["X-Request-Id"]


class TestLimits:
    @pytest.mark.long
    def test_a_key_that_asks_too_often_is_told_when_to_come_back(self, tmp_path):
        with aistore(tmp_path / "limited", rate=2.0) as limited:
            alice, bob = limited.someone(), limited.someone()
            answers = [alice.ask("GET", "user") for _ in range(12)]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert 5 <= len(refused) <= 8
            assert {code(answer) for answer in refused} == {"rate_limited"}
            assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
            assert bob.ask("GET", "user").status_code == 200, "another key has a limit of its own"

    @pytest.mark.long
    def test_many_large_bodies_at_once_are_all_taken(self, server):
        alice = server.someone()
        data = b"\1" * (8 << 20)
        ops = [document(f"/{alice.name}/f", f"m{number}", {"w": data}) for number in range(24)]
        statuses = []

        def send(begun):
            mine = Someone(alice.url, alice.name, alice.key)
            mine.ask("POST", "uploads", json=begun)
            statuses.append(mine.ask("PUT", f"uploads/{begun['op']}/file", params={"key": "w"}, data=data).status_code)

        threads = [threading.Thread(target=send, args=(begun,)) for begun in ops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [204] * 24


class TestUploads:
    def test_an_op_that_another_user_uses_is_refused(self, alice, bob, op):
        answer = bob.ask("POST", "uploads", json=document(f"/{bob.name}/f", "m", CONTENT, op=op))
        assert (answer.status_code, code(answer)) == (409, "conflict")

    @pytest.mark.parametrize(
        "changes", [{}, {"resumed": True}, {"resumed": True, "since": 99}, {"strategy": "replace"}]
    )
    def test_an_op_that_was_published_brings_no_file_again(self, alice, folder, node, changes):
        files = alice.ask("GET", "nodes/files", params={"path": node["path"], "generation": 1}).json()["items"]
        op, other = files[0]["op"], {"w.bin": b"\0" * 1024}
        begun = document(folder, "m", other, op=op, **changes)
        state = alice.ask("POST", "uploads", json=begun)
        assert state.status_code != 200 or state.json()["outcome"] == "published"
        alice.ask("PUT", f"uploads/{op}/file", params={"key": "w.bin"}, data=other["w.bin"])
        alice.ask("PUT", f"uploads/{op}/part", params={"key": "w.bin", "start": 0}, data=other["w.bin"])
        alice.ask("POST", f"uploads/{op}/join", json={"key": "w.bin"})
        alice.ask("POST", f"uploads/{op}/commit")
        assert read(alice, node, "w.bin").content == CONTENT["w.bin"]

    def test_an_op_that_is_none_is_refused(self, alice, folder):
        assert code(alice.ask("POST", "uploads", json=document(folder, "m", CONTENT, op="x"))) == "invalid_input"
        assert code(alice.ask("GET", "uploads/x")) == "invalid_input"
        assert code(alice.ask("GET", f"uploads/{new_op()}")) == "upload_not_found"

    def test_a_dropped_upload_is_gone_and_can_be_begun_again(self, alice, folder, op):
        assert alice.ask("DELETE", f"uploads/{op}").status_code == 204
        assert code(alice.ask("POST", f"uploads/{op}/commit")) == "upload_not_found"
        begun = document(folder, "m", CONTENT, op=op, resumed=True)
        assert alice.ask("POST", "uploads", json=begun).json()["missing"] == ["w.bin"]

    def test_a_commit_whose_answer_was_lost_says_the_same_again(self, alice, op):
        alice.ask("PUT", f"uploads/{op}/file", params={"key": "w.bin"}, data=CONTENT["w.bin"])
        first, second = (alice.ask("POST", f"uploads/{op}/commit").json() for _ in range(2))
        assert first == second
        assert first["outcome"] == "published"

    @pytest.mark.long
    def test_an_upload_ends_with_its_lifetime(self, tmp_path):
        with aistore(tmp_path / "short", upload_lifetime_s=1) as short:
            alice = short.someone()
            begun = document(f"/{alice.name}/f", "m", CONTENT)
            alice.ask("POST", "uploads", json=begun)
            short.kill()
            threading.Event().wait(1.1)
            short.start()
            assert code(alice.ask("POST", f"uploads/{begun['op']}/commit")) == "upload_not_found"
