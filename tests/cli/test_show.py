from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import Em, make_artifact, make_run

from t9k import em as em_
from t9k.em.local import layout
from t9k.em.local.below import Below


def test_a_run_is_shown_with_all_that_is_known_of_it(em: Em) -> None:
    with em_.create_run(name="cnn", hparams={"lr": 0.1, "opt": {"name": "sgd"}}, labels=["a", "b"]) as run:
        run.description = "two\nlines"
        run.mark_input(make_artifact("data"))
        for step, loss in enumerate([0.5, 0.25, math.nan], 1):
            run.log("train", {"loss": loss}, step=step)
        run.log("test", {"accuracy": 0.75}, step=3)
    ran = em("show", run.local)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Run cnn\n")
    lines = [re.sub(" +", " ", line).strip() for line in ran.out.splitlines()]
    for line in (
        f"place {run.local}",
        "status Complete",
        f"id {run.id}",
        "labels a, b",
        "description two",
        "lines",
        "Hyperparameters",
        "lr 0.1",
        "opt.name sgd",
        "Metrics",
        "train loss 3 nan 3 ↓ 0.25 2",
        "test accuracy 1 0.75 3 ↑ 0.75 3",
        "Inputs",
    ):
        assert line in lines
    assert any(line.startswith("Artifact data data_") for line in lines)
    assert "Platform" in lines
    assert "Outputs" not in lines


def test_an_artifact_is_shown_with_its_objects(em: Em) -> None:
    artifact = make_artifact(files={f"part/{number:02}": b"x" * number for number in range(1, 26)})
    artifact.add_reference("file:///nowhere/big.tar")
    artifact.add_reference("s3://bucket/other")
    ran = em("show", artifact.local)
    assert "Objects: 27, 325 B\n" in ran.out
    assert re.search(r"\n +7 B  part/07", ran.out)
    assert "  ... and 7 more; --all shows them\n" in ran.out
    everything = em("show", "--all", artifact.local).out
    assert re.search(r"\n +\?  other  -> s3://bucket/other", everything)
    assert "more; --all" not in everything


def test_an_empty_artifact_has_no_objects(em: Em) -> None:
    assert "Objects: 0, 0 B\n" in em("show", em_.create_artifact("empty").local).out


def test_json_of_a_run(em: Em) -> None:
    run = make_run(values=(math.nan,))
    shown = em("show", "--json", run.local).json
    assert (shown["place"], shown["kind"], shown["metadata"]["name"]) == (run.local, "Run", "cnn")
    assert shown["hparams"] == {"lr": 0.1, "opt": {"name": "sgd"}}
    assert shown["metrics"][0] == {
        "type": "train",
        "metric": "loss",
        "count": 1,
        "last": {"value": "NaN", "step": 1, "epoch": 1},
        "best": None,
        "best_is": "lowest",
    }
    assert shown["platform"]["python"]
    assert (shown["problems"], shown["recovered"], shown["history"]) == ([], [], [])


def test_a_run_without_metrics_has_no_table_of_them(em: Em) -> None:
    with em_.create_run() as run:
        pass
    assert "Metrics" not in em("show", run.local).out


