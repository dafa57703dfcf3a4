from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from t9k import em
from t9k.em.cli import demo_training
from t9k.em.errors import CorruptData, MissingExtra


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match="t9k-em\\[demo\\]"):
        demo_training.demonstrate(Path("here"))
    assert not Path("here").exists()


class TestWithScikitLearn:
    @pytest.fixture(autouse=True)
    def _needed(self) -> None:
        pytest.importorskip("sklearn")

    def test_the_run_comes_back_whole(self) -> None:
        result = demo_training.demonstrate(Path("here"), epochs=5)
        run = result.run
        assert (run.name, run.status, run.hparams.epochs) == ("digits-mlp", "Complete", 5)
        assert {kind: len(entries) for kind, entries in run.metrics.items()} == {"train": 5, "val": 5, "test": 1}
        assert run.metrics["val"][-1]["value"]["loss"] < run.metrics["val"][0]["value"]["loss"]
        assert result.accuracy == result.reproduced > 0.5
        assert run.platform["python"]
        assert "epoch   5" in Path(run.local, "stdout.log").read_text()
        assert result.trained_in.is_relative_to("here/.em/runs")
        assert Path(run.local).is_relative_to(Path("here/loaded").absolute())
        assert (result.folder, result.path) == ("/alice/demo", "/alice/demo/digits-mlp")

    def test_its_data_and_model_are_its_input_and_output(self) -> None:
        run = demo_training.demonstrate(Path("here"), epochs=1).run
        (data,), (model,) = run.associations["input"], run.associations["output"]
        assert (data["name"], data["path"]) == ("digits-data", "/alice/demo/digits-data")
        assert (model["name"], model["path"]) == ("digits-model", "/alice/demo/digits-model")
        loaded = em.load_artifact(f"{data['uri']}#{data['path']}")
        assert [each["key"] for each in loaded.objects] == ["test.csv", "train.csv", "val.csv"]
        lines = Path(loaded.get("test.csv")).read_text().splitlines()
        assert (len(lines), len(lines[0].split(","))) == (360, 65)

    def test_again_uses_the_same_data_and_another_seed(self) -> None:
        first, second = (
            demo_training.demonstrate(Path("here"), epochs=1),
            demo_training.demonstrate(Path("here"), epochs=1),
        )
        assert (first.run.hparams.seed, second.run.hparams.seed) == (0, 1)
        assert first.run.associations["input"][0]["id"] == second.run.associations["input"][0]["id"]
        assert second.path == f"/alice/demo/{second.run.alternative_name}"

    def test_the_environment_is_as_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EM_RUN_PARENT_DIR", "mine")
        demo_training.demonstrate(Path("here"), epochs=1)
        assert os.environ["EM_RUN_PARENT_DIR"] == "mine"
        assert "EM_ARTIFACT_PARENT_DIR" not in os.environ
        assert not Path("mine").exists()

    def test_another_accuracy_than_before_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(demo_training, "_accuracy", lambda *_: 0.1)
        with pytest.raises(CorruptData, match="accuracy of 0.1"):
            demo_training.demonstrate(Path("here"), epochs=1)

    def test_any_directory_will_do(self) -> None:
        assert demo_training.demonstrate(Path("a b#c%?"), epochs=1).reproduced > 0
