"""The directories of runs and artifacts: where they are made, never twice, and what is recognized as one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from t9k.em.errors import CorruptLocalData, InvalidInput, LocalError, NotALocalNode
from t9k.em.local import layout
from t9k.em.records import ARTIFACT, RUN


class TestNewDirectory:
    @pytest.mark.parametrize(
        ("kind", "variable", "default"),
        [(RUN, "EM_RUN_PARENT_DIR", ".em/runs"), (ARTIFACT, "EM_ARTIFACT_PARENT_DIR", ".em/artifacts")],
    )
    def test_lies_where_the_environment_says(self, monkeypatch, tmp_path, kind, variable, default):
        assert layout.parent_directory(kind) == Path(default)
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
        with layout.new_directory(kind, "a") as directory:
            assert directory.parent == tmp_path / "elsewhere"
        monkeypatch.setenv(variable, "")
        assert layout.parent_directory(kind) == Path(default)

    def test_is_private_and_named_after_what_it_is_for(self):
        with layout.new_directory(RUN, "cnn keras") as directory:
            assert directory.name.startswith("cnn keras_")
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        with layout.new_directory(RUN, "a", "wanted") as directory:
            assert directory == Path(".em/runs/wanted")

    def test_is_never_one_that_is_there(self, monkeypatch):
        names = iter(["a_1", "a_1", "a_2"])
        monkeypatch.setattr(layout, "alternative_name", lambda name: next(names))
        made = []
        for _ in range(2):
            with layout.new_directory(RUN, "a") as directory:
                made.append(directory.name)
        assert made == ["a_1", "a_2"]
        with pytest.raises(LocalError, match="load it, or move it away"), layout.new_directory(RUN, "a", "a_1"):
            pass
        monkeypatch.setattr(layout, "alternative_name", lambda name: "a_1")
        with pytest.raises(LocalError, match="no free name for 'a'"), layout.new_directory(RUN, "a"):
            pass

    def test_goes_away_after_an_error(self):
        def fill(directory: Path) -> None:
            (directory / "deep").mkdir()
            (directory / "deep" / "file").write_text("x")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), layout.new_directory(RUN, "a") as directory:
            fill(directory)
        assert list(Path(".em/runs").iterdir()) == []

    def test_that_the_system_refuses_is_told(self):
        advice = "File name too long; choose another directory"
        with pytest.raises(LocalError, match=advice), layout.new_directory(RUN, "a", "x" * 300):
            pass


class TestMappings:
    def test_come_back_as_they_were_written(self, tmp_path):
        data = {"a": [1, None, {"é": "x: #"}], "b": "2020-01-01"}
        layout.write_mapping(tmp_path / "x.yaml", data)
        assert layout.read_mapping(tmp_path / "x.yaml", "it") == data
        assert layout.read_mapping(tmp_path / "missing.yaml", "it") == {}

    @pytest.mark.parametrize("text", ["- 1\n", "text", "", "a: [", "a: !!python/name:os.system\n"])
    def test_that_are_none_are_refused(self, tmp_path, text):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(CorruptLocalData, match="put a good copy in its place"):
            layout.read_mapping(tmp_path / "x.yaml", "it")


class TestKind:
    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("type: Run\n", RUN),
            ("type: Artifact\n", ARTIFACT),
            ("type: Folder\n", None),
            ("type: [Run]\n", None),
            ("a: 1\n", None),
        ],
    )
    def test_is_what_the_metadata_says(self, tmp_path, text, kind):
        (tmp_path / "metadata.yaml").write_text(text)
        assert layout.kind_of(tmp_path) == kind

    def test_of_a_directory_without_metadata_is_none(self, tmp_path):
        assert layout.kind_of(tmp_path) is None
        assert layout.kind_of(tmp_path / "missing") is None
        with pytest.raises(NotALocalNode, match="is not the directory of an artifact; it has no metadata.yaml"):
            layout.read_metadata(tmp_path, ARTIFACT)
        (tmp_path / "metadata.yaml").write_text("type: Run\nname: a\n")
        assert layout.read_metadata(tmp_path, RUN) == {"type": "Run", "name": "a"}

    def test_is_not_asked_for_listing_what_looks_like_a_node(self, tmp_path):
        for name in ("b", "a", ".em-fetch-x", "empty"):
            (tmp_path / name).mkdir()
            if name != "empty":
                (tmp_path / name / "metadata.yaml").write_text("damaged: [")
        (tmp_path / "file").write_text("")
        assert layout.nodes(tmp_path) == [tmp_path / "a", tmp_path / "b"]
        assert layout.nodes(tmp_path / "missing") == []


def test_what_a_caller_must_not_give_a_file_must_not_hold(tmp_path):
    advice = "too odd; put good copies of its files there"
    with pytest.raises(CorruptLocalData, match=advice), layout.understanding(tmp_path):
        raise InvalidInput("too odd")


class TestIgnoredByGit:
    def test_a_directory_that_is_made_ignores_itself(self, tmp_path):
        with layout.new_directory(ARTIFACT, "a"):
            pass
        assert Path(".em/.gitignore").read_text().splitlines()[-1] == "*"
        with layout.new_directory(RUN, "a"):
            pass
        assert sorted(path.name for path in Path(".em").iterdir()) == [".gitignore", "artifacts", "runs"]

    def test_one_that_is_there_stays_as_it_is(self):
        Path(".em").mkdir()
        with layout.new_directory(RUN, "a"):
            pass
        assert [path.name for path in Path(".em").iterdir()] == ["runs"]

    def test_one_that_was_chosen_is_the_users_business(self, monkeypatch, tmp_path):
        monkeypatch.setenv("EM_RUN_PARENT_DIR", str(tmp_path / "x" / ".em" / "runs"))
        with layout.new_directory(RUN, "a"):
            pass
        assert [path.name for path in (tmp_path / "x" / ".em").iterdir()] == ["runs"]
