from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
import rich.progress
from rich.console import Console

from t9k.em.cli.progress import Bars, columns, progress, waiting
from t9k.em.transfer.progress import Silent


@pytest.fixture
def bars() -> Iterator[rich.progress.Progress]:
    made = rich.progress.Progress(console=Console(file=io.StringIO(), force_terminal=True), auto_refresh=False)
    yield made
    made.stop()


def test_a_bar_follows_one_transfer(bars: rich.progress.Progress) -> None:
    follower = Bars(bars)
    follower.start("uploading a", 3, 300)
    follower.advance(2, 200)
    (task,) = bars.tasks
    assert (task.description, task.completed, task.total, task.fields["files"]) == (
        "uploading a",
        200,
        300,
        "2/3 files",
    )


def test_a_new_plan_starts_the_bar_again(bars: rich.progress.Progress) -> None:
    follower = Bars(bars)
    follower.start("uploading a", 3, 300)
    follower.advance(2, 200)
    follower.start("uploading a", 1, 50)
    (task,) = bars.tasks
    assert (task.completed, task.total, task.fields["files"]) == (0, 50, "0/1 files")


def test_the_next_transfer_has_a_bar_of_its_own(bars: rich.progress.Progress) -> None:
    follower = Bars(bars)
    follower.start("uploading a", 3, 300)
    follower.start("uploading \x1b[31mb", 1, 50)
    (task,) = bars.tasks
    assert task.description == "uploading \\x1b[31mb"


def test_nothing_to_move_needs_no_bar(bars: rich.progress.Progress) -> None:
    follower = Bars(bars)
    follower.start("uploading a", 0, 0)
    follower.advance(0, 0)
    assert bars.tasks == []


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as follower, waiting("for it"):
        assert isinstance(follower, Silent)
    assert capsys.readouterr() == ("", "")


def test_results_stay_on_stdout_while_bars_are_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress() as follower:
        follower.start("uploading a", 1, 1)
        sys.stdout.write("result\n")
    out, err = capsys.readouterr()
    assert out == "result\n"
    assert "uploading a" in err
    assert "result" not in err


def test_a_bar_shows_files_bytes_rate_and_the_time_that_is_left() -> None:
    now_s = [0.0]
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    bars = rich.progress.Progress(*columns(), console=screen, auto_refresh=False, get_time=lambda: now_s[0])
    follower = Bars(bars)
    follower.start("uploading a", 4, 4_000_000)
    for _ in range(3):
        now_s[0] += 2
        follower.advance(1, 1_000_000)
    paper = Console(file=io.StringIO(), width=120)
    paper.print(bars.get_renderable())
    bars.stop()
    shown = paper.file.getvalue()
    assert shown.split()[-7:] == ["3/4", "files", "3.0/4.0", "MB", "500.0", "kB/s", "00:02"]
