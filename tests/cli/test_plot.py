from __future__ import annotations

import math

import pytest
from tests.cli.conftest import Em, make_run

from t9k import em as em_


def test_a_metric_is_drawn_with_what_it_is(em: Em) -> None:
    run = make_run(values=(3.0, 2.0, 1.0))
    ran = em("plot", run.local, "-m", "loss")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "loss"
    assert "┌──" in lines[1]
    assert any("⠉" <= character <= "⣿" for character in ran.out)
    assert "step" in ran.out
    assert lines[-2].split() == ["──", "train"]
    assert max(map(len, lines)) <= 80


def test_every_metric_has_a_diagram_up_to_four(em: Em) -> None:
    with em_.create_run() as run:
        run.log("train", dict.fromkeys("abcdef", 1.0), step=1)
    ran = em("plot", run.local)
    assert [line for line in ran.out.splitlines() if line in list("abcdef")] == list("abcd")
    assert ran.err == "2 more metrics: e, f; choose with -m\n"
    assert em("plot", run.local, "-m", "e", "-m", "f").out.startswith("e\n")


def test_several_runs_are_overlaid_and_told_apart_without_color(em: Em, store: str) -> None:
    one, two = make_run("one", (3.0, 1.0)), make_run("two", (2.0, 2.5))
    two.upload(f"{store}#default")
    out = em("plot", "-m", "loss", one.local, f"{store}#default/two").out
    assert out.count("┌") == 1
    first, second = out.rstrip().splitlines()[-2:]
    assert first.split() == ["*", "train", "one", one.local]
    assert second.split() == ["o", "train", "two", f"{store}#/alice/default/two@1"]
    assert "*" in out.rpartition("└")[0]
    assert "o" in out.rpartition("└")[0]


def test_in_a_terminal_curves_differ_by_color(em: Em, terminal: None) -> None:
    one, two = make_run("one", (3.0, 1.0)), make_run("two", (2.0, 2.5))
    out = em("plot", "-m", "loss", one.local, two.local).out
    assert "\x1b[38;5;12m" in out or "\x1b[94m" in out
    assert "\x1b[38;5;11m" in out or "\x1b[93m" in out
    assert "──\x1b[0m train  one  " in out


def test_only_some_types(em: Em) -> None:
    with em_.create_run() as run:
        for kind in ("train", "val", "other"):
            run.log(kind, {"loss": 1.0}, step=1)
    curves = em("plot", run.local, "--type", "validation", "--type", "other", "--json").json
    assert [curve["type"] for curve in curves] == ["val", "other"]


@pytest.mark.parametrize(
    "values", [(1.0,), (2.0, 2.0), (0.0, 1e-300), (-1e299, 1e299), (1e9, 1e9 + 1), (math.nan, 1.0, math.nan)]
)
def test_odd_values_can_be_drawn(em: Em, values: tuple[float, ...]) -> None:
    ran = em("plot", "-m", "loss", make_run(values=values).local)
    assert ran.code == 0
    assert "┌" in ran.out


def test_what_is_not_finite_leaves_a_gap_and_is_counted(em: Em) -> None:
    run = make_run(values=(1.0, math.nan, math.inf, 2.0))
    assert "train  (2 values not finite)\n" in em("plot", "-m", "loss", run.local).out
    ran = em("plot", "-m", "loss", make_run(values=(math.nan,)).local)
    assert ran.out == "loss\n  no value that can be drawn\n  ── train  (1 value not finite)\n\n"


def test_json_gives_the_points(em: Em) -> None:
    run = make_run(values=(1.0, math.nan, -math.inf))
    (curve,) = em("plot", "-m", "loss", "--json", run.local).json
    assert curve == {
        "run": "cnn",
        "place": run.local,
        "type": "train",
        "metric": "loss",
        "points": [[1, 1.0], [2, "NaN"], [3, "-Infinity"]],
    }


def test_the_horizontal_axis_may_be_the_epoch(em: Em) -> None:
    with em_.create_run() as run:
        run.log("train", {"loss": 1.0}, step=100, epoch=1)
        run.log("train", {"other": 1.0}, step=200)
    assert [curve["points"] for curve in em("plot", run.local, "-x", "epoch", "--json").json] == [[[1, 1.0]]]
    assert "epoch" in em("plot", run.local, "-x", "epoch").out


def test_a_long_run_is_drawn(em: Em) -> None:
    assert em("plot", "-m", "loss", make_run(values=tuple(map(float, range(5000)))).local).code == 0


def test_a_metric_that_is_not_there_names_those_that_are(em: Em) -> None:
    run = make_run()
    ran = em("plot", run.local, "-m", "los")
    assert ran.code == 1
    assert ran.err == f"em: {run.local}: no such metrics; there are train/loss, test/accuracy; did you mean 'loss'?\n"
    with em_.create_run() as empty:
        pass
    assert "run.log(type, metrics, step) logs them\n" in em("plot", empty.local).err
    assert "logs them with an epoch\n" in em("plot", empty.local, "-x", "epoch").err


def test_an_artifact_has_no_metrics(em: Em) -> None:
    artifact = em_.create_artifact("a")
    ran = em("plot", artifact.local)
    assert (ran.code, ran.err) == (1, f"em: {artifact.local} is an artifact; only runs have metrics\n")


def test_damage_is_told_and_the_rest_drawn(em: Em) -> None:
    run = make_run()
    with open(f"{run.local}/metrics/train.yaml", "ab") as file:
        file.write(b"- {\n")
    ran = em("plot", run.local, "-m", "loss")
    assert ran.code == 0
    assert ran.err.startswith("em: warning: ")


def test_a_place_is_needed(em: Em) -> None:
    assert em("plot").code == 2


def test_hostile_names_do_not_reach_the_terminal(em: Em, terminal: None) -> None:
    with em_.create_run(name="x") as run:
        run.log("[red]t", {"\x1b]0;evil\x07[red]m": 1.0}, step=1)
    out = em("plot", run.local).out
    assert "\x1b]0" not in out
    assert "\x07" not in out
    assert "[red]m" in out
    assert "[red]t" in out


def test_more_runs_than_colors_are_told_apart_by_what_differs(
    em: Em, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for number in range(14):
        with em_.create_run(name="cnn", hparams={"lr": number, "same": 1}) as run:
            run.log("train", {"loss": number}, step=1)
            run.log("train", {"loss": number + 1}, step=2)
    lines = em("plot", ".em/runs/*").out.splitlines()
    legend = [line for line in lines if " train  lr=" in line]
    assert len({line.partition(" train")[0] for line in legend}) == 14, "color and sign differ"
    assert {f"  lr={number}  .em" in "".join(legend) for number in range(14)} == {True}
    assert not any("same" in line for line in legend)


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_diagram_is_as_wide_as_the_terminal(em: Em, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    run = make_run(values=(3.0, 2.0, 1.0))
    monkeypatch.setenv("COLUMNS", columns)
    lines = em("plot", run.local, "-m", "loss").out.splitlines()
    assert max(map(len, lines)) == int(columns)


def test_one_missing_metric_of_several_is_told_and_the_rest_drawn(em: Em) -> None:
    ran = em("plot", make_run().local, "-m", "loss", "-m", "acuracy")
    assert ran.code == 0
    assert ran.err == "em: warning: no run has the metric 'acuracy'; did you mean 'accuracy'?\n"
    assert ran.out.startswith("loss\n")