class TestInABackend:
    def test_a_run_with_its_lineage_and_versions(self, em: Em, logged_in: str) -> None:
        run = make_run()
        run.mark_output(make_artifact())
        em_.login(logged_in)
        run.upload("mnist", make_folder=True)
        ran = em("show", "mnist/cnn")
        assert ran.code == 0
        out = re.sub(" +", " ", ran.out)
        assert f"\n place {logged_in}#/alice/mnist/cnn@1\n" in out
        assert f"\nOutputs\n Artifact model {logged_in}#/alice/mnist/model@1" in out
        assert "\n train loss 2 0.25 2 ↓ 0.25 2\n" in out
        assert "\nVersions\nVersion State Modified Files Size By\n @1 Complete" in out
        assert not Path(".em/loaded").exists()
        shown = em("show", "--json", f"{logged_in}#/alice/mnist/cnn@1").json
        assert shown["versions"][0]["uri"] == f"{logged_in}#/alice/mnist/cnn@1"
        assert shown["metrics"][0]["last"] == {"value": 0.25, "step": 2, "epoch": 2}
        assert "\nHistory\n upload " in re.sub(" +", " ", em("show", run.local).out)

    def test_an_artifact_without_fetching_its_objects(self, em: Em, logged_in: str, tmp_path: Path) -> None:
        artifact = make_artifact()
        em_.login(logged_in)
        artifact.upload()
        for data in (tmp_path / "store").rglob("weights.bin"):
            data.unlink()
        shown = em("show", "--json", "default/model").json
        assert [data["key"] for data in shown["objects"]] == ["weights.bin"]
        assert shown["problems"] == []

    def test_a_folder_is_for_ls(self, em: Em, logged_in: str) -> None:
        ran = em("show", "/alice/default")
        assert ran.code == 1
        assert ran.err.endswith("is a folder; em ls lists what is in it\n")

    def test_what_is_nowhere(self, em: Em, logged_in: str) -> None:
        assert "there is no /alice/nothing" in em("show", "nothing").err

    @pytest.mark.parametrize("way", ["missing", "changed"])
    def test_a_damaged_node_is_shown_as_far_as_it_can_be_read(
        self, em: Em, logged_in: str, tmp_path: Path, way: str
    ) -> None:
        em_.login(logged_in)
        make_run().upload()
        (damaged,) = (tmp_path / "store").rglob("train.yaml")
        if way == "missing":
            damaged.unlink()
        else:
            damaged.write_bytes(b"x" * damaged.stat().st_size)
        ran = em("show", "default/cnn")
        assert ran.code == 1
        assert "damaged: " in ran.out
        assert "train.yaml" in ran.out
        assert "lr" in ran.out
        assert re.search("test +accuracy", ran.out)
        (problem,) = em("show", "--json", "default/cnn").json["problems"]
        assert "train.yaml" in problem

    def test_damage_that_was_uploaded_is_told_with_its_place(self, em: Em, logged_in: str) -> None:
        em_.login(logged_in)
        run = make_run()
        with Path(run.local, "metrics/train.yaml").open("ab") as file:
            file.write(b"- {broken}\n")
        Path(run.local, "git.yaml").write_bytes(b"{broken")
        run.upload()
        ran = em("show", "default/cnn")
        assert ran.code == 1
        place = f"{logged_in}#/alice/default/cnn@1: "
        assert f"recovered: {place}metrics/train.yaml: left out line 3" in ran.out
        assert f"damaged: git information {place}git.yaml" in ran.out

    @pytest.mark.long
    def test_a_list_of_files_that_is_hostile(self, em: Em, logged_in: str, tmp_path: Path) -> None:
        em_.login(logged_in)
        make_artifact(files={f"{number:04}" * 20: b"" for number in range(1500)}).upload()
        (manifest,) = (tmp_path / "store").rglob("manifest-*.json.gz")
        manifest.write_bytes(b"\x1f\x8b")
        ran = em("show", "default/model")
        assert ran.code == 1
        assert "description  what it is" in ran.out
        assert "damaged: " in ran.out

    def test_a_record_that_cannot_be_read_is_a_clear_error(self, em: Em, logged_in: str, tmp_path: Path) -> None:
        em_.login(logged_in)
        make_run().upload()
        for head in (tmp_path / "store/alice/default/.em/h").rglob("*.json"):
            head.write_bytes(b"{}")
        ran = em("show", "default/cnn")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("em: ")


class TestDamagedLocally:
    def test_metadata_that_is_no_yaml(self, em: Em) -> None:
        run, artifact = make_run(), make_artifact()
        for node in (run, artifact):
            Path(node.local, "metadata.yaml").write_bytes(b"{broken")
        ran = em("show", run.local)
        assert ran.code == 1
        assert f"Run {Path(run.local).name}\ndamaged: metadata {run.local}/metadata.yaml" in ran.out
        assert re.search(r"train +loss +2", ran.out)
        ran = em("show", artifact.local)
        assert ran.code == 1
        assert "weights.bin" in ran.out

    def test_metadata_of_something_else(self, em: Em) -> None:
        run = make_run()
        Path(run.local, "metadata.yaml").write_text("type: [1]\nassociations: 3\nlabels: {a: 1}\n")
        ran = em("show", run.local)
        assert ran.code == 1
        assert "does not say whether this is a run or an artifact" in ran.out

    def test_any_other_file(self, em: Em) -> None:
        run = make_run()
        for name in ("hyperparameters.yaml", "index.yaml", "platform.yaml"):
            Path(run.local, name).write_bytes(b"- 1")
        Path(run.local, ".em").mkdir(exist_ok=True)
        Path(run.local, ".em/state.yaml").write_bytes(b"\x00")
        shown = em("show", "--json", run.local)
        assert shown.code == 1
        problems = shown.json["problems"]
        for name in ("hyperparameters.yaml", "index.yaml", "platform.yaml", "state.yaml"):
            assert any(name in problem for problem in problems)

    def test_a_torn_tail_is_recovered_and_said(self, em: Em) -> None:
        run = make_run()
        with Path(run.local, "metrics/train.yaml").open("ab") as file:
            file.write(b'- {"value": {"lo')
        ran = em("show", run.local)
        assert (ran.code, ran.err) == (0, "")
        assert re.search(r"recovered: .*train.yaml: left out line 3", ran.out)


