"""SIGKILL at random while processes log: no point that `log` returned from is lost, and no torn point is read.

`EM_KILL_ROUNDS` says how often. A program that has everything loaded forks two children for each round, which log to one file and
acknowledge in shared memory; one is killed, then the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = int(os.environ.get("EM_KILL_ROUNDS", "30"))
REPOSITORY = Path(__file__).parents[2]

PROGRAM = """
import ctypes, json, mmap, os, random, shutil, signal, sys, time, warnings
from pathlib import Path

from t9k import em
from t9k.em.run import Run

WORKERS = 2
shared = mmap.mmap(-1, 8 * WORKERS)  # with children
# Written in one piece: `struct.pack_into` writes zeros first, and a process may be killed before the number follows.
acknowledged = [ctypes.c_int64.from_buffer(shared, 8 * worker) for worker in range(WORKERS)]

def point(worker, step):
    name = "x" * (step * 7919 % 9000 + 1) if step % 8 == 0 else "x"  # some lines take several pages
    return {"worker": worker, name: step / 7}

def log_for_ever(run, worker):
    step = 0
    while True:
        run.log("train", point(worker, step), step=step, epoch=worker)
        step += 1
        acknowledged[worker].value = step

def told(worker):
    return acknowledged[worker].value

def start(run, worker):
    acknowledged[worker].value = 0
    child = os.fork()
    if not child:
        log_for_ever(run, worker)
    return child

def read(directory):
    "Whether a line was left out, and what is wrong with those that were read."
    wrong, steps = [], [[] for _ in range(WORKERS)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        entries = em.load_run(directory).metrics["train"]
    for entry in entries:
        worker, step = entry["sequence"]["epoch"], entry["sequence"]["step"]
        steps[worker].append(step)
        if entry["value"] != point(worker, step):
            wrong.append(f"torn: {worker} {step}")
    for worker, found in enumerate(steps):
        if found != list(range(len(found))):
            wrong.append(f"{worker} has holes")
        if not told(worker) <= len(found) <= told(worker) + 1:
            wrong.append(f"{worker} logged {told(worker)}, of which {len(found)} are left")
    return bool(caught), wrong

def play(number, chance):
    run = Run({"name": f"r{number}"})
    children = [start(run, worker) for worker in range(WORKERS)]
    while not all(map(told, range(WORKERS))):
        time.sleep(0.0005)
    for child in chance.sample(children, WORKERS):
        time.sleep(chance.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    has_piece, wrong = read(run.local)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = em.load_run(run.local)
        again.log("train", {"x": 1}, step=-1)  # repairs the file
        again.finish()
        if again.metrics["train"][-1]["sequence"]["step"] != -1:
            wrong.append("the run does not go on")
    logged = sum(map(told, range(WORKERS)))
    shutil.rmtree(run.local)
    return {"logged": logged, "piece": has_piece, "wrong": wrong}

seed = int(sys.argv[2])
chance = random.Random(seed)
for number in range(int(sys.argv[1])):
    print(json.dumps(play(number, chance)), flush=True)
"""


@pytest.mark.long
@pytest.mark.timeout(60 + 2 * ROUNDS)
def test_nothing_that_was_logged_is_lost_and_nothing_torn_is_read():
    seed = int.from_bytes(os.urandom(4), "little")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROUNDS), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    rounds = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(rounds) == ROUNDS
    assert [(number, one["wrong"]) for number, one in enumerate(rounds) if one["wrong"]] == [], f"seed {seed}"
    assert all(one["logged"] for one in rounds)
    points, pieces = sum(one["logged"] for one in rounds), sum(one["piece"] for one in rounds)
    print(f"{ROUNDS} rounds, {points} points, {pieces} rounds that left a piece of a line")  # noqa: T201 - for who runs many
