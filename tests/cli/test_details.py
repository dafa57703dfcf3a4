"""What `em ls -l` shows of runs: how long they took, the hyperparameters that differ, the last metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact

from t9k import em as em_
from t9k.em.cli.details import Details, columns, duration_of


def train(count: int) -> None:
    for number in range(count):
        with em_.create_run(name="cnn", hparams={"lr": number / 10, "opt": {"name": "sgd"}}) as run:
            for step in range(3):
                run.log("train", {"loss": number + 1 / (step + 1)}, step=step)
            run.log("val", {"accuracy": number / 100}, step=3)


@pytest.mark.long
@pytest.mark.parametrize("remote", [False, True])
def test_fifty_runs_of_one_name_are_told_apart(em: Em, store: str, remote: bool) -> None:
    train(50)
    make_artifact()
    if remote:
        assert em("upload", ".em/runs", ".em/artifacts", "--folder", f"{store}#mnist", "--make-folder").code == 0
    ran = em("ls", "-l", *([f"{store}#mnist"] if remote else []))
    assert (ran.code, ran.err) == (0, "")
    header, *lines = ran.out.splitlines()
    title = ["Time", "Name"] if remote else ["Made", "Directory"]
    assert header.split() == ["Kind", "Status", title[0], "Took", "Size", "lr", "loss", "accuracy", title[1]]
    runs = [line.split() for line in lines if line.startswith("Run ")]
    assert len(runs) == 50
    by_lr = {run[-4]: run[-3:-1] for run in runs}
    assert len(by_lr) == 50
    assert by_lr["4.9"] == ["49.333", "0.49"]
    assert {run[4][-1] for run in runs} == {"s"}, "how long it took"
    assert [line.startswith("Artifact") for line in lines].count(True) == 1


def test_what_fits_the_terminal_is_shown_with_a_metric_among_it(em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
    train(3)
    monkeypatch.setenv("COLUMNS", "60")
    assert "lr" not in em("ls", "-l").out.splitlines()[0]
    many = [Details(hparams=dict.fromkeys("abcdef", number), last={("train", "loss"): number}) for number in range(2)]
    assert [column.title for column in columns(many, 100)] == [*"abcdef", "loss"]
    assert [column.title for column in columns(many, 12)] == ["a", "b", "loss"]


def test_the_same_name_in_two_types_is_told_apart() -> None:
    found = columns([Details(last={("train", "loss"): 1.0, ("val", "loss"): 2.0, ("system", "cpu"): 3.0})], 100)
    assert [(column.title, column.cells) for column in found] == [("train/loss", ("1",)), ("val/loss", ("2",))]


def test_long_and_damaged_metrics_are_read_from_their_end(em: Em) -> None:
    train(1)
    (path,) = Path(".em/runs").glob("*/metrics/train.yaml")
    line = path.read_bytes().splitlines(keepends=True)[-1]
    path.write_bytes(line * 5000 + line.replace(b'"loss":', b'"loss":7.5,"other":') + b"- {broken")
    assert " 7.5 " in em("ls", "-l").out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m 1s"), (7200, "2h 0m"), (90_061, "1d 1h")]
)
def test_durations_have_two_units(seconds: int, text: str) -> None:
    day, rest = divmod(seconds, 86_400)
    end = f"2026-01-0{day + 1}T{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}.000000Z"
    assert duration_of({"start_timestamp": "2026-01-01T00:00:00.000000Z", "end_timestamp": end}) == text
    assert duration_of({"start_timestamp": end}) == ""
    assert duration_of({"start_timestamp": "x", "end_timestamp": "y"}) == ""
