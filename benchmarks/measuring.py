"""What the benchmarks share: medians, and a line for each result."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(what: str, values: list[float], unit_s: float = 1e-3, unit: str = "ms") -> float:
    """Prints the median and the range of some times, and returns the median in seconds."""
    median = statistics.median(values)
    low, high = min(values) / unit_s, max(values) / unit_s
    print(f"{what:<58} {median / unit_s:9.1f} {unit}   ({low:.1f} to {high:.1f}, {len(values)} runs)")
    return median


def ratio(what: str, ours: float, theirs: float, limit: float) -> None:
    """Prints a ratio and whether it keeps a limit."""
    print(f"{what:<58} {ours / theirs:9.2f} times   (goal: at most {limit})")
