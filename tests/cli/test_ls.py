from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact, make_run

from t9k import em as em_


def test_without_a_place_it_lists_runs_and_artifacts_of_the_working_directory(em: Em) -> None:
    run, artifact = make_run(), make_artifact()
    ran = em("ls")
    assert (ran.code, ran.out, ran.err) == (0, f"{os.path.relpath(run.local)}\n{os.path.relpath(artifact.local)}\n", "")


def test_nothing_yet_is_said_on_stderr(em: Em, store: str) -> None:
    ran = em("ls")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "nothing in .em/runs and .em/artifacts yet; try em demo, or em ls / for the backend\n"
    assert em("ls", "--json").json == []
    em("login", store)
    ran = em("ls", "/")
    assert (ran.code, ran.err) == (0, f"nothing in / of {store} yet\n")


def test_the_parent_directories_of_the_environment_are_listed(em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_RUN_PARENT_DIR", "elsewhere")
    run = make_run()
    assert em("ls").out == f"{os.path.relpath(run.local)}\n"
    assert os.path.relpath(run.local).startswith("elsewhere/")


def test_a_local_place_is_a_node_its_parent_or_a_working_directory(em: Em, tmp_path: Path) -> None:
    run, artifact = make_run(), make_artifact()
    assert em("ls", os.path.relpath(run.local)).out == f"{os.path.relpath(run.local)}\n"
    assert em("ls", ".em/artifacts").out == f"{os.path.relpath(artifact.local)}\n"
    assert em("ls", ".").out == f"{os.path.relpath(run.local)}\n{os.path.relpath(artifact.local)}\n"
    assert (
        em("ls", tmp_path).out
        == f"{tmp_path}/{os.path.relpath(run.local)}\n{tmp_path}/{os.path.relpath(artifact.local)}\n"
    )


def test_a_directory_without_runs_is_an_error_that_knows_about_stores(em: Em, tmp_path: Path) -> None:
    for place in (".", "./x", ".em/runs/nothing", "~/x"):
        for command in ("ls", "show", "plot"):
            ran = em(command, place)
            assert ran.code == 1
            assert ran.err == (
                f"em: {place} is no run or artifact, and holds none; em ls lists those that are here, "
                "and a store is listed by its URI, file:///...\n"
            )


def test_the_long_form_tells_kind_status_time_and_size(em: Em) -> None:
    run, artifact = make_run(), make_artifact()
    header, first, second = em("ls", "-l").out.splitlines()
    assert header.split() == ["Kind", "Status", "Made", "Took", "Size", "accuracy", "loss", "Directory"]
    assert re.fullmatch(
        rf"Run +Complete +\d{{4}}-\d\d-\d\d \d\d:\d\d +\d+s +[\d.]+ k?B  0.75 +0.25 +{os.path.relpath(run.local)}",
        first,
    )
    assert re.fullmatch(
        rf"Artifact +\d{{4}}-\d\d-\d\d \d\d:\d\d +[\d.]+ k?B +{os.path.relpath(artifact.local)}", second
    )


def test_a_tree_shows_files_in_its_long_form(em: Em) -> None:
    artifact = make_artifact()
    assert em("ls", "--tree").out.splitlines() == [".em/artifacts", f"└── {Path(os.path.relpath(artifact.local)).name}"]
    assert "    ├── index.yaml  " in em("ls", "--tree", "-l").out
    assert "    └── objects/weights.bin  7 B\n" in em("ls", "--tree", "-l").out


def test_a_damaged_node_is_listed_as_such(em: Em) -> None:
    run = make_run()
    Path(os.path.relpath(run.local), "metadata.yaml").write_bytes(b"{broken")
    odd = Path(".em/runs/odd")
    odd.mkdir()
    (odd / "metadata.yaml").write_text("type: Folder\n")
    assert em("ls").out == f"{os.path.relpath(run.local)}\n.em/runs/odd\n"
    assert [line.split()[:2] for line in em("ls", "-l").out.splitlines()[1:]] == [["?", "damaged"], ["?", "damaged"]]
    first, second = em("ls", "--json").json
    assert "metadata.yaml" in first["problem"]
    assert second == {"local": ".em/runs/odd", "type": "Folder", "problem": "neither a run nor an artifact"}


def test_json_has_the_metadata(em: Em) -> None:
    run = make_run()
    (entry,) = em("ls", "--json").json
    assert (entry["local"], entry["type"], entry["name"], entry["id"]) == (
        os.path.relpath(run.local),
        "Run",
        "cnn",
        run.id,
    )


class TestInABackend:
    @pytest.fixture(autouse=True)
    def _uploaded(self, store: str) -> None:
        em_.login(store)
        make_run().upload("mnist", make_folder=True)
        artifact = make_artifact()
        artifact.upload("mnist")
        artifact.description = "changed"
        artifact.upload("mnist")
        em_.logout()

    def test_a_uri_alone_means_the_root(self, em: Em, store: str) -> None:
        assert em("ls", store).out == "alice/\n"
        assert em("ls", f"{store}#").out == "alice/\n"
        assert em("ls", f"{store}#/alice").out == "mnist/\n"

    def test_a_path_needs_a_backend(self, em: Em) -> None:
        ran = em("ls", "mnist")
        assert ran.code == 1
        assert "'mnist' is no local run or artifact" in ran.err
        assert "em login file:///data/em" in ran.err
        assert "--backend URI" in ran.err

    def test_the_backend_comes_from_option_environment_or_config(
        self, em: Em, store: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert em("ls", "mnist", "--backend", store).out == "cnn\nmodel\n"
        assert em("--backend", store, "ls", "mnist").out == "cnn\nmodel\n"
        monkeypatch.setenv("EM_BACKEND", store)
        assert em("ls", "/alice/mnist").out == "cnn\nmodel\n"
        monkeypatch.delenv("EM_BACKEND")
        assert em("login", store).code == 0
        assert em("ls", "mnist").out == "cnn\nmodel\n"
        assert em("ls", "mnist", "--backend", f"{store}-2").code == 1

    def test_the_long_form_has_versions(self, em: Em, store: str) -> None:
        header, run, artifact = em("ls", "-l", f"{store}#mnist").out.splitlines()
        assert header.split() == ["Kind", "Status", "Time", "Took", "Size", "accuracy", "loss", "Name"]
        assert run.split()[:2] == ["Run", "Complete"]
        assert run.endswith("  cnn")
        assert artifact.endswith("  model@2")
        assert em("ls", "-l", store).out.splitlines()[1].split()[::3] == ["Folder", "alice/"]

    def test_a_node_lists_itself(self, em: Em, store: str) -> None:
        assert em("ls", f"{store}#mnist/cnn").out == "cnn\n"

    def test_a_tree_goes_down_to_the_nodes(self, em: Em, store: str) -> None:
        assert em("ls", "--tree", store).out.splitlines() == [
            f"{store}#/",
            "└── alice/",
            "    └── mnist/",
            "        ├── cnn",
            "        └── model",
        ]
        assert re.search(r"model  Artifact, [\d.]+ B, \d{4}-", em("ls", "--tree", "-l", store).out)

    def test_json_has_one_object_for_each_node(self, em: Em, store: str) -> None:
        run, artifact = em("ls", "--json", f"{store}#mnist").json
        assert run["uri"] == f"{store}#/alice/mnist/cnn@1"
        assert (run["kind"], run["generation"], run["writer"], run["deleted"]) == ("Run", 1, "alice", False)
        assert run["metadata"]["status"] == "Complete"
        assert "handle" not in run
        assert artifact["generation"] == 2
        below = em("ls", "--json", "--tree", store).json
        assert [node["path"] for node in below] == ["/alice", "/alice/mnist", "/alice/mnist/cnn", "/alice/mnist/model"]

    def test_versions_of_one_node(self, em: Em, store: str) -> None:
        place = f"{store}#mnist/model"
        assert em("rm", "-y", place).code == 0
        header, deleted, newer, older = em("ls", "--versions", place).out.splitlines()
        assert header.split() == ["Version", "State", "Modified", "Files", "Size", "By"]
        assert deleted.split()[:2] == ["@3", "deleted"]
        assert newer.split()[:2] == ["@2", "ready"]
        assert older.split()[:2] == ["@1", "ready"]
        assert [node["generation"] for node in em("ls", "--versions", "--json", place).json] == [3, 2, 1]
        assert em("ls", f"{store}#mnist").out == "cnn\n"

    def test_versions_need_a_node(self, em: Em) -> None:
        assert em("ls", "--versions").code == 2
        (run,) = em("ls", ".em/runs").out.splitlines()
        assert "needs the path or URI of a node" in em("ls", "--versions", run).err

    def test_what_is_not_there_is_an_error(self, em: Em, store: str) -> None:
        assert em("ls", f"{store}#nothing").code == 1
        assert em("ls", "s5://bucket").err.startswith("em: no installed backend serves s5://; installed are: file://")


def test_hostile_names_do_not_reach_the_terminal(em: Em, terminal: None) -> None:
    directory = Path(".em/runs/\x1b]0;evil\x07[red]x[b]")
    directory.mkdir(parents=True)
    (directory / "metadata.yaml").write_text('type: Run\nstatus: "\\e[31m[b]done"\nstart_timestamp: "\\u202e"\n')
    for options in ([], ["-l"], ["--tree"], ["--tree", "-l"], ["--json"]):
        out = em("ls", *options).out
        assert "\x1b]0" not in out
        assert "\x1b[31m" not in out
        assert "\x07" not in out
        assert "\u202e" not in out
        assert "[red]x[b]" in out
