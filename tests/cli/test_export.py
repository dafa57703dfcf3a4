"""`em export` writes the metrics of a run as CSV and Parquet, wherever the run is."""

from __future__ import annotations

import csv
import io
import math
import stat
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact, make_run

from t9k import em as em_
from t9k.em.run import Run

pq = pytest.importorskip("pyarrow.parquet")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def run() -> Run:
    return make_run(values=(0.5, math.nan))


def times(run: Run) -> list[str]:
    entries = [*run.metrics["train"], *run.metrics["test"]]
    return [str(entry["sequence"]["timestamp"]) for entry in entries]


def test_csv_goes_to_stdout(em: Em, run: Run) -> None:
    ran = em("export", run.local)
    assert (ran.code, ran.err) == (0, "")
    one, two, three = times(run)
    assert ran.out.splitlines() == [
        "type,step,epoch,timestamp,loss,accuracy",
        f"train,1,1,{one},0.5,",
        f"train,2,2,{two},nan,",
        f"test,2,,{three},,0.75",
    ]


def test_the_name_of_the_file_tells_the_format(em: Em, run: Run) -> None:
    assert em("export", run.local, "-o", "m.csv").code == 0
    assert Path("m.csv").read_text() == em("export", run.local, "--format", "csv").out
    assert em("export", run.local, "-o", "m.parquet").code == 0
    table = pq.read_table("m.parquet")
    assert table.column_names == ["type", "step", "epoch", "timestamp", "loss", "accuracy"]
    assert table["loss"].to_pylist()[0] == 0.5
    assert table["accuracy"].to_pylist() == [None, None, 0.75]
    assert table["type"].to_pylist() == ["train", "train", "test"]
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["m.csv", "m.parquet"]
    Path("new").touch()
    assert stat.S_IMODE(Path("m.csv").stat().st_mode) == stat.S_IMODE(Path("new").stat().st_mode)


def test_a_type_may_be_chosen_by_any_alias(em: Em, run: Run) -> None:
    assert [row["accuracy"] for row in rows(em("export", run.local, "--type", "evaluate").out)] == ["0.75"]
    ran = em("export", run.local, "--type", "val")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"em: {run.local} has no metrics of type 'val'; there are train, test\n"


def test_a_run_in_a_backend_is_read_there(em: Em, run: Run, logged_in: str) -> None:
    run.upload(logged_in)
    for place in ("default/cnn", f"{logged_in}#/alice/default/cnn@1"):
        assert em("export", place).out == em("export", run.local).out
    assert em("export", "default/cnn", "-o", "m.parquet").code == 0
    assert pq.read_table("m.parquet").num_rows == 3


def test_names_that_other_columns_have_get_a_prefix(em: Em) -> None:
    with em_.create_run() as run:
        run.log("train", {"step": 7, 'a,"b"': 1, "ok": True}, step=1)
    (row,) = rows(em("export", run.local).out)
    assert (row["step"], row["value.step"], row['a,"b"'], row["ok"]) == ("1", "7", "1", "1")


def test_damage_is_told_once_and_the_rest_written(em: Em, run: Run) -> None:
    with open(f"{run.local}/metrics/train.yaml", "ab") as file:
        file.write(b"- {]}\n")
    for args in ((), ("-o", "m.parquet")):
        ran = em("export", run.local, *args)
        assert ran.code == 0
        assert ran.err.count("left out line 3") == 1
    assert pq.read_table("m.parquet").num_rows == 3


def test_what_has_no_metrics_is_told(em: Em, logged_in: str) -> None:
    artifact = make_artifact()
    artifact.upload()
    for place in (artifact.local, "default/model"):
        ran = em("export", place)
        assert (ran.code, ran.err) == (1, f"em: {place} is an artifact; only runs have metrics\n")
    with em_.create_run() as empty:
        pass
    assert "has no metrics; run.log(type, metrics, step) logs them" in em("export", empty.local).err
    assert em("export", "default").code == 1
    assert em("export", "default/nothing").code == 1


def test_what_cannot_be_written_leaves_nothing(em: Em, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = em("export", run.local, "-o", "missing/m.csv")
    assert (ran.code, ran.err) == (
        1,
        "em: cannot write missing/m.csv: No such file or directory; choose another file with -o\n",
    )
    assert "say --format parquet or --format csv" in em("export", run.local, "-o", "m.xls").err
    assert "say where it goes: -o metrics.parquet" in em("export", run.local, "--format", "parquet").err
    before = sorted(Path().iterdir())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "t9k.em.local.columns", raising=False)
    ran = em("export", run.local, "-o", "m.parquet")
    assert (ran.code, ran.err) == (1, "em: tables need pyarrow; install it: pip install 't9k-em[arrow]'\n")
    assert sorted(Path().iterdir()) == before
    assert em("export", run.local, "-o", "m.csv").code == 0  # needs none


def test_it_is_a_command_of_the_program(program, run: Run) -> None:
    assert program("export", run.local).stdout.startswith("type,step,epoch,timestamp,")


def test_a_file_is_as_readable_as_any_new_one_and_a_device_is_written_to(em: Em, program, run: Run) -> None:
    Path("other").touch()
    assert em("export", run.local, "-o", "m.csv").code == 0
    assert Path("m.csv").stat().st_mode == Path("other").stat().st_mode
    ran = program("export", run.local, "--format", "csv", "-o", "/dev/stdout")
    assert ran.stdout.replace("\r", "") == Path("m.csv").read_text(encoding="utf-8")
