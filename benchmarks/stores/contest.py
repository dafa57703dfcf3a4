"""Measures whole processes that do the same, one after the other and again, and says how ours compares."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

MIB = 1 << 20


class Failed(Exception):
    """A command did not do what it was to do."""


@frozen(kw_only=True)
class Usage:
    """What one process took.

    Attributes:
        seconds: From its start to its end.
        cpu_s: Of all its threads.
        peak_mib: The most memory it had; Linux begins to count with what the process had that started it.
    """

    seconds: float
    cpu_s: float
    peak_mib: float


@frozen(kw_only=True)
class Job:
    """One command of a contest.

    Attributes:
        name: Whose it is.
        command: With its arguments.
        environment: All of it.
        check: Called after the first round; raises `Failed` where the command did not do its work.
        clean: Called after every round.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    check: Callable[[], None] = lambda: None
    clean: Callable[[], None] = lambda: None


@frozen(kw_only=True)
class Verdict:
    """A number, and the goal if there is one."""

    what: str
    value: float
    unit: str
    goal: str = ""
    holds: bool | None = None


Results = Mapping[str, Sequence[Usage]]
Goal = Callable[[Results, float], Verdict]  # with the scale of the counts


def run(job: Job, cwd: Path) -> Usage:
    """Runs a command to its end.

    Raises:
        Failed: Its exit code is not 0.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            job.command, env=job.environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read()[-2000:].decode(errors="replace")
            raise Failed(f"{' '.join(job.command)}\nended with {process.returncode} and said:\n{said}")
    return Usage(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss * 1024 / MIB)


def median(runs: Sequence[Usage]) -> float:
    """The median time in seconds."""
    return statistics.median(usage.seconds for usage in runs)


def at_most(limit: float, *names: str) -> Goal:
    """Ours, the first of the results, takes at most so many times as long as the best of some peers."""

    def judge(results: Results, _: float) -> Verdict:
        ours = next(iter(results))
        best = min(names, key=lambda name: median(results[name]))
        ratio = median(results[ours]) / median(results[best])
        return Verdict(
            what=f"{ours} / {best}", value=ratio, unit="times", goal=f"at most {limit}", holds=ratio <= limit
        )

    return judge


def at_least(limit: float, count: int) -> Goal:
    """Ours does at least so many of `count` things in a second."""

    def judge(results: Results, scale: float) -> Verdict:
        ours = next(iter(results))
        rate = count * scale / median(results[ours])
        return Verdict(what=ours, value=rate, unit="files/s", goal=f"at least {limit:,.0f}", holds=rate >= limit)

    return judge


def peak_below(limit_mib: float, name: str) -> Goal:
    """A command never takes that much memory."""

    def judge(results: Results, _: float) -> Verdict:
        peak = max(usage.peak_mib for usage in results[name])
        return Verdict(
            what=f"peak of {name}", value=peak, unit="MiB", goal=f"below {limit_mib:.0f}", holds=peak < limit_mib
        )

    return judge


def verdicts(results: Results, goals: Sequence[Goal], scale: float) -> list[Verdict]:
    """What the goals say, and the ratios to all peers that none of them is about."""
    ours, *others = results
    judged = [goal(results, scale) for goal in goals]
    known = {verdict.what for verdict in judged}
    ratios = [
        Verdict(what=f"{ours} / {name}", value=median(results[ours]) / median(results[name]), unit="times")
        for name in others
        if not (ours.startswith("em ") and name.startswith("em "))
    ]
    return [*judged, *(ratio for ratio in ratios if ratio.what not in known)]


def show(row: str, title: str, results: Results, judged: Sequence[Verdict]) -> None:
    """Prints a row."""
    print(f"\n{row}: {title}")
    for name, runs in results.items():
        times = [usage.seconds for usage in runs]
        cpu, peak = statistics.median(usage.cpu_s for usage in runs), max(usage.peak_mib for usage in runs)
        print(
            f"  {name:<36} {median(runs):8.2f} s   (min {min(times):.2f}, max {max(times):.2f})"
            f"   cpu {cpu:.2f} s   peak {peak:.0f} MiB"
        )
    for verdict in judged:
        held = {True: "holds", False: "MISSED", None: ""}[verdict.holds]
        goal = f"   (goal: {verdict.goal}: {held})" if verdict.goal else ""
        print(f"  {verdict.what:<36} {verdict.value:8.2f} {verdict.unit}{goal}", flush=True)


def as_dict(row: str, title: str, results: Results, judged: Sequence[Verdict]) -> dict[str, Any]:
    """A row for `--json`."""
    measured = {
        name: {"median_s": median(runs), "runs": [asdict(usage) for usage in runs]} for name, runs in results.items()
    }
    return {"row": row, "title": title, "measured": measured, "verdicts": [asdict(verdict) for verdict in judged]}
