from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Em


def test_without_scikit_learn_one_line_names_the_extra(em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    ran = em("demo")
    assert ran.code == 1
    assert ran.err == "em: the demo trains with scikit-learn; install it: pip install 't9k-em[demo]'\n"
    assert not Path("em-demo").exists()


class TestWithScikitLearn:
    @pytest.fixture(autouse=True)
    def _needed(self) -> None:
        pytest.importorskip("sklearn")

    def test_it_shows_what_it_made_and_what_to_try_next(self, em: Em, tmp_path: Path, terminal: None) -> None:
        ran = em("demo", "--epochs", 3)
        assert (ran.code, ran.err.count("Traceback")) == (0, 0)
        out = re.sub("\x1b\\[[0-9;]*m", "", ran.out)
        for expected in (
            "digits for 3 epochs ...",
            "epoch   3  loss",
            f"Uploaded the run, its data and its model to file://{tmp_path}/em-demo/store,",
            "loaded them back, and the loaded model has the same test accuracy: 0.",
            "Runs in the store ─",
            "learning_rate  0.003",
            "Inputs\n  Artifact  digits-data",
            "Outputs\n  Artifact  digits-model",
            "── train\n",
            "└── model.npz",
            "├── hyperparameters.yaml",
            "└── loaded/  what was loaded back\n    └── .em/ ...\n",
            f"  em ls --long 'file://{tmp_path}/em-demo/store#/alice/demo'\n",
        ):
            assert expected in out
        commands = re.findall(r"^  (em .*)$", out, re.MULTILINE)
        assert len(commands) == 5
        (directory,) = Path("em-demo/.em/runs").iterdir()
        assert f"em show {directory}" in commands

    @pytest.mark.long
    def test_again_adds_to_it(self, em: Em) -> None:
        for _ in range(3):
            assert em("demo", "--directory", "d", "--epochs", 1).code == 0
        ran = em("demo", "--directory", "d", "--epochs", 2)
        assert len(list(Path("d/.em/runs").iterdir())) == 4
        assert len(list(Path("d/.em/artifacts").glob("digits-data*"))) == 1
        table = ran.out.partition("Runs in the store")[2].splitlines()[2:6]
        assert [line.split()[:2] for line in table] == [["0", "1"], ["1", "1"], ["2", "1"], ["3", "2"]]
        assert "... and 3 more" in ran.out

    def test_a_program_that_is_not_on_the_path_is_called_by_its_own(
        self, em: Em, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr(sys, "argv", [".venv/bin/em", "demo"])
        assert "\n  .venv/bin/em demo\n" in em("demo", "--epochs", 1).out

    def test_wrong_options_are_wrong_usage(self, em: Em) -> None:
        Path("file").touch()
        assert em("demo", "--epochs", 0).code == 2
        assert em("demo", "--directory", "file").code == 2

    def test_it_keeps_what_it_makes_where_programs_keep_nothing(self, em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EM_MODE", "disabled")
        assert em("demo", "--epochs", 1).code == 0
        assert len(list(Path("em-demo/.em/runs").iterdir())) == 1
