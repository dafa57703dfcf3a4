from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import make_artifact, make_run

from t9k.em.cli.views import look_at
from t9k.em.errors import InvalidInput, NotFound


def test_nothing_is_changed_in_a_local_directory() -> None:
    run = make_run()
    before = {path: path.stat().st_mtime_ns for path in Path(run.local).rglob("*")}
    view = look_at(run.local)
    assert (view.name, view.kind, view.problems, view.node) == ("cnn", "Run", [], None)
    assert {path: path.stat().st_mtime_ns for path in Path(run.local).rglob("*")} == before


def test_types_come_in_the_order_of_a_training() -> None:
    from t9k import em

    with em.create_run() as run:
        for kind in ("zeta", "test", "alpha", "val", "train"):
            run.log(kind, {"x": 1}, step=1)
    assert list(look_at(run.local).metrics) == ["train", "val", "test", "alpha", "zeta"]


def test_only_the_metrics_of_a_remote_run(store: str) -> None:
    make_run().upload(f"{store}#default")
    view = look_at(f"{store}#default/cnn", only_metrics=True)
    assert view.metrics["train"][0]["value"] == {"loss": 0.5}
    assert view.hparams == {"lr": 0.1, "opt": {"name": "sgd"}}, "they tell several runs apart"
    assert (view.platform, view.versions, view.problems) == ({}, [], [])
    assert view.place == f"{store}#/alice/default/cnn@1"


def test_a_version_that_is_not_there(store: str) -> None:
    make_artifact().upload(f"{store}#default")
    with pytest.raises(NotFound):
        look_at(f"{store}#default/model@2")
    with pytest.raises(InvalidInput, match="em ls lists"):
        look_at(f"{store}#default")


def test_a_hostile_index_of_a_run_is_a_problem() -> None:
    run = make_run()
    Path(run.local, "index.yaml").write_text('metrics:\n  "": metrics/train.yaml\n')
    assert any("type of metrics" in problem for problem in look_at(run.local).problems)
    Path(run.local, "index.yaml").write_text("metrics: 3\n")
    assert look_at(run.local).problems == []


def test_a_history_that_is_none_is_left_out() -> None:
    run = make_run()
    Path(run.local, ".em").mkdir(exist_ok=True)
    Path(run.local, ".em/state.yaml").write_text("remote: 3\n")
    assert look_at(run.local).history == []
