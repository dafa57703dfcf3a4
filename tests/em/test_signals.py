"""Signal handlers and finalizers that log, finish and set hyperparameters while their own thread does just that."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from tests.measuring import unmeasured

from t9k import em
from t9k.em.local import reentry
from t9k.em.run import Run

LIBRARY = str(Path(em.__file__).parent)


@contextmanager
def interrupted(often: Callable[[], object], *, one_in: int = 1) -> Iterator[None]:
    """Calls a function between the steps of the library's code, as signals do, but for the library's code within that call.

    Args:
        often: The function.
        one_in: At how many of them it is called, by chance that is the same each time.
    """
    chance = random.Random(1)
    is_inside = False

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal is_inside
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        frame.f_trace_opcodes = True
        if event in ("line", "opcode") and not is_inside and chance.randrange(one_in) == 0:
            is_inside = True
            try:
                often()
            finally:
                is_inside = False
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def steps(run: Run) -> Counter[int]:
    return Counter(
        entry["sequence"]["step"] for entries in em.load_run(run.local).metrics.values() for entry in entries
    )


class Logger:
    """Logs step after step, so that each is known."""

    def __init__(self, run: Run, kind: str = "train") -> None:
        self.run, self.kind, self.acknowledged = run, kind, 0

    def __call__(self) -> None:
        self.run.log(self.kind, {"loss": 0.5}, step=1_000_000 + self.acknowledged)
        self.acknowledged += 1


@pytest.mark.parametrize("kind", ["train", "new"])
def test_a_line_is_there_once_wherever_a_handler_logs_in_the_middle_of_a_log(kind):
    run = Run({"name": "r"})
    handler = Logger(run, kind)
    with interrupted(handler):
        for step in range(3):
            run.log("train", {"loss": 0.5}, step=step)
    assert handler.acknowledged > 100
    assert steps(run) == Counter([*range(3), *range(1_000_000, 1_000_000 + handler.acknowledged)])
    assert not reentry.waiting
    run.finish()


def test_the_end_of_the_run_loses_nothing_that_a_handler_logs_meanwhile():
    run = Run({"name": "r"})
    run.log("train", {"loss": 0.5}, step=0)
    handler = Logger(run)
    with interrupted(handler, one_in=1000):
        run.finish()
    assert handler.acknowledged > 1
    assert steps(run) == Counter([0, *range(1_000_000, 1_000_000 + handler.acknowledged)])
    assert em.load_run(run.local).status == "Complete"


@pytest.mark.parametrize("number", range(40))
def test_a_handler_may_finish_the_run_anywhere_in_a_log(number):
    run = Run({"name": "r"})
    run.log("train", {"loss": 0.5}, step=0)
    run._sync()
    left = number * 3

    def finish() -> None:
        nonlocal left
        left -= 1
        if left == -1:
            run.finish(status="Preempted")

    with interrupted(finish):
        run.log("train", {"loss": 0.5}, step=1)
    assert steps(run) == Counter([0, 1])
    assert em.load_run(run.local).status == "Preempted"


def test_hyperparameters_that_a_handler_sets_are_on_the_disk_in_the_end():
    run = Run({"name": "r"}, hparams={"a": 0})
    count = 0

    def change() -> None:
        nonlocal count
        if count < 8:  # each makes a save, which is interrupted in turn
            run.hparams[f"h{count}"] = count
            count += 1

    with interrupted(change, one_in=1000):
        for number in range(3):
            run.hparams["a"] = number
    kept = yaml.safe_load((Path(run.local) / "hyperparameters.yaml").read_text())
    assert count > 1
    assert kept == {"a": 2, **{f"h{number}": number for number in range(count)}}
    run.finish()


def test_finalizers_that_log_while_their_thread_logs():
    run = Run({"name": "r"})
    logger = Logger(run)

    class Finalized:
        def __del__(self) -> None:
            logger()

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for step in range(300):
            cycle: list[Any] = [Finalized()]
            cycle.append(cycle)
            del cycle
            run.log(f"type {step % 50}", {"loss": 0.5}, step=step)
        gc.collect()
    finally:
        gc.set_threshold(*before)
    assert steps(run) == Counter([*range(300), *range(1_000_000, 1_000_300)])
    run.finish()


@pytest.mark.parametrize(
    "main", ["run.log('train', {'loss': 0.5}, step=step)", "print('line', step)", "run.hparams['a'] = step"]
)
def test_real_signals_every_half_millisecond(main):
    program = f"""
import itertools, signal, threading
from t9k import em
run = em.create_run(name="r")
other = em.create_run(name="other")
numbers = itertools.count()  # a handler may be interrupted by the next signal
done = 0
def handler(*_):
    global done
    done = number = next(numbers)
    run.log("train", {{"loss": 1.0}}, step=1_000_000 + number)
    other.log(f"type {{number % 20}}", {{"loss": 1.0}}, step=number)
signal.signal(signal.SIGALRM, handler)
def beside():
    for number in range(2000):
        run.log("beside", {{"loss": 1.0}}, step=2_000_000 + number)
thread = threading.Thread(target=beside)
thread.start()
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
step = 0
while done < 300:
    {main}
    step += 1
signal.setitimer(signal.ITIMER_REAL, 0)
thread.join()
run.finish()
other.finish()
with open("counts", "w") as file:
    file.write(f"{{next(numbers)}} {{step}} {{run.local}} {{other.local}}")
"""
    subprocess.run([sys.executable, "-c", program], timeout=120, check=True, capture_output=True, env=unmeasured())
    done, count, local, other = Path("counts").read_text().split()
    logged = range(int(count)) if "log" in main else ()
    expected = Counter([*logged, *range(1_000_000, 1_000_000 + int(done)), *range(2_000_000, 2_002_000)])
    assert steps(em.load_run(local)) == expected
    assert steps(em.load_run(other)) == Counter(range(int(done)))
    if "print" in main:
        assert (
            f"line {int(count) - 1}\n"
            in (Path(local) / "stdout.log").read_text() + (Path(other) / "stdout.log").read_text()
        )


def test_a_handler_that_raises_loses_no_line_that_was_logged_before():
    run = Run({"name": "r"})
    logged = 0

    def handler() -> None:
        nonlocal logged
        run.log("train", {"loss": 0.5}, step=logged)
        logged += 1
        raise InterruptedError

    for _ in range(20):
        with pytest.raises(InterruptedError), interrupted(handler, one_in=7):
            run.log("train", {"loss": 0.5}, step=1_000_000)
    run.log("train", {"loss": 0.5}, step=logged)
    found = steps(run)
    assert all(found[step] == 1 for step in range(logged + 1))
    run.finish()


def test_threads_that_finish_while_a_handler_finishes():
    run = Run({"name": "r"})
    threads = [threading.Thread(target=run.finish) for _ in range(4)]
    left = [3]
    with interrupted(lambda: left and left.pop() and run.finish(), one_in=1000):
        for thread in threads:
            thread.start()
        run.finish()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert em.load_run(run.local).status == "Complete"
