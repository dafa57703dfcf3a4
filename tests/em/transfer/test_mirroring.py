"""Mirrors: the same nodes with the same versions elsewhere, nothing sent twice, nothing deleted unasked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attrs import frozen

from t9k.em import create_artifact, create_run, load_artifact, mirror, session
from t9k.em.backend import Backend
from t9k.em.errors import BackendUnavailable, InvalidInput, NotFound
from t9k.em.records import ARTIFACT, FOLDER, RUN, Node
from t9k.em.testing import (
    Fault,
    Faults,
    FaultyBackend,
    FaultyStore,
    ReferenceBackend,
    SimulatedCrash,
    make_request,
    read_node,
    upload,
)
from t9k.em.testing.faults import WHEN
from t9k.em.transfer.mirroring.mirror import Side, run_mirror
from t9k.em.transfer.mirroring.nodes import Options
from t9k.em.transfer.mirroring.report import Action, Report
from t9k_em_backends.tree import TreeBackend
from t9k_em_backends.tree.heads import encode_head


@frozen
class Store:
    uri: str

    @property
    def backend(self) -> Backend:
        return session.backend_at(self.uri)

    def put(self, path: str, contents: dict[str, bytes], **options: Any) -> Node:
        folder, _, name = path.rpartition("/")
        options.setdefault("strategy", "replace")
        return upload(self.backend, make_request(folder, name, contents, **options), contents)


@pytest.fixture(params=["file", "memory"])
def scheme(request) -> str:
    return request.param


@pytest.fixture
def new_store(scheme, tmp_path):
    def make() -> Store:
        return Store((tmp_path / str(uuid4())).as_uri() if scheme == "file" else f"memory://{uuid4()}")

    return make


@pytest.fixture
def source(new_store) -> Store:
    return new_store()


@pytest.fixture
def target(new_store) -> Store:
    return new_store()


def tree(backend: Backend, path: str = "/") -> dict[str, Any]:
    """Every node below a folder, by relative path: kind, id, metadata and files of each version, oldest first."""
    found: dict[str, Any] = {}
    for node in backend.list(path):
        name = node.path[len(path.rstrip("/")) + 1 :]
        if node.kind == FOLDER:
            found[f"{name}/"] = FOLDER
            found |= {f"{name}/{below}": value for below, value in tree(backend, node.path).items()}
        else:
            found[name] = versions(backend, node.path)
    return found


def versions(backend: Backend, path: str) -> list[Any]:
    return [
        "deleted" if node.deleted else (node.kind, node.id, dict(node.metadata), read_node(backend, node))
        for node in reversed(backend.versions(path))
    ]


def fill(store: Store) -> None:
    store.put("/alice/data/mnist", {"objects/a": b"a", "objects/d/b": b"b" * 100}, kind=ARTIFACT, metadata={"x": [1]})
    for step in range(3):
        store.put("/alice/exp/cv/cnn", {"log": b"line\n" * step, "same": b"s"}, id="cnn", metadata={"step": step})
    store.put("/bob/other", {})
    store.backend.make_folder("/alice/empty")


def actions(report: Report) -> dict[str, str]:
    return {entry.path: entry.action.value for entry in report.entries}


class TestWhatItMirrors:
    def test_a_store_with_the_folders_of_all_users_and_all_versions(self, source, target):
        fill(source)
        report = mirror(source.uri, target.uri)
        assert tree(target.backend) == tree(source.backend)
        assert report.complete
        assert actions(report) == dict.fromkeys(
            [
                *("alice", "alice/data", "alice/data/mnist", "alice/empty"),
                *("alice/exp", "alice/exp/cv", "alice/exp/cv/cnn", "bob", "bob/other"),
            ],
            "add",
        )
        [cnn] = [entry for entry in report.entries if entry.path == "alice/exp/cv/cnn"]
        assert (cnn.versions, cnn.files, cnn.moved_files, cnn.size, cnn.moved) == (3, 2, 4, 11, 16)

    def test_a_folder_becomes_like_another_one(self, source, target):
        fill(source)
        mirror(f"{source.uri}#/alice/exp", f"{target.uri}#/bob/copy/of")
        assert tree(target.backend, "/bob/copy/of") == tree(source.backend, "/alice/exp")
        assert tree(target.backend).keys() == {"bob/", "bob/copy/", "bob/copy/of/"} | {
            f"bob/copy/of/{path}" for path in ("cv/", "cv/cnn")
        }

    def test_a_node_goes_into_the_folder(self, source, target):
        fill(source)
        report = mirror(f"{source.uri}#/alice/exp/cv/cnn", f"{target.uri}#/bob/x")
        assert versions(target.backend, "/bob/x/cnn") == versions(source.backend, "/alice/exp/cv/cnn")
        assert actions(report) == {"cnn": "add"}
        assert actions(mirror(f"{source.uri}#/alice/exp/cv/cnn", f"{target.uri}#/bob/x")) == {"cnn": "unchanged"}

    def test_within_one_store_too(self, source):
        fill(source)
        mirror(f"{source.uri}#/alice/exp", f"{source.uri}#/alice/copy")
        assert tree(source.backend, "/alice/copy") == tree(source.backend, "/alice/exp")

    def test_without_history_only_the_newest_version(self, source, target):
        fill(source)
        mirror(source.uri, target.uri, history=False)
        assert versions(target.backend, "/alice/exp/cv/cnn") == versions(source.backend, "/alice/exp/cv/cnn")[-1:]
        assert (
            mirror(source.uri, target.uri, history=False, verify=True).digest == mirror(source.uri, target.uri).digest
        )

    def test_history_is_only_added_to(self, source, target):
        fill(source)
        mirror(source.uri, target.uri, history=False)
        mirror(source.uri, target.uri)
        assert len(versions(target.backend, "/alice/exp/cv/cnn")) == 1

    def test_a_deletion_between_versions_and_another_node_of_another_kind(self, source, target):
        source.put("/alice/default/a", {"x": b"1"}, kind=RUN)
        source.backend.delete("/alice/default/a")
        source.put("/alice/default/a", {"x": b"2"}, kind=ARTIFACT)
        mirror(source.uri, target.uri)
        found = versions(target.backend, "/alice/default/a")
        assert found == versions(source.backend, "/alice/default/a")
        assert found[1] == "deleted"
        assert set(actions(mirror(source.uri, target.uri, verify=True)).values()) == {"unchanged"}

    def test_collected_versions_are_left_out(self, source, target):
        fill(source)
        kept = versions(source.backend, "/alice/exp/cv/cnn")[-1:]
        assert source.backend.collect("/", grace_s=0, apply=True).objects
        report = mirror(source.uri, target.uri)
        assert report.complete
        assert versions(target.backend, "/alice/exp/cv/cnn") == kept

    def test_lineage_by_id_and_tells_what_is_left_behind(self, source, target, tmp_path):
        (tmp_path / "f").write_text("data")
        made = [create_artifact("in"), create_artifact("out")]
        run = create_run(name="r")
        for artifact, folder in zip(made, ("kept", "elsewhere"), strict=True):
            artifact.add_file("f")
            artifact.upload(f"{source.uri}#{folder}", make_folder=True)
            run.mark_input(artifact)
        run.finish()
        run.upload(f"{source.uri}#kept")
        session.login(target.uri)
        report = mirror(f"{source.uri}#kept", "kept")
        assert report.outside == [made[1].id]
        assert mirror(f"{source.uri}#kept", "kept").outside == [made[1].id]
        assert mirror(source.uri, "/").outside == []
        records = target.backend.stat("/alice/kept/r").metadata["associations"]["input"]
        assert [load_artifact(record["path"]).id for record in records] == [artifact.id for artifact in made]

    def test_to_and_from_a_backend_that_is_no_tree_over_a_store(self, source, target):
        fill(source)
        source.backend.delete("/bob/other")
        source.put("/bob/other", {"k": b"v"}, kind=ARTIFACT)
        between = Side(backend=ReferenceBackend(), uri="reference://between", path="/")
        first = run_mirror(side(source.backend, source), between, Options())
        second = run_mirror(between, side(target.backend, target), Options())
        assert first.complete
        assert second.complete
        assert first.digest == second.digest
        assert tree(target.backend) == tree(between.backend) == tree(source.backend)

    def test_by_several_at_once_publishes_no_version_twice(self, source, target):
        for number in range(8):
            for step in range(4):
                source.put(f"/alice/x/n{number}", {"k": b"%d" % step}, id=str(number))
        at_once(source, target)
        assert mirror(source.uri, target.uri).complete
        assert tree(target.backend) == tree(source.backend)

    def test_by_several_at_once_repeats_no_deletion(self, source, target):
        for number in range(4):
            for step in range(4):
                source.put(f"/alice/x/n{number}", {"k": b"%d" % step}, id=str(number))
                if number == step:
                    source.backend.delete(f"/alice/x/n{number}")
        at_once(source, target)
        assert mirror(source.uri, target.uri).complete
        assert tree(target.backend) == tree(source.backend)

    def test_of_a_long_history_costs_as_much_for_each_version(self, new_store):
        calls = {}
        for count in (5, 10, 20):
            source, target, faults = new_store(), new_store(), Faults()
            for step in range(count):
                source.put("/alice/x/n", {"k": b"%d" % step}, id="n")
            assert run_mirror(faulty(source, Faults(), "store"), faulty(target, faults, "store"), Options()).complete
            calls[count] = len(faults.calls)
        assert calls[20] - calls[10] == 2 * (calls[10] - calls[5])


class TestAgain:
    def test_moves_nothing_and_costs_one_listing_for_each_folder(self, source, target):
        fill(source)
        first = mirror(source.uri, target.uri)
        calls, again = faulty_mirror(source, target)
        folders = sorted(["/", "/alice", "/alice/data", "/alice/empty", "/alice/exp", "/alice/exp/cv", "/bob"])
        assert sorted(calls) == sorted(
            [
                "source stat /",
                "target make_folder /",
                *(f"{side} list_all {path}" for side in SIDES for path in folders),
            ]
        )
        assert set(actions(again).values()) == {"unchanged"}
        assert (again.digest, len(again.nodes)) == (first.digest, 3)

    def test_moves_nothing_without_the_memory_of_the_first(self, source, target):
        fill(source)
        first = mirror(source.uri, target.uri)
        [state] = Path("~/.cache/t9k-em/mirror").expanduser().iterdir()
        state.unlink()
        calls, again = faulty_mirror(source, target)
        assert not [call for call in calls if "begin" in call or "Upload" in call or "read" in call]
        assert again.digest == first.digest
        assert tree(target.backend) == tree(source.backend)

    @pytest.mark.parametrize("damage", [b"", b"[]", b'{"v": 1, "nodes": {"alice/exp/cv/cnn": 1}}', b'{"v": 9}'])
    def test_moves_nothing_when_the_memory_is_damaged(self, source, target, damage):
        fill(source)
        mirror(source.uri, target.uri)
        [state] = Path("~/.cache/t9k-em/mirror").expanduser().iterdir()
        state.write_bytes(damage)
        calls, _ = faulty_mirror(source, target)
        assert not [call for call in calls if "begin" in call]

    def test_goes_on_when_the_memory_cannot_be_written(self, source, target):
        Path("~/.cache").expanduser().write_text("a file")
        fill(source)
        assert mirror(source.uri, target.uri).complete
        assert set(actions(mirror(source.uri, target.uri)).values()) == {"unchanged"}

    def test_sends_what_is_new(self, source, target):
        fill(source)
        mirror(source.uri, target.uri)
        source.put("/alice/exp/cv/cnn", {"log": b"more", "same": b"s"}, id="cnn")
        source.put("/alice/exp/rnn", {"log": b""})
        report = mirror(source.uri, target.uri)
        changed = {path: action for path, action in actions(report).items() if action != "unchanged"}
        assert changed == {"alice/exp/cv/cnn": "update", "alice/exp/rnn": "add"}
        assert sum(entry.moved for entry in report.entries) == 4
        assert tree(target.backend) == tree(source.backend)

    def test_brings_back_what_was_deleted_or_replaced_in_the_target(self, source, target):
        fill(source)
        mirror(source.uri, target.uri)
        target.backend.delete("/alice/data/mnist")
        target.put("/alice/exp/cv/cnn", {"x": b"other"}, id="other")
        report = mirror(source.uri, target.uri)
        assert actions(report)["alice/data/mnist"] == "add"
        assert actions(report)["alice/exp/cv/cnn"] == "replace"
        assert len(versions(target.backend, "/alice/data/mnist")) == 3
        # By an upload of its own, whose files no collector takes for those of the one before.
        first, again = (target.backend.files(target.backend.stat(f"/alice/data/mnist@{number}")) for number in (1, 3))
        assert {file.op for file in first}.isdisjoint(file.op for file in again)
        found, wanted = (versions(store.backend, "/alice/exp/cv/cnn") for store in (target, source))
        assert found[:3] == wanted
        assert found[3][1] == "other"
        assert found[4] == wanted[-1]

    def test_a_version_that_comes_again_is_published_again(self, source, target):
        for data in (b"a", b"b", b"a"):
            source.put("/alice/default/n", {"k": data}, id="n")
            mirror(source.uri, target.uri)
        assert versions(target.backend, "/alice/default/n") == versions(source.backend, "/alice/default/n")


class TestDelete:
    def test_happens_only_when_asked_for_and_only_in_the_target_folder(self, source, target):
        fill(source)
        target.put("/alice/mirror/extra", {})
        target.put("/alice/mirror/gone/run", {})
        target.put("/alice/outside", {})
        there = f"{target.uri}#/alice/mirror"
        mirror(f"{source.uri}#/alice", there)
        assert {"extra", "gone/run"} < tree(target.backend, "/alice/mirror").keys()
        report = mirror(f"{source.uri}#/alice", there, delete=True)
        assert {path: action for path, action in actions(report).items() if action != "unchanged"} == {
            "extra": "delete",
            "gone": "delete",
        }
        assert tree(target.backend, "/alice/mirror") == tree(source.backend, "/alice")
        assert target.backend.stat("/alice/outside").kind == RUN

    @pytest.mark.parametrize("path", ["/", "/alice"])
    def test_for_a_source_in_which_nobody_made_anything_is_refused(self, source, target, path):
        fill(target)
        before = tree(target.backend)
        for dry_run in (True, False):
            with pytest.raises(NotFound, match="holds nothing, so all in .* check the URI of the source"):
                mirror(f"{source.uri}#{path}", f"{target.uri}#{path}", delete=True, dry_run=dry_run)
        assert tree(target.backend) == before
        source.backend.make_folder("/alice/made")
        assert mirror(source.uri, target.uri, delete=True).complete

    def test_of_a_whole_store_empties_homes_and_keeps_them(self, source, target):
        fill(source)
        target.put("/carol/x/y", {})
        mirror(source.uri, target.uri, delete=True)
        assert tree(target.backend) == {**tree(source.backend), "carol/": FOLDER}

    def test_spares_what_the_source_has_but_cannot_list(self, source, target, caplog):
        fill(source)
        mirror(source.uri, target.uri)
        before = tree(target.backend)
        damage(source, "/alice/exp/cv", "cnn")
        for delete in (False, True):
            report = mirror(source.uri, target.uri, delete=delete)
            [problem] = report.problems
            assert (problem.path, problem.action) == ("alice/exp/cv/cnn", Action.FAILED)
            assert "damaged" in problem.problem
            assert tree(target.backend) == before
        assert "left out of the listing" in caplog.text

    def test_spares_it_in_a_backend_that_does_not_tell_what_it_leaves_out(self, source, target):
        fill(source)
        mirror(source.uri, target.uri)
        before = tree(target.backend)
        damage(source, "/alice/exp/cv", "cnn")
        for delete in (False, True):
            report = run_mirror(
                side(FaultyBackend(source.backend, Faults()), source),
                side(target.backend, target),
                Options(delete=delete),
            )
            assert [(problem.path, problem.action) for problem in report.problems] == [
                ("alice/exp/cv/cnn", Action.FAILED)
            ]
            assert tree(target.backend) == before

    def test_makes_room_for_what_is_in_the_way(self, source, target):
        source.put("/alice/default/a", {"k": b"1"})
        source.put("/alice/default/b/c", {"k": b"2"})
        source.put("/alice/default/Case", {"k": b"3"})
        source.put("/alice/default/kind", {"k": b"4"}, kind=RUN)
        target.put("/alice/default/a/x", {})
        target.put("/alice/default/b", {})
        target.put("/alice/default/case", {})
        target.put("/alice/default/kind", {}, kind=ARTIFACT)
        before = tree(target.backend)
        for dry_run in (True, False):
            report = mirror(source.uri, target.uri, dry_run=dry_run)
            assert [entry.path for entry in report.problems] == [
                f"alice/default/{name}" for name in ("Case", "a", "b", "kind")
            ]
            assert all("delete=True" in entry.problem for entry in report.problems)
        assert tree(target.backend) == before
        assert mirror(source.uri, target.uri, delete=True).complete
        found = tree(target.backend)
        assert found.keys() == tree(source.backend).keys()
        assert [
            node["k"] for node in (found[f"alice/default/{name}"][-1][-1] for name in ("a", "b/c", "Case", "kind"))
        ] == [
            b"1",
            b"2",
            b"3",
            b"4",
        ]


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(source, target, snapshot):
    fill(source)
    mirror(f"{source.uri}#/bob", f"{target.uri}#/bob")
    target.put("/bob/extra", {})
    before, on_disk = tree(target.backend), snapshot()
    planned = mirror(source.uri, target.uri, delete=True, dry_run=True)
    assert (tree(target.backend), snapshot()) == (before, on_disk)
    assert not planned.applied
    done = mirror(source.uri, target.uri, delete=True)
    assert actions(planned) == actions(done)
    for planned_entry, entry in zip(planned.entries, done.entries, strict=True):
        assert (planned_entry.moved_files, planned_entry.moved, planned_entry.versions) == (
            entry.moved_files,
            entry.moved,
            entry.versions,
        )


class TestRefused:
    @pytest.mark.parametrize("folder", ["/alice/exp", "/alice/exp/cv/deeper"])
    def test_a_folder_into_itself(self, source, folder):
        fill(source)
        with pytest.raises(InvalidInput, match="or lies in it"):
            mirror(f"{source.uri}#/alice/exp", f"{source.uri}#{folder}")

    def test_deleting_the_source(self, source):
        fill(source)
        with pytest.raises(InvalidInput, match="would be deleted"):
            mirror(f"{source.uri}#/alice/exp", f"{source.uri}#/alice", delete=True)

    def test_a_node_onto_itself_versions_and_what_is_not_there(self, source, target):
        fill(source)
        with pytest.raises(InvalidInput, match="already"):
            mirror(f"{source.uri}#/bob/other", f"{source.uri}#/bob")
        with pytest.raises(InvalidInput, match="newest version"):
            mirror(f"{source.uri}#/bob/other@1", f"{target.uri}#/bob")
        with pytest.raises(NotFound):
            mirror(f"{source.uri}#/bob/nothing", f"{target.uri}#/bob")
        assert tree(target.backend) == {}

    def test_a_link_to_the_same_store(self, source, tmp_path, scheme):
        if scheme != "file":
            pytest.skip("only directories have links")
        fill(source)
        (tmp_path / "link").symlink_to(source.uri.removeprefix("file://"))
        with pytest.raises(InvalidInput, match="or lies in it"):
            mirror(source.uri, f"{(tmp_path / 'link').as_uri()}#/alice/x")


class TestTrouble:
    def test_a_damaged_record_is_told_although_no_listing_shows_it(self, source, target):
        fill(source)
        damage(source, "/alice/data", "mnist")
        report = mirror(source.uri, target.uri)
        assert [(problem.path, problem.action) for problem in report.problems] == [("alice/data/mnist", Action.FAILED)]
        assert "is damaged" in report.problems[0].problem
        assert "bob/other" in tree(target.backend)

    def test_a_damaged_file_stops_neither_the_other_nodes_nor_the_newer_versions(self, source, target):
        for data in (b"one", b"two", b"three"):
            source.put("/alice/default/old", {"k": data}, id="old")
        source.put("/alice/default/new", {"k": b"four"})
        source.put("/alice/default/whole", {"k": b"five"})
        spoil(source, b"two", b"xxx")
        spoil(source, b"four", b"xxxx")
        report = mirror(source.uri, target.uri)
        assert {entry.path: entry.action.value for entry in report.problems} == {
            "alice/default/new": "failed",
            "alice/default/old": "add",
        }
        assert all("is not what was uploaded" in entry.problem for entry in report.problems)
        assert [version[-1]["k"] for version in versions(target.backend, "/alice/default/old")] == [b"one", b"three"]
        assert tree(target.backend).keys() == {"alice/", "alice/default/"} | {
            f"alice/default/{name}" for name in ("old", "whole")
        }

    def test_a_list_that_cannot_be_read_is_told_and_nothing_is_deleted_there(self, source, target):
        fill(source)
        target.put("/alice/exp/extra", {})

        class Broken(FaultyBackend):
            def list_all(self, path: str):
                if path == "/alice/exp":
                    raise BackendUnavailable("come later")
                return self.inner.list_all(path)

        broken = Broken(source.backend, Faults())
        report = run_mirror(side(broken, source), side(target.backend, target), Options(delete=True))
        assert [(entry.path, entry.problem) for entry in report.problems] == [("alice/exp", "come later")]
        assert "alice/exp/extra" in tree(target.backend)
        assert "bob/other" in tree(target.backend)

    @pytest.mark.parametrize("times", [1, 9])
    def test_what_is_in_the_target_in_the_end_is_compared_with_the_source(self, source, target, times):
        source.put("/alice/x/n", {"k": b"v"}, id="n")
        written: list[Node] = []

        class Meddled(FaultyBackend):
            """Somebody else writes to the node as soon as it is published."""

            def around(self, what, call):
                result = super().around(what, call)
                if what == "Upload.commit" and len(written) < times:
                    written.append(target.put("/alice/x/n", {"k": b"other"}, id="other"))
                return result

        report = run_mirror(
            side(source.backend, source), side(Meddled(target.backend, Faults()), target), Options(history=False)
        )
        if times == 1:
            assert report.complete
            assert tree(target.backend)["alice/x/n"][-1] == tree(source.backend)["alice/x/n"][-1]
        else:
            [problem] = report.problems
            assert "written by somebody else meanwhile" in problem.problem
            assert report.nodes == []

    @pytest.mark.long
    @pytest.mark.parametrize("scheme", ["memory"])
    @pytest.mark.parametrize("level", ["backend", "store"])
    @pytest.mark.parametrize("when", WHEN)
    def test_whatever_call_fails_the_next_run_completes_it(self, new_store, when, level):
        source = new_store()
        for data in (b"1", b"2"):
            source.put("/alice/x/n", {"a": data, "b": b"same"}, id="n")
        source.put("/alice/x/m", {"k": b"v"})
        wanted = tree(source.backend)
        number, is_reached = 0, True
        while is_reached:
            number += 1
            target = new_store()
            target.put("/alice/x/extra", {})
            faults = Faults(Fault(number, when))
            with contextlib.suppress(BackendUnavailable, SimulatedCrash):
                run_mirror(faulty(source, faults, level), faulty(target, faults, level), Options(delete=True))
            is_reached = len(faults.calls) >= number
            assert mirror(source.uri, target.uri, delete=True).complete
            assert tree(target.backend) == wanted, faults.calls[:number]
            # What was sent before was resumed and not sent again under another name.
            left = target.backend.collect("/", grace_s=0, keep_versions=99).objects
            files = [info.key for info in left if "/extra/" not in info.key and "/.em/uploads/" not in info.key]
            assert files == [], faults.calls[:number]
        assert number > 30

    def test_while_somebody_writes_each_node_is_whole(self, source, target):
        def put(number: int) -> None:
            source.put("/alice/x/n", {"a": b"%d" % number, "b": b"%d" % number}, id="n")

        put(0)
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.wait(0.002):  # else no mirror catches up with all the versions
                put(number := number + 1)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                mirror(source.uri, target.uri)
        finally:
            stop.set()
            writer.join()
        assert mirror(source.uri, target.uri).complete
        found = versions(target.backend, "/alice/x/n")
        assert found == versions(source.backend, "/alice/x/n")
        assert all(files["a"] == files["b"] for *_, files in found)


def test_the_digest_can_be_computed_by_others(source, target):
    fill(source)
    report = mirror(f"{source.uri}#/alice", f"{target.uri}#/alice")
    lines = []
    for path in ("data/mnist", "exp/cv/cnn"):
        node = target.backend.stat(f"/alice/{path}")
        files = sorted(read_node(target.backend, node).items())
        listed = "".join(f"{hashlib.sha256(data).hexdigest()} {len(data)} {key}\n" for key, data in files)
        lines.append(f"{hashlib.sha256(listed.encode()).hexdigest()} {node.kind} {node.id} {path}\n")
    assert report.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert json.loads(json.dumps(report.to_dict()))["digest"] == report.digest


SIDES = ("source", "target")


def side(backend: Backend, store: Store, path: str = "/") -> Side:
    return Side(backend=backend, uri=store.uri, path=path)


def at_once(source: Store, target: Store) -> None:
    """Mirrors three times at the same time."""
    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(mirror, source.uri, target.uri) for _ in range(3)]:
            future.result()


def faulty(store: Store, faults: Faults, level: str) -> Side:
    """A side whose calls, or those of its object store, may fail."""
    if level == "backend":
        return side(FaultyBackend(store.backend, faults), store)
    return side(TreeBackend(FaultyStore(store.backend.store, faults), store.uri, sleep=lambda _: None), store)


def faulty_mirror(source: Store, target: Store, *, verify: bool = False) -> tuple[list[str], Report]:
    """Mirrors, and gives the calls that were made on the way."""
    backends = {"source": FaultyBackend(source.backend, Faults()), "target": FaultyBackend(target.backend, Faults())}
    report = run_mirror(side(backends["source"], source), side(backends["target"], target), Options(), verify=verify)
    calls = [f"{name} {call}" for name, backend in backends.items() for call in backend.faults.calls]
    of_mark = {"check_store", "expect_store", "init_store", "is_there", "store_id"}
    return [call for call in calls if call.split(" ")[1] not in of_mark], report


def damage(store: Store, folder: str, name: str) -> None:
    """Publishes a record that is none."""
    from t9k.em.records import Body

    generations = store.backend.tree.generations(folder, name)
    number, head = generations.newest()
    store.backend.store.put(f"{generations.prefix}{number + 1:08d}.json", Body.of(encode_head(head)[:-20]))


def spoil(store: Store, data: bytes, other: bytes) -> None:
    """Changes the bytes of a file where they lie."""
    from t9k.em.records import Body

    for info in store.backend.store.list(""):
        if b"".join(store.backend.store.get(info.key)) == data:
            store.backend.store.put(info.key, Body.of(other))
