"""What is kept of an exception."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from t9k import em
from t9k.em.ending import failure
from t9k.em.errors import InvalidInput


def failed(error: BaseException) -> em.Run:
    run = em.create_run(name="r")
    with pytest.raises(type(error)), run:
        raise error
    return run


def test_a_block_that_raises_keeps_type_message_and_traceback():
    run = failed(ValueError("too large"))
    assert run.status == "Failed"
    assert (run.error["type"], run.error["message"]) == ("ValueError", "too large")
    assert "raise error" in run.error["traceback"]
    assert yaml.safe_load(Path(run.local, "error.yaml").read_text()) == run.error
    assert Path(run.local, "stdout.log").read_text().endswith("ValueError: too large\n")


def test_a_pruned_trial_of_optuna_is_no_error():
    optuna = pytest.importorskip("optuna")
    run = failed(optuna.TrialPruned())
    assert (run.status, run.error) == ("Pruned", {})


class TestUnusual:
    def test_texts_are_cut_in_the_middle(self):
        described = failure.described(ValueError("a" * 10**6 + "end"))
        assert len(described["message"]) < 5_000
        assert len(described["traceback"]) < 45_000
        assert described["message"].endswith("end")
        assert "characters are left out" in described["message"]

    def test_an_exception_whose_text_cannot_be_made(self):
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        run = failed(Broken())
        assert run.error["message"] == "<its text could not be made: RuntimeError>"
        assert run.error["type"].endswith("Broken")

    def test_secrets_are_masked(self):
        described = failure.described(ValueError("cannot open https://me:hunter2@host/x?token=abcdefgh"))
        assert "hunter2" not in str(described)
        assert "abcdefgh" not in str(described)

    def test_text_that_is_no_unicode(self):
        assert failed(OSError("no \udcff file")).error["message"] == r"no \udcff file"


def test_a_run_that_goes_on_has_no_error_any_more():
    run = em.load_run(failed(ValueError("oh")).local)
    run.log("train", {"loss": 1}, step=1)
    assert run.error == {}
    run.finish()
    assert em.load_run(run.local).status == "Complete"


def test_the_error_is_uploaded(backend):
    run = failed(ValueError("oh"))
    run.upload()
    there = em.load_run("/alice/default/r")
    assert (there.status, there.error) == ("Failed", run.error)


class TestStatus:
    @pytest.mark.parametrize("status", ["Complete", "Failed", "Pruned", "Preempted"])
    def test_may_be_given(self, status):
        run = em.create_run(name="r")
        run.finish(status=status)
        assert em.load_run(run.local).status == status

    def test_given_later_replaces_the_first(self):
        run = em.create_run(name="r")
        run.finish()
        run.finish(status="Failed")
        run.finish()
        assert em.load_run(run.local).status == "Failed"

    @pytest.mark.parametrize(
        ("status", "advice"), [("failed", "did you mean 'Failed'"), ("Running", "must be one of"), (1, "not 1")]
    )
    def test_of_another_kind_is_refused_and_the_run_goes_on(self, status, advice):
        run = em.create_run(name="r")
        with pytest.raises(InvalidInput, match=advice):
            run.finish(status=status)
        assert em.load_run(run.local).status == "Running"
        run.finish()
