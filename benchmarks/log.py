"""How fast `run.log` is, what a SIGKILL leaves of it, and how fast metrics are read; beside other libraries in the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PEERS = ("trackio", "swanlab", "tensorboardX", "neptune", "aim", "wandb", "mlflow", "dvclive")
STEPS = 20_000
FEWER = {"aim": 5000, "wandb": 5000, "mlflow": 2000, "dvclive": 300}
KILLED_AFTER = 5000
LONG = 1_000_000
"""Steps of a second comparison with auto-upload: some seconds, where the first one has little but its beginning."""
PROGRAM = Path(__file__).with_name("log_peers.py")

READ = """
import json, os, resource, sys, time
from pathlib import Path
from t9k import em
from t9k.em.local import metrics

steps, way = int(sys.argv[1]), sys.argv[2]
run = em.create_run(name="bench")
run.log("train", {"loss": 0.5, "acc": 0.5}, step=0)
run.finish()
path = next(Path(run.local).glob("metrics/train.yaml"))
with path.open("wb") as file:
    for start in range(0, steps, 10000):
        file.write(b"".join(
            metrics.encode({"loss": 1 / (step + 0.1), "acc": step / 1e8}, step, None, "2023-08-17T08:05:24.390002Z")
            for step in range(start, min(start + 10000, steps))
        ))
if way == "table":
    import t9k.em.local.columns
times = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    found = run.metrics_table().num_rows if way == "table" else len(run.metrics["train"])
    times.append(time.perf_counter() - start)
    assert found == steps, found
os.unlink(path)
print(json.dumps({"seconds": times, "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def run(command: list[str], directory: Path, *, killed: bool = False) -> dict[str, float] | None:
    """The document that a program prints last, or None and a line on stderr if it fails."""
    environment = {
        **os.environ,
        "NO_COLOR": "1",
        "DVC_NO_ANALYTICS": "1",
        "WANDB_SILENT": "true",
        "PYTHONUNBUFFERED": "1",
    }
    ended = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
    )
    if killed:
        return {}
    if ended.returncode:
        print(f"{' '.join(command[-4:])} failed: {ended.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    document: dict[str, float] = json.loads(ended.stdout.strip().splitlines()[-1])
    return document


def measure(name: str, python: str, steps: int, killed_after: int) -> dict[str, float] | None:
    """One round of one library."""
    with tempfile.TemporaryDirectory() as directory:
        found = run([python, str(PROGRAM), name, "time", str(steps)], Path(directory))
    if found is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        run([python, str(PROGRAM), name, "kill", str(killed_after)], Path(directory), killed=True)
        left = run([python, str(PROGRAM), name, "count"], Path(directory))
    return found | ({"lost": killed_after - left["found"]} if left else {})


def report(results: dict[str, list[dict[str, float]]], steps: dict[str, int]) -> None:
    def median(name: str, what: str) -> float:
        return statistics.median(one[what] for one in results[name])

    floor = median("floor", "median_us")
    print(
        f"{'':14} {'steps':>6} {'median us':>10} {'p99 us':>9} {'x floor':>8} {'lost':>13} {'first s':>8} {'MiB':>6} {'bytes/step':>10}"
    )
    for name, rounds in results.items():
        lost = sorted(int(one["lost"]) for one in rounds if "lost" in one)
        span = "?" if not lost else f"{lost[0]}" if lost[0] == lost[-1] else f"{lost[0]} to {lost[-1]}"
        print(
            f"{name:14} {steps[name]:6} {median(name, 'median_us'):10.2f} {median(name, 'p99_us'):9.1f} "
            f"{median(name, 'median_us') / floor:8.2f} {span:>13} {median(name, 'first_s'):8.3f} "
            f"{median(name, 'rss_mib'):6.0f} {median(name, 'bytes_per_step'):10.0f}"
        )
    others = [median(name, "median_us") for name in results if name not in ("t9k.em", "floor")]
    ours = median("t9k.em", "median_us")
    print(
        f"\nrun.log: {ours / floor:.2f} times the floor (goal: at most 3); p99 {median('t9k.em', 'p99_us'):.1f} us (goal: under 20)"
    )
    if others:
        print(f"run.log: {ours / min(others):.2f} times the fastest peer (goal: at most 0.5)")


def report_uploading(rounds: int, steps: int) -> None:
    results: dict[str, list[dict[str, float]]] = {"t9k.em": [], "t9k.em-uploading": []}
    for _ in range(rounds):
        for name, found in results.items():
            with tempfile.TemporaryDirectory() as directory:
                one = run([sys.executable, str(PROGRAM), name, "time", str(steps)], Path(directory))
            if one is not None:
                found.append(one)
    if not all(results.values()):
        return
    for what, name in (("median_us", "median"), ("p99_us", "p99")):
        without, uploading = (statistics.median(one[what] for one in found) for found in results.values())
        print(
            f"run.log, {name} of {steps:,} steps: {without:.2f} us, with auto-upload {uploading:.2f} us, "
            f"{uploading / without:.2f} of that (goal: at most 1.20)"
        )


def report_reading(large: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rows = [
            ("run.metrics", "lines", STEPS, 15, "goal: under 50 ms"),
            ("run.metrics_table()", "table", STEPS, 15, ""),
        ]
        if large:
            rows.append(("run.metrics_table()", "table", large, 1, "goal: ten million under 20 s and 2,048 MiB"))
        for what, way, steps, repeats, goal in rows:
            found = run([sys.executable, "-c", READ, str(steps), way, str(repeats)], Path(directory))
            if found is not None:
                seconds = statistics.median(found["seconds"])  # type: ignore[arg-type]
                print(
                    f"{what} of {steps:,} steps: {seconds * 1e3:,.0f} ms, {found['rss_mib']:.0f} MiB   {goal and f'({goal})'}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers", type=Path, help="directory with an environment for each peer, such as .venv-log-peers"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PEER", help="only this peer; may be given again"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of steps")
    parser.add_argument("--large", action="store_true", help="read ten million steps too (needs 1.5 GB of disk)")
    options = parser.parse_args()

    pythons = {"t9k.em": sys.executable}
    for name in ("floor", *PEERS):
        python = options.peers / name / "bin" / "python" if options.peers else None
        if python is not None and python.exists():
            if not options.only or name in options.only or name == "floor":
                pythons[name] = str(python.absolute())
        else:
            print(f"{name} is not installed; it is left out", file=sys.stderr)
    if "floor" not in pythons:
        parser.error("the floor needs orjson: make bench-log installs it and the peers")
    steps = {name: int(FEWER.get(name, STEPS) * options.scale) for name in pythons}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    print(
        f"load of the last minute at the start: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    for _ in range(options.rounds):
        for name, python in pythons.items():
            found = measure(
                name, python, steps[name], min(KILLED_AFTER, steps[name] if name in FEWER else KILLED_AFTER)
            )
            if found is not None:
                results[name].append(found)
    report({name: rounds for name, rounds in results.items() if rounds}, steps)
    for number in (STEPS, LONG):
        report_uploading(options.rounds, int(number * options.scale))
    report_reading(10_000_000 if options.large else 0)
    print(f"load of the last minute at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
