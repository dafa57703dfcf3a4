"""The metrics directory of a run: a file for each type, made when it is needed, appended to from any thread."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from t9k.em.errors import InvalidMetric
from t9k.em.local import metrics
from t9k.em.local.below import Below
from t9k.em.local.metricfiles import MetricFiles


def line(step: int = 1) -> bytes:
    return metrics.encode({"x": step}, step, None, "2023-08-17T08:05:24.390002Z")


@pytest.fixture
def directory(tmp_path) -> Path:
    (tmp_path / "metrics").mkdir()
    return tmp_path / "metrics"


@pytest.fixture
def news() -> list[str]:
    return []


@pytest.fixture
def files(directory, news):
    made = MetricFiles(Below(directory.parent, directory.name), (), lambda: news.append("new"))
    yield made
    made.close()


def steps(files: MetricFiles, kind: str) -> list[int]:
    return [entry["sequence"]["step"] for entry in files.read()[kind]]


def test_a_file_is_made_and_announced_once_for_each_type(files, directory, news):
    for kind in ("train", "training", "own", "train"):
        files.append(kind, line())
    assert files.names() == {"own": "own.yaml", "train": "train.yaml"}
    assert news == ["new", "new"]
    assert stat.S_IMODE((directory / "train.yaml").stat().st_mode) == 0o600
    assert steps(files, "train") == [1, 1, 1]


def test_is_empty_without_a_directory(tmp_path):
    files = MetricFiles(Below(tmp_path, "missing"), (), lambda: None)
    assert files.names() == {}
    assert files.read() == {}


def test_a_type_too_long_for_a_file_name_is_known_from_the_index(files, directory):
    kind = "x" * 1000
    files.append(kind, line())
    [name] = [path.name for path in directory.iterdir()]
    assert MetricFiles(Below(directory.parent, directory.name), [kind], lambda: None).names() == {kind: name}
    assert MetricFiles(Below(directory.parent, directory.name), [], lambda: None).names() == {
        name.removesuffix(".yaml"): name
    }


def test_goes_on_after_it_was_closed(files):
    files.append("train", line(1))
    files.close()
    files.close()
    files.append("train", line(2))
    assert steps(files, "train") == [1, 2]


def test_an_append_that_meets_a_close_is_done_again(files, monkeypatch):
    files.append("train", line(1))
    appender = files._appenders["train"]
    real = appender.append

    def closed_meanwhile(data):
        files.close()
        real(data)

    monkeypatch.setattr(appender, "append", closed_meanwhile)
    files.append("train", line(2))
    assert steps(files, "train") == [1, 2]


def test_what_is_no_line_is_an_error_of_the_caller(files):
    with pytest.raises(ValueError, match="not a complete line"):
        files.append("train", b"no end")


@pytest.mark.parametrize("kind", ["", None, 1, ["train"], {"a": 1}, "a\nb", "\ud800"])
def test_what_is_no_type_makes_no_file(files, directory, kind):
    with pytest.raises(InvalidMetric):
        files.append(kind, line())
    assert list(directory.iterdir()) == []


def test_all_can_be_replaced(files, news):
    files.append("train", line(1))
    files.append("own", line(1))
    files.replace_all({"train": [line(2), line(3)], "eval": [line(4)], "none": []})
    assert files.names() == {"test": "test.yaml", "train": "train.yaml"}
    assert (steps(files, "train"), steps(files, "test")) == ([2, 3], [4])


def test_threads_that_begin_types_at_once_announce_each_before_the_last_is_told(directory):
    told: list[set[str]] = []
    files = MetricFiles(Below(directory.parent, directory.name), (), lambda: told.append(set(files.names())))
    start = threading.Barrier(8)

    def work(worker: int) -> None:
        start.wait()
        files.append(f"own {worker}", line())
        files.append("shared", line())

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told[-1] == set(files.names())
    assert len(told) == 9
    assert len(steps(files, "shared")) == 8
    files.close()
