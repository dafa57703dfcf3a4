from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact, make_run

from t9k import em as em_


@pytest.fixture(autouse=True)
def _uploaded(logged_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "made")
    monkeypatch.setenv("EM_RUN_PARENT_DIR", "made")
    em_.login(logged_in)
    make_run().upload()
    make_artifact(files={"a": b"1", "b/c": b"22"}).upload()
    monkeypatch.delenv("EM_ARTIFACT_PARENT_DIR")
    monkeypatch.delenv("EM_RUN_PARENT_DIR")


def test_a_run_goes_where_load_run_puts_it(em: Em) -> None:
    ran = em("download", "default/cnn")
    (directory,) = Path(".em/runs").iterdir()
    assert (ran.code, ran.out) == (0, f"{directory}\n")
    assert em_.load_run(str(directory)).metrics["train"][-1]["value"] == {"loss": 0.25}
    assert em("download", "default/cnn").out == f"{directory}\n"


def test_an_artifact_comes_with_its_objects(em: Em) -> None:
    directory = Path(em("download", "default/model").out.strip())
    assert directory.parent == Path(".em/artifacts")
    assert (directory / "objects/b/c").read_bytes() == b"22"


def test_it_becomes_the_directory_that_was_named(em: Em, logged_in: str) -> None:
    assert em("download", "default/model", "out").out == "out\n"
    assert Path("out/objects/a").read_bytes() == b"1"
    assert em("download", f"{logged_in}#default/model@1", "out").code == 0
    Path("empty").mkdir()
    assert em("download", "default/cnn", "empty").out == "empty\n"
    assert em("ls", "empty").out == "empty\n"
    assert sorted(path.name for path in Path().glob(".em*")) == []


def test_a_directory_with_something_else_is_left_alone(em: Em) -> None:
    Path("mine").mkdir()
    Path("mine/file").touch()
    ran = em("download", "default/cnn", "mine")
    assert ran.code == 1
    assert ran.err == "em: mine is there and holds something else; choose a directory that does not exist\n"
    assert [path.name for path in Path("mine").iterdir()] == ["file"]
    assert [path.name for path in Path().iterdir() if "fetch" in path.name] == []


def test_only_some_objects_and_the_rest_later(em: Em) -> None:
    assert em("download", "default/model", "out", "--key", "b/c").code == 0
    assert [path.name for path in Path("out/objects").iterdir()] == ["b"]
    assert em("download", "default/model", "out").code == 0
    assert Path("out/objects/a").exists()
    ran = em("download", "default/model", "out", "--key", "nothing")
    assert ran.code == 1
    assert "has no object 'nothing'" in ran.err


def test_keys_are_for_artifacts(em: Em) -> None:
    assert em("download", "default/cnn", "--key", "x").code == 2


def test_json_says_where(em: Em, logged_in: str) -> None:
    assert em("download", "default/model", "out", "--json").json == {
        "local": "out",
        "kind": "Artifact",
        "uri": f"{logged_in}#/alice/default/model@1",
    }


def test_a_folder_cannot_be(em: Em) -> None:
    assert "is a folder; em download '/alice/default/*' downloads what is in it" in em("download", "default").err


def test_a_changed_byte_is_found(em: Em, tmp_path: Path) -> None:
    (stored,) = (tmp_path / "store").rglob("objects/a")
    stored.write_bytes(b"9")
    ran = em("download", "default/model", "out")
    assert ran.code == 1
    assert "is not what was uploaded" in ran.err
    assert not Path("out/objects/a").exists()


def test_progress_is_shown_in_a_terminal(em: Em, terminal: None) -> None:
    assert "downloading" in em("download", "default/model", "out").err
