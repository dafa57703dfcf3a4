from __future__ import annotations

from t9k.em.cli.differences import Told, differing, labels


def told(name: str = "cnn", start: str = "", place: str = "", **hparams: object) -> Told:
    return Told(name=name, hparams=hparams, start=start, place=place)


def test_runs_of_one_name_are_told_apart_by_the_hparams_that_differ() -> None:
    runs = [told(lr=0.1, opt={"name": "sgd"}, batch=32), told(lr=0.01, opt={"name": "sgd"}, batch=32)]
    assert labels(runs) == ["lr=0.1", "lr=0.01"]


def test_names_come_first_where_they_differ() -> None:
    assert labels([told("a", lr=1), told("b", lr=1)]) == ["a", "b"]
    assert labels([told("a", lr=1), told("b", lr=2)]) == ["a  lr=1", "b  lr=2"]


def test_what_is_alike_is_told_apart_by_its_start_and_then_by_its_place() -> None:
    first, second = labels([told(start="x", place="p"), told(start="y", place="q")])
    assert (first, second) == ("cnn  x", "cnn  y")
    assert labels([told(place="p"), told(place="q")]) == ["cnn  p", "cnn  q"]
    assert labels([told(lr=1, place="p"), told(lr=2, place="q"), told(lr=1, place="r")]) == [
        "lr=1  p",
        "lr=2",
        "lr=1  r",
    ]


def test_a_missing_hparam_is_a_difference_and_numbers_of_two_kinds_are() -> None:
    assert differing([{"a": 1, "b": 2}, {"a": 1}]) == ["b"]
    assert differing([{"a": 1}, {"a": True}]) == ["a"]
    assert differing([{"a": [1]}, {"a": [1]}]) == []


def test_long_and_hostile_values_are_short_and_harmless() -> None:
    one, two = labels([told(x="\x1b]0;evil\x07"), told(x="y" * 99)])
    assert "\x1b" not in one
    assert len(two) < 40
