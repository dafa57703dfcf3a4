"""What somebody with a key, or with none, may try against others; each was possible once."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi.responses import StreamingResponse
from tests.server.scene import CONTENT, code
from tests.server.sending import document, read, upload
from tests.services.aistore import aistore

from t9k.em.records import FileSpec
from t9k.em.registry import open_backend
from t9k.em.server.accounts import Accounts
from t9k.em.server.app import bare_app
from t9k.em.server.http.middleware import Guard
from t9k.em.server.http.prometheus import Metrics
from t9k.em.server.open_uploads import OpenUploads
from t9k.em.server.settings import Settings
from t9k.em.wire import frame, request_of


class TestHomes:
    def test_nobody_publishes_over_the_home_that_is_shared_with_them(self, server, alice, bob):
        server.accounts.share(f"/{alice.name}", "user", bob.name, "edit", alice.name)
        for strategy in ("replace", "error", "skip", "new"):
            answer = bob.ask("POST", "uploads", json=document("/", alice.name, CONTENT, strategy=strategy))
            assert (answer.status_code, code(answer)) == (403, "forbidden")
        assert alice.ask("GET", "nodes", params={"path": f"/{alice.name}"}).json()["type"] == "Folder"

    @pytest.mark.long
    def test_nobody_publishes_over_their_own_home(self, alice):
        answer = alice.ask("POST", "uploads", json=document("/", alice.name, CONTENT, strategy="replace"))
        assert (answer.status_code, code(answer)) == (403, "forbidden")


class TestPassing:
    def test_who_passes_a_folder_does_not_see_what_was_there_before(self, server, alice, bob):
        secret = upload(alice, f"/{alice.name}", "p", CONTENT)
        alice.ask("DELETE", "nodes", params={"path": secret["path"]})
        inner = upload(alice, secret["path"], "x", CONTENT)
        server.accounts.share(inner["path"], "user", bob.name, "view", alice.name)
        assert bob.ask("GET", "nodes", params={"path": secret["path"]}).json()["permission"] == "pass"
        older = bob.ask("GET", "nodes", params={"path": f"{secret['path']}@1"})
        assert (older.status_code, code(older)) == (404, "not_found")
        assert alice.ask("GET", "nodes", params={"path": f"{secret['path']}@1"}).json()["type"] == "Artifact"


class TestCodes:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"files": ["a", "A"]}, "key_collision"),
            ({"files": ["../a"]}, "invalid_key"),
            ({"folder": "/x/.."}, "invalid_name"),
        ],
    )
    def test_what_is_wrong_with_an_upload_has_the_code_of_the_table(self, alice, changes, expected):
        begun = document(changes.get("folder", f"/{alice.name}/f"), "m", dict.fromkeys(changes.get("files", ()), b""))
        answer = alice.ask("POST", "uploads", json=begun)
        assert (answer.status_code, code(answer)) == (400, expected)

    @pytest.mark.parametrize("expires", ["9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00"])
    def test_a_time_that_no_clock_shows_is_refused(self, alice, expires):
        answer = alice.ask("POST", "keys", json={"expires": expires})
        assert (answer.status_code, code(answer)) == (400, "invalid_input")

    def test_no_answer_sends_a_client_to_another_host(self, alice):
        answer = alice.session.get(
            f"{alice.url}/health/", headers={"Host": "evil.example"}, allow_redirects=False, timeout=30
        )
        assert (answer.status_code, code(answer)) == (404, "not_found")


class TestSurprises:
    """What nobody foresaw, behind the guard and the routes, without a socket."""

    @staticmethod
    def ask(path: str) -> httpx.Response:
        app = bare_app()

        def fails() -> None:
            raise RuntimeError("a secret of the server")

        def half() -> StreamingResponse:
            def pieces() -> Iterator[bytes]:
                yield b"half"
                raise RuntimeError("a secret of the server")

            return StreamingResponse(pieces())

        app.add_api_route("/fails", fails)
        app.add_api_route("/half", half)
        guard = Guard(app, Settings(root="memory://", database="sqlite:////nowhere"), Metrics())

        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://x") as client:
                return await client.get(path)

        return asyncio.run(asked())

    def test_an_error_that_nobody_foresaw_has_the_one_form_too(self, caplog):
        answer = self.ask("/fails")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
        assert "secret" not in answer.text
        assert answer.json()["error"]["requestId"] == answer.headers["X-Request-Id"]
        assert "a secret of the server" in caplog.text

    def test_half_an_answer_is_never_ended_as_if_it_was_whole(self):
        with pytest.raises(RuntimeError, match="a secret"):
            self.ask("/half")


class TestWhatIsBehind:
    """Where store and database are is told to the log, and to no client."""

    def test_answers_do_not_tell_where_the_store_is(self, server, alice):
        root = server.settings["root"]
        node = upload(alice, f"/{alice.name}/f", "m", CONTENT)
        taken = document(f"/{alice.name}/f", "m", CONTENT)
        absent = [f"/{alice.name}/x", f"{node['path']}@7", f"/{alice.name}/F/m"]
        answers = [
            *(alice.ask("GET", "nodes", params={"path": path}) for path in absent),
            alice.ask("GET", "nodes/children", params={"path": node["path"]}),
            alice.ask("GET", "nodes/versions", params={"path": f"/{alice.name}/x"}),
            alice.ask("GET", "nodes/files", params={"path": node["path"], "generation": 7}),
            alice.ask("DELETE", "nodes", params={"path": f"/{alice.name}/x"}),
            alice.ask("POST", "uploads", json=taken),
            alice.ask("POST", "uploads", json=document(f"/{alice.name}/none", "m", CONTENT, makeFolder=False)),
        ]
        for answer in answers:
            assert answer.status_code in (404, 409)
            assert root not in answer.text
            assert root.removeprefix("file://") not in answer.text
            assert answer.json()["error"]["message"]
        assert f"there is no /{alice.name}/x" in answers[0].json()["error"]["message"]

    @pytest.mark.long
    def test_bytes_that_are_gone_do_not_tell_where_they_were(self, tmp_path):
        with aistore(tmp_path / "lossy") as lossy:
            alice = lossy.someone()
            node = upload(alice, f"/{alice.name}/f", "m", CONTENT)
            for file in (tmp_path / "lossy" / "root").rglob("file.bin"):
                file.unlink()
            answer = read(alice, node, "file.bin")
            assert (answer.status_code, code(answer)) == (404, "not_found")
            assert str(tmp_path) not in answer.text

    @pytest.mark.long
    def test_a_database_that_fails_is_told_to_the_log_only_and_may_come_back(self, tmp_path):
        with aistore(tmp_path / "torn") as torn:
            alice = torn.someone()
            with contextlib.closing(sqlite3.connect(tmp_path / "torn" / "server.db")) as database:
                database.execute("ALTER TABLE keys RENAME TO away")
                answer = alice.ask("GET", "user")
                assert (answer.status_code, code(answer)) == (500, "internal")
                assert str(tmp_path) not in answer.text
                database.execute("ALTER TABLE away RENAME TO keys")
            assert alice.ask("GET", "user").status_code == 200
            told = [line for line in torn.log().splitlines() if answer.headers["X-Request-Id"] in line]
            assert any("does not have the tables" in line for line in told)


class TestUploadsUnderWay:
    def test_who_may_not_write_any_more_sends_nothing_any_more(self, server, alice, bob):
        folder = f"/{alice.name}/f"
        upload(alice, folder, "m", CONTENT)
        server.accounts.share(folder, "user", bob.name, "edit", alice.name)
        begun = document(folder, "mine", CONTENT)
        assert bob.ask("POST", "uploads", json=begun).status_code == 200
        server.accounts.unshare(folder, "user", bob.name)
        op, key = begun["op"], {"key": "file.bin"}
        answers = [
            bob.ask("PUT", f"uploads/{op}/file", params=key, data=CONTENT["file.bin"]),
            bob.ask("POST", f"uploads/{op}/batch", data=b""),
            bob.ask("PUT", f"uploads/{op}/part", params={**key, "start": 0}, data=b"01234"),
            bob.ask("POST", f"uploads/{op}/join", json=key),
            bob.ask("GET", f"uploads/{op}/parts", params=key),
            bob.ask("GET", f"uploads/{op}"),
            bob.ask("POST", f"uploads/{op}/commit"),
        ]
        assert [code(answer) for answer in answers] == ["not_found"] * 7

    @pytest.mark.long
    def test_what_comes_after_the_commit_touches_nothing(self, tmp_path):
        with aistore(tmp_path / "late") as late:
            alice = late.someone()
            begun = document(f"/{alice.name}/f", "m", CONTENT)
            alice.ask("POST", "uploads", json=begun)
            target, key = f"uploads/{begun['op']}", {"key": "file.bin"}
            alice.ask("PUT", f"{target}/file", params=key, data=CONTENT["file.bin"])
            assert alice.ask("POST", f"{target}/commit").json()["outcome"] == "published"
            (stored,) = (tmp_path / "late" / "root").rglob("file.bin")
            before = stored.stat()
            spec = FileSpec(key="file.bin", size=10, sha256=begun["files"][0]["sha256"])
            answers = [
                alice.ask("PUT", f"{target}/file", params=key, data=CONTENT["file.bin"]),
                alice.ask("POST", f"{target}/batch", data=frame(spec) + CONTENT["file.bin"]),
                alice.ask("PUT", f"{target}/part", params={**key, "start": 0}, data=CONTENT["file.bin"]),
                alice.ask("POST", f"{target}/join", json=key),
            ]
            assert [answer.status_code for answer in answers] == [204] * 4
            after = stored.stat()
            assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_a_batch_with_one_file_again_and_again_is_refused(self, alice):
        begun = document(f"/{alice.name}/f", "m", {"empty": b""})
        alice.ask("POST", "uploads", json=begun)
        piece = frame(FileSpec(key="empty", size=0, sha256=begun["files"][0]["sha256"]))
        answer = alice.ask("POST", f"uploads/{begun['op']}/batch", data=piece * 2)
        assert (answer.status_code, code(answer)) == (400, "bad_request")

    def test_an_op_stands_for_one_content(self, alice):
        begun = document(f"/{alice.name}/f", "m", CONTENT)
        assert alice.ask("POST", "uploads", json=begun).status_code == 200
        for resumed in (False, True):
            again = {**begun, "resumed": resumed}
            assert alice.ask("POST", "uploads", json=again).json()["missing"] == ["file.bin"]
            other = document(begun["folder"], "m", {"file.bin": b"other"}, op=begun["op"], resumed=resumed)
            assert code(alice.ask("POST", "uploads", json=other)) == "conflict"
            assert code(alice.ask("POST", "uploads", json={**again, "folder": f"/{alice.name}/g"})) == "conflict"

    def test_many_requests_to_a_new_process_resume_an_upload_once(self, tmp_path):
        begun = []

        class Counted(OpenUploads):
            def _begin(self, user, request):
                begun.append(request.op)
                time.sleep(0.2)
                return super()._begin(user, request)

        accounts = Accounts(f"sqlite:///{tmp_path}/server.db")
        accounts.migrate()
        accounts.add_user("alice")
        with open_backend(f"file://{tmp_path}/root") as backend, contextlib.closing(accounts):
            request = request_of(
                document("/alice/f", "m", CONTENT) | {"resumed": False, "since": 0, "preferAlternative": False}
            )
            OpenUploads(backend, accounts, 60.0).begin("alice", request)
            other = Counted(backend, accounts, 60.0)
            with ThreadPoolExecutor(8) as threads:
                asked = [threads.submit(other.find, "alice", request.op, 0, lambda request: None) for _ in range(8)]
                assert len({id(one.result()) for one in asked}) == 1
            assert begun == [request.op]
            assert other.find("alice", request.op, 1, lambda request: None).round == 1
            assert len(begun) == 2, "a round that it has not seen makes it look again"


class TestSharesOfWhatIsGone:
    @pytest.mark.parametrize("way", ["delete", "move"])
    def test_a_request_that_is_repeated_after_a_crash_takes_the_shares_along(self, server, alice, bob, way):
        node = upload(alice, f"/{alice.name}/f", "m", CONTENT)
        alice.ask("POST", "folders", json={"path": f"/{alice.name}/g"})
        server.accounts.share(node["path"], "user", bob.name, "view", alice.name)
        with open_backend(server.settings["root"]) as backend:
            backend.for_user(alice.name).delete(node["path"])  # and then the server was killed
        if way == "delete":
            answer = alice.ask("DELETE", "nodes", params={"path": node["path"]})
        else:
            answer = alice.ask("POST", "nodes/move", json={"path": node["path"], "folder": f"/{alice.name}/g"})
        assert (answer.status_code, code(answer)) == (404, "not_found")
        upload(alice, f"/{alice.name}/f", "m", CONTENT)
        assert bob.ask("GET", "nodes", params={"path": node["path"]}).status_code == 404

    def test_a_default_folder_that_nobody_made_keeps_its_shares(self, server, alice, bob):
        carol = server.someone()
        server.accounts.share(f"/{alice.name}", "user", bob.name, "edit", alice.name)
        server.accounts.share(f"/{alice.name}/default", "user", carol.name, "view", alice.name)
        assert bob.ask("DELETE", "nodes", params={"path": f"/{alice.name}/default"}).status_code == 404
        assert carol.ask("GET", "nodes", params={"path": f"/{alice.name}/default"}).status_code == 200
