"""Logs as the quick start of each library does; a program that `log.py` runs, in the environment of that library.

`log_peers.py PEER time STEPS` measures, `log_peers.py PEER kill STEPS` kills itself after the last step, and `log_peers.py PEER count` tells
how many steps are found in the working directory. Each prints one JSON document, the last line of its output.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Log = Callable[[int, float, float], object]
HERE = Path()


class Ours:
    def start(self) -> Log:
        self.create()
        log = self.run.log
        return lambda step, loss, acc: log("train", {"loss": loss, "acc": acc}, step=step)

    def create(self) -> None:
        from t9k import em

        self.run = em.create_run(name="bench")

    def finish(self) -> None:
        self.run.finish()

    def count(self) -> int:
        from t9k import em

        (local,) = HERE.glob(".em/runs/*")
        return len({entry["sequence"]["step"] for entry in em.load_run(str(local)).metrics["train"]})


class OursUploading(Ours):
    """With auto-upload to a directory, from the first publication on."""

    def create(self) -> None:
        from t9k import em

        em.login((HERE.absolute() / "store").as_uri())
        self.run = em.create_run(name="bench", auto_upload=True, folder="bench", make_folder=True)


class Floor:
    """orjson and one write."""

    def start(self) -> Log:
        import orjson

        self.fd = fd = os.open("floor.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        dumps, write, now, newline = orjson.dumps, os.write, time.time, orjson.OPT_APPEND_NEWLINE

        def log(step: int, loss: float, acc: float) -> None:
            sequence = {"step": step, "timestamp": now()}
            write(fd, dumps({"value": {"loss": loss, "acc": acc}, "sequence": sequence}, None, newline))

        return log

    def finish(self) -> None:
        os.close(self.fd)

    def count(self) -> int:
        return len(Path("floor.jsonl").read_bytes().splitlines())


class Trackio:
    def __init__(self) -> None:
        os.environ["TRACKIO_DIR"] = str(HERE.absolute() / "trackio")

    def start(self) -> Log:
        import trackio

        self.trackio = trackio
        trackio.init(project="bench", embed=False)
        log = trackio.log
        return lambda step, loss, acc: log({"loss": loss, "acc": acc}, step=step)

    def finish(self) -> None:
        self.trackio.finish()

    def count(self) -> int:
        import sqlite3

        steps: set[int] = set()
        for path in HERE.rglob("*.db"):
            with sqlite3.connect(path) as connection:
                steps |= {row[0] for row in connection.execute("SELECT step FROM metrics")}
        return len(steps)


class SwanLab:
    def start(self) -> Log:
        import swanlab

        self.swanlab = swanlab
        swanlab.init(project="bench", mode="offline", logdir="swanlog")
        log = swanlab.log
        return lambda step, loss, acc: log({"loss": loss, "acc": acc}, step=step)

    def finish(self) -> None:
        self.swanlab.finish()

    def count(self) -> int:
        return max(0, _occurrences(b"loss", "swanlog") - 1)  # one names the column


class TensorboardX:
    def start(self) -> Log:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter("tb")
        add = self.writer.add_scalar

        def log(step: int, loss: float, acc: float) -> None:
            add("loss", loss, step)
            add("acc", acc, step)

        return log

    def finish(self) -> None:
        self.writer.close()

    def count(self) -> int:
        return sum(b"acc" in record for path in HERE.rglob("events*") for record in _tfrecords(path.read_bytes()))


class Neptune:
    def start(self) -> Log:
        import neptune

        self.run = run = neptune.init_run(mode="offline", capture_hardware_metrics=False)

        def log(step: int, loss: float, acc: float) -> None:
            run["loss"].append(loss, step=step)
            run["acc"].append(acc, step=step)

        return log

    def finish(self) -> None:
        self.run.stop()

    def count(self) -> int:
        return _occurrences(b'"acc"', ".neptune")


class Aim:
    def start(self) -> Log:
        from aim import Run

        self.run = run = Run(repo=".", system_tracking_interval=None, capture_terminal_logs=False)

        def log(step: int, loss: float, acc: float) -> None:
            run.track(loss, name="loss", step=step)
            run.track(acc, name="acc", step=step)

        return log

    def finish(self) -> None:
        self.run.close()

    def count(self) -> int:
        from aim import Repo
        from aim import Run as Opened
        from aim.storage.context import Context

        repo = Repo.from_path(".")
        (name,) = repo.list_all_runs()
        metric = Opened(name, repo=repo).get_metric("acc", Context({}))
        return 0 if metric is None else len(metric.values.sparse_list()[0])


class Wandb:
    def start(self) -> Log:
        import wandb

        self.run = wandb.init(project="bench", mode="offline")
        log = self.run.log
        return lambda step, loss, acc: log({"loss": loss, "acc": acc}, step=step)

    def finish(self) -> None:
        self.run.finish()

    def count(self) -> int:
        (path,) = HERE.rglob("*.wandb")
        return len(set(re.findall(rb"\x05_step\x82\x01.(\d+)", _log_of_leveldb(path.read_bytes()[7:]), re.DOTALL)))


class Mlflow:
    def start(self) -> Log:
        import mlflow

        self.mlflow = mlflow
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        mlflow.set_tracking_uri((HERE.absolute() / "mlruns").as_uri())
        mlflow.start_run()
        log = mlflow.log_metrics
        return lambda step, loss, acc: log({"loss": loss, "acc": acc}, step=step)

    def finish(self) -> None:
        self.mlflow.end_run()

    def count(self) -> int:
        return sum(len(path.read_bytes().splitlines()) for path in HERE.glob("mlruns/**/metrics/acc"))


class Dvclive:
    def start(self) -> Log:
        from dvclive import Live

        self.live = live = Live(save_dvc_exp=False)

        def log(_step: int, loss: float, acc: float) -> None:
            live.log_metric("loss", loss)
            live.log_metric("acc", acc)
            live.next_step()

        return log

    def finish(self) -> None:
        self.live.end()

    def count(self) -> int:
        return sum(len(path.read_bytes().splitlines()) - 1 for path in HERE.rglob("acc.tsv"))


PEERS = {
    "t9k.em": Ours,
    "t9k.em-uploading": OursUploading,
    "floor": Floor,
    "trackio": Trackio,
    "swanlab": SwanLab,
    "tensorboardX": TensorboardX,
    "neptune": Neptune,
    "aim": Aim,
    "wandb": Wandb,
    "mlflow": Mlflow,
    "dvclive": Dvclive,
}


def _occurrences(what: bytes, below: str) -> int:
    return sum(path.read_bytes().count(what) for path in Path(below).rglob("*") if path.is_file())


def _log_of_leveldb(data: bytes) -> bytes:
    """The records of a log in blocks of 32 KiB, the first of which is 7 bytes shorter, without their headers."""
    found, position = [], 0
    while position + 7 <= len(data):
        left = 32768 - (position + 7) % 32768
        if left < 7:
            position += left
            continue
        (length,) = struct.unpack_from("<H", data, position + 4)
        found.append(data[position + 7 : position + 7 + length])
        position += 7 + length
    return b"".join(found)


def _tfrecords(data: bytes) -> Iterator[bytes]:
    position = 0
    while position + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        if position + 16 + length > len(data):
            return
        yield data[position + 12 : position + 12 + length]
        position += 16 + length


def size_bytes() -> int:
    return sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())


def main() -> None:
    peer, mode = PEERS[sys.argv[1]](), sys.argv[2]
    if mode == "count":
        print(json.dumps({"found": peer.count()}))
        return
    steps = int(sys.argv[3])
    clock = time.perf_counter_ns
    begin = clock()
    log = peer.start()
    log(0, 1.0, 0.0)
    first_s = (clock() - begin) / 1e9
    times = []
    for step in range(1, steps):
        loss, acc = 1 / (step + 0.1), step / (steps + 1.7)
        start = clock()
        log(step, loss, acc)
        times.append(clock() - start)
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peer.finish()
    print()
    print(
        json.dumps(
            {
                "median_us": statistics.median(times) / 1e3,
                "p99_us": statistics.quantiles(times, n=100)[98] / 1e3,
                "first_s": first_s,
                "rss_mib": rss_mib,
                "bytes_per_step": size_bytes() / steps,
            }
        )
    )


if __name__ == "__main__":
    main()
