"""What a local copy remembers: its history, where it came from, and uploads that are in progress."""

from __future__ import annotations

import threading

import pytest

from t9k.em.errors import CorruptLocalData
from t9k.em.local.state import LocalState


def test_nothing_is_written_before_it_is_needed(tmp_path):
    state = LocalState(tmp_path / "run")
    assert state.get("remote", []) == []
    state.done("target")
    assert not (tmp_path / "run").exists()


def test_parts_are_kept_apart_and_durable(tmp_path):
    state = LocalState(tmp_path)
    state.set("origin", {"uri": "u"})
    state.add_remote({"path": "/1"})
    state.add_remote({"path": "/2"})
    state.change("count", lambda known: (known or 0) + 1)
    state.change("count", lambda known: (known or 0) + 1)
    again = LocalState(tmp_path)
    assert again.get("origin", None) == {"uri": "u"}
    assert again.get("remote", []) == [{"path": "/1"}, {"path": "/2"}]
    assert again.get("count", 0) == 2


def test_threads_lose_nothing_of_each_other(tmp_path):
    state = LocalState(tmp_path)

    def work(worker: int) -> None:
        for number in range(5):
            state.add_remote({"path": f"/{worker}/{number}"})

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({entry["path"] for entry in state.get("remote", [])}) == 20


class TestUploads:
    def test_that_are_under_way_keep_their_op_across_processes(self, tmp_path):
        op, resumed = LocalState(tmp_path).op_for("file:///em#/a", "digest")
        assert not resumed
        assert LocalState(tmp_path).op_for("file:///em#/a", "digest") == (op, True)

    def test_to_elsewhere_or_of_other_content_have_another(self, tmp_path):
        state = LocalState(tmp_path)
        first, _ = state.op_for("a", "digest")
        assert state.op_for("b", "digest")[1] is False
        second, resumed = state.op_for("a", "other digest")
        assert second != first
        assert not resumed

    def test_that_ended_are_forgotten(self, tmp_path):
        state = LocalState(tmp_path)
        op, _ = state.op_for("a", "digest")
        state.done("a")
        state.done("a")
        assert state.op_for("a", "digest") != (op, True)

    @pytest.mark.parametrize("op", ["../x", "1", "", "20230817T080524.390002Z-4e48t2abc/"])
    def test_never_take_an_op_from_a_file_that_is_none(self, tmp_path, op):
        state = LocalState(tmp_path)
        state.op_for("a", "digest")
        [path] = (tmp_path / ".em" / "uploads").iterdir()
        path.write_text(f"target: a\nop: '{op}'\ndigest: digest\n")
        assert state.op_for("a", "digest")[0] != op


def test_damage_is_told(tmp_path):
    (tmp_path / ".em").mkdir()
    (tmp_path / ".em" / "state.yaml").write_text("remote: [")
    with pytest.raises(CorruptLocalData, match="put a good copy in its place"):
        LocalState(tmp_path).get("remote", [])
