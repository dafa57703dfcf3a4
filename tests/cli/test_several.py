"""Several places and globs: resolved in the store, all or nothing where something is deleted, the rest goes on elsewhere."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact, make_run
from tests.cli.test_rm import answer

from t9k import em as em_


@pytest.fixture
def filled(logged_in: str) -> str:
    for name in ("cnn_1", "cnn_2", "mlp"):
        make_run(name).upload(f"{logged_in}#mnist", make_folder=True)
    make_run("cnn_3").upload(f"{logged_in}#other", make_folder=True)
    make_artifact("cnn_model").upload(f"{logged_in}#mnist")
    return logged_in


def listed(em: Em, place: str) -> list[str]:
    return em("ls", place).out.split()


class TestRm:
    def test_a_quoted_glob_is_resolved_in_the_store(self, em: Em, filled: str) -> None:
        ran = em("rm", "-y", "mnist/cnn_?")
        assert ran.code == 0
        assert ran.out == "".join(f"deleted  {filled}#/alice/mnist/cnn_{number}\n" for number in (1, 2))
        assert listed(em, "mnist") == ["cnn_model", "mlp"]

    def test_several_places_and_uris(self, em: Em, filled: str) -> None:
        assert em("rm", "-y", "mnist/mlp", f"{filled}#/alice/*/cnn_3").code == 0
        assert "mlp" not in listed(em, "mnist")
        assert listed(em, "other") == []

    def test_says_what_it_would_do_and_asks_once(self, em: Em, filled: str) -> None:
        code, shown = answer("n\n", "rm", "mnist/cnn_*")
        assert code == 1
        for name in ("Run /alice/mnist/cnn_1 (", "Run /alice/mnist/cnn_2 (", "Artifact /alice/mnist/cnn_model ("):
            assert f"the {name}" in shown
        assert "Delete these 3?" in shown
        assert len(listed(em, "mnist")) == 4

    def test_nothing_is_deleted_where_one_is_missing(self, em: Em, filled: str) -> None:
        ran = em("rm", "-y", "mnist/mlp", "mnist/mpl")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.endswith("did you mean " + f"{filled}#/alice/mnist/mlp?\n")
        assert len(listed(em, "mnist")) == 4

    def test_a_glob_that_finds_nothing_is_an_error_with_near_names(self, em: Em, filled: str) -> None:
        ran = em("rm", "-y", "mnist/cmn_*")
        assert (ran.code, ran.out) == (1, "")
        assert f"nothing in {filled} matches /alice/mnist/cmn_*; did you mean 'cnn_" in ran.err
        assert "There are cnn_1, cnn_2, cnn_model, mlp" in ran.err
        assert "did you mean" in em("rm", "-y", "mnst/cnn_*").err

    def test_a_folder_still_needs_r_and_the_others_go(self, em: Em, filled: str) -> None:
        ran = em("rm", "-y", "mnist/mlp", "othe*")
        assert ran.code == 3
        assert "delete with -r" in ran.err
        assert "mlp" not in listed(em, "mnist")
        assert em("rm", "-y", "-r", "*").code == 0
        assert listed(em, "/alice") == []


class TestShow:
    def test_several_are_shown_after_one_another(self, em: Em, filled: str) -> None:
        out = em("show", "mnist/cnn_*").out
        heads = [line for line in out.splitlines() if line.startswith(("Run ", "Artifact "))]
        assert heads == ["Run cnn_1", "Run cnn_2", "Artifact cnn_model"]
        assert [view["metadata"]["name"] for view in em("show", "--json", "mnist/cnn_1", "mnist/mlp").json] == [
            "cnn_1",
            "mlp",
        ]
        assert len(em("show", "--json", "mnist/ml*").json) == 1, "a pattern gives a list"

    def test_local_directories_come_first(self, em: Em, filled: str) -> None:
        shown = em("show", "--json", ".em/runs/cnn_*").json
        assert [view["place"].startswith(".em/runs/cnn_") or "/.em/runs/cnn_" in view["place"] for view in shown] == [
            True
        ] * 3

    def test_one_that_is_missing_does_not_stop_the_others(self, em: Em, filled: str) -> None:
        ran = em("show", "mnist/nothing", "mnist/mlp")
        assert ran.code == 3
        assert "em: mnist/nothing: there is no /alice/mnist/nothing" in ran.err
        assert "mlp" in ran.out

    def test_one_version_of_several(self, em: Em, filled: str) -> None:
        assert [view["place"][-9:] for view in em("show", "--json", "mnist/cnn_?@1").json] == ["t/cnn_1@1", "t/cnn_2@1"]


class TestDownload:
    def test_several_go_into_a_directory(self, em: Em, filled: str) -> None:
        ran = em("download", "mnist/*", "--into", "here")
        assert ran.code == 0
        assert sorted(path.name for path in Path("here").iterdir()) == ["cnn_1", "cnn_2", "cnn_model", "mlp"]
        assert Path("here/cnn_model/objects/weights.bin").exists()
        assert ran.out.count("\n") == 4

    def test_one_becomes_the_second_argument(self, em: Em, filled: str) -> None:
        assert em("download", "mnist/mlp", "copy").code == 0
        assert Path("copy/metadata.yaml").exists()
        assert em("download", "mnist/ml*", "copy2").code == 0
        ran = em("download", "mnist/cnn_*", "copy3")
        assert ran.code == 2
        assert "mnist/cnn_* stands for 3; say where they go with --into copy3" in ran.err

    def test_a_second_argument_that_is_a_node_as_well_is_not_guessed(self, em: Em, filled: str) -> None:
        ran = em("download", "mnist/mlp", "mnist/cnn_1")
        assert ran.code == 2
        assert "say ./mnist/cnn_1 for the directory, or --into DIR for both" in ran.err
        assert em("download", "mnist/mlp", "mnist/cnn_1", "--into", "both").code == 0
        assert sorted(path.name for path in Path("both").iterdir()) == ["cnn_1", "mlp"]


class TestExport:
    def test_several_runs_are_one_table_with_a_column_more(self, em: Em, filled: str) -> None:
        rows = list(csv.DictReader(io.StringIO(em("export", "mnist/cnn_?", "mnist/mlp", "--type", "train").out)))
        assert list(rows[0]) == ["run", "type", "step", "epoch", "timestamp", "loss"]
        assert [row["run"] for row in rows[::2]] == ["/alice/mnist/cnn_1", "/alice/mnist/cnn_2", "mnist/mlp"]
        assert next(iter(csv.DictReader(io.StringIO(em("export", "mnist/mlp").out)))).keys() >= {"type", "loss"}

    def test_parquet_has_the_same_rows(self, em: Em, filled: str) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        assert em("export", "mnist/cnn_?", "-o", "all.parquet").code == 0
        table = parquet.read_table("all.parquet")
        rows = list(csv.DictReader(io.StringIO(em("export", "mnist/cnn_?").out)))
        assert table.column_names == list(rows[0])
        assert table["run"].to_pylist() == [row["run"] for row in rows]
        assert [str(value) for value in table["step"].to_pylist()] == [row["step"] for row in rows]

    def test_a_metric_called_run_keeps_its_values(self, em: Em) -> None:
        for value in (1.0, 2.0):
            with em_.create_run(name="odd") as run:
                run.log("train", {"run": value}, step=1)
        rows = list(csv.DictReader(io.StringIO(em("export", ".em/runs/*").out)))
        assert sorted(row["value.run"] for row in rows) == ["1.0", "2.0"]
