from __future__ import annotations

import math

import pytest

from t9k.em.cli.summary import is_finite, lower_is_better, points, summarize


def entry(step: int, epoch: int | None = None, **value: float) -> dict[str, dict[str, float]]:
    return {"value": value, "sequence": {"step": step, **({} if epoch is None else {"epoch": epoch})}}


@pytest.mark.parametrize(
    "metric", ["loss", "val_loss", "crossEntropyLoss", "RMSE", "word-error-rate", "wer", "top1.err", "perplexity"]
)
def test_losses_and_errors_are_best_when_low(metric: str) -> None:
    assert lower_is_better(metric)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "auc", "bleu", "answer", "ferry", "maestro"])
def test_everything_else_is_best_when_high(metric: str) -> None:
    assert not lower_is_better(metric)


def test_last_is_by_the_order_of_logging_and_best_by_value() -> None:
    entries = [entry(3, 1, loss=0.1, acc=0.5), entry(1, 1, loss=0.3, acc=0.9), entry(2, loss=0.2)]
    loss, acc = summarize({"train": entries})
    assert loss.to_dict() == {
        "type": "train",
        "metric": "loss",
        "count": 3,
        "last": {"value": 0.2, "step": 2},
        "best": {"value": 0.1, "step": 3, "epoch": 1},
        "best_is": "lowest",
    }
    assert (acc.count, acc.last.value, acc.best and acc.best.value, acc.lower) == (2, 0.9, 0.9, False)


def test_what_is_not_finite_is_never_best() -> None:
    entries = [entry(1, a=math.nan, b=math.nan), entry(2, a=2.0, b=math.inf), entry(3, a=math.inf, b=10**400)]
    a, b = summarize({"x": entries})
    assert a.best
    assert a.best.value == 2.0
    assert b.best is None
    assert b.to_dict()["best"] is None


def test_integers_beyond_a_float_are_not_finite() -> None:
    assert not is_finite(10**400)
    assert is_finite(10**300)


def test_each_metric_keeps_its_own_points() -> None:
    assert [point.step for point in points([entry(1, a=1), entry(2, b=1), entry(3, a=1)])["a"]] == [1, 3]