def test_what_could_not_be_found_out_is_left_out(em: Em) -> None:
    run = make_run()
    Path(run.local, "packages.txt").unlink()
    Path(run.local, "platform.yaml").write_text("packages: {}\nentry_point: null\nargv: []\npython: '3'\ngpus: 0\n")
    Path(run.local, "git.yaml").write_text("dirty: true\nbare: false\n")
    Path(run.local, "hyperparameters.yaml").write_text("dropout: null\nshuffle: true\n")
    out = em("show", run.local).out
    assert "Platform\n  python  3\n  gpus    0\n\nGit\n  dirty  yes\n  bare   no\n" in out
    assert "  dropout  None\n  shuffle  True\n" in out
    Path(run.local, "platform.yaml").write_text("packages: {}\n")
    assert "Platform" not in em("show", run.local).out


def test_a_narrow_terminal_breaks_lines_between_words_only(em: Em, store: str, terminal: None) -> None:
    artifact = make_artifact("data")
    with em_.create_run(name="cnn", description="many words " * 20) as run:
        run.mark_input(artifact)
    folder = "very/long/" * 10
    run.upload(f"{store}#{folder}", make_folder=True)
    lines = re.sub("\x1b\\[[0-9;]*m", "", em("show", f"{store}#{folder}cnn").out).splitlines()
    assert any(line.strip() == f"{store}#/alice/{folder}data@1" for line in lines)
    assert f"  place        {store}#/alice/{folder}cnn@1" in lines
    words = [line for line in lines if "many words" in line]
    assert len(words) > 1
    assert max(map(len, words)) <= 80
    assert all(line == line.rstrip() for line in words)


def test_hostile_metadata_does_not_reach_the_terminal(em: Em, terminal: None) -> None:
    evil = "\x1b]0;evil\x07[red]x"
    directory = Path(".em/runs/x")
    (directory / "metrics").mkdir(parents=True)
    record = {"type": evil, "name": evil, "uri": evil, "path": evil, "generation": evil}
    metadata = {
        "type": "Run",
        "name": evil,
        "id": evil,
        "status": evil,
        "description": f"{evil}\n{evil}",
        "labels": [evil],
        "start_timestamp": evil,
        "end_timestamp": evil,
        "associations": {"input": [record, 3, {}], "output": "x"},
    }
    (directory / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    (directory / "hyperparameters.yaml").write_text(yaml.safe_dump({evil: {evil: evil}}))
    (directory / ".em").mkdir()
    (directory / ".em/state.yaml").write_text(yaml.safe_dump({"remote": [record | {"action": evil}, 3]}))
    line = '- {"value": {"\\u001b]0;evil": 1}, "sequence": {"step": 1}}\n'
    (directory / "metrics/train.yaml").write_text(line)
    for options in ([], ["--json"]):
        ran = em("show", directory, *options)
        assert ran.code == 0
        assert "\x1b]0" not in ran.out
        assert "\x07" not in ran.out
        assert "[red]x" in ran.out


class TestWhatWasRecorded:
    def test_the_command_can_be_copied_and_gpus_of_a_kind_are_counted(self, em: Em):
        run = em_.Run({"name": "a"})
        gpu = {"name": "A100", "memory_bytes": 80 * 10**9}
        recorded = {"command": ["python", "a b.py"], "memory_bytes": 64 * 10**9, "gpus": [gpu, gpu, {"name": "T4"}]}
        layout.write_mapping(Below(run.local, "platform.yaml"), recorded)
        out = em("show", run.local).out
        assert "  command  python 'a b.py'\n" in out
        assert "  gpus     2 x A100, 80.0 GB, 1 x T4\n" in out
        assert "  memory   64.0 GB\n" in out
        assert json.loads(em("show", run.local, "--json").out)["platform"] == recorded

    def test_long_files_are_named_here_and_in_a_backend(self, em: Em):
        run = em_.Run({"name": "a"})
        Path(run.local, "packages.txt").write_text("a==1\n")
        Path(run.local, "diff.patch").write_text("# Changes\n")
        layout.write_mapping(Below(run.local, "git.yaml"), {"untracked": ["a b", "c"]})
        run.upload("memory://recorded#x", make_folder=True)
        for place in (run.local, f"memory://recorded#{run.remote[-1]['path']}"):
            out = em("show", place).out
            assert "Platform\n  all packages  packages.txt, 5 B\n" in out
            assert "Git\n  untracked  a b, c\n  changes    diff.patch, 10 B\n" in out
            files = json.loads(em("show", place, "--json").out)["files"]
            assert files == {"packages.txt": 5, "diff.patch": 10}
