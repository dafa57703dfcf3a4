"""Many runs that are uploaded while they go on, through a proxy that misbehaves at random: are all equal in the end?

    python benchmarks/soak.py --runs 100 --seconds 600

The proxy stands before an AIStore server on a directory. It loses requests and answers, resets connections, cuts answers
off and delays. The runs log at random moments, change hyperparameters and mark artifacts; every tenth is killed and
finished by `em upload`. What the server has in the end is compared with the local files, byte by byte.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.services.aistore import aistore
from tests.services.proxy import FATES, STALLED, Proxy

from t9k import em
from t9k.em import session

FOLDER = "soak"
KILLED_EVERY = 10
FINISH_S = 300


def train(number: int, url: str, key: str, home: Path, seconds: float) -> None:
    """One run, in a process of its own."""
    chance = random.Random(number)
    home.mkdir(parents=True)
    os.chdir(home)
    os.environ["T9K_CONFIG"] = str(home / "config.yaml")
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - to the end of the process
    warnings.simplefilter("ignore")
    until = time.monotonic() + seconds
    while True:
        try:
            em.login(url, api_key=key, timeout=10)
            break
        except RuntimeError:
            time.sleep(1)
    run = em.create_run(
        name=f"run{number:03d}", hparams={"n": number}, auto_upload=True, folder=FOLDER, make_folder=True
    )
    step = 0
    while time.monotonic() < until:
        for _ in range(chance.randrange(1, 200)):
            run.log(chance.choice(["train", "val"]), {"loss": chance.random(), "lr": 1e-3}, step=step)
            step += 1
        print(f"step {step}")
        if chance.random() < 0.02:
            run.hparams["n"] = step
        if chance.random() < 0.01:
            Path("weights").write_bytes(chance.randbytes(100_000))
            artifact = em.create_artifact(name=f"weights{number:03d}_{step}")
            artifact.add_file("weights")
            run.mark_output(artifact)
        time.sleep(chance.random() * 2)
    if number % KILLED_EVERY == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish(timeout=FINISH_S)


def compare(number: int, home: Path) -> str:
    """What is wrong with one run; '' for nothing."""
    (directory,) = (home / ".em/runs").iterdir()
    local = em.load_run(str(directory))
    there = em.load_run(f"{FOLDER}/run{number:03d}")
    if there.id != local.id:
        return "another run has its name"
    wrong = [
        path.name
        for path in (directory / "metrics").iterdir()
        if path.read_bytes() != (there.directory / "metrics" / path.name).read_bytes()
    ]
    if wrong:
        return f"{', '.join(wrong)} differ"
    if dict(there.hparams) != dict(local.hparams) or there.status != local.status:
        return "hyperparameters or status differ"
    outputs = {record["id"] for record in there.associations["output"]}
    return "" if outputs == {record["id"] for record in local.associations["output"]} else "outputs differ"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--trouble", type=float, default=0.05, help="share of requests that go wrong")
    options = parser.parse_args()
    chance = random.Random(1)
    fates = [fate for fate in FATES if fate != STALLED]
    counts: Counter[str] = Counter()

    def fate(_: object) -> str:
        chosen = chance.choice(fates) if chance.random() < options.trouble else ""
        counts[chosen or "answered"] += 1
        return chosen

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with aistore(work / "server") as server, Proxy(f"127.0.0.1:{server.settings['port']}", delay_s=0.005) as proxy:
            alice = server.someone()
            url = f"http://{proxy.address}"
            proxy.fate = fate
            context = multiprocessing.get_context("spawn")
            children = [
                context.Process(target=train, args=(number, url, alice.key, work / f"home{number}", options.seconds))
                for number in range(options.runs)
            ]
            began = time.monotonic()
            for child in children:
                child.start()
            for child in children:
                child.join()
            print(f"trained for {time.monotonic() - began:.0f} s; requests: {dict(counts)}", flush=True)
            proxy.forget()
            os.chdir(work)
            em.login(server.url, api_key=alice.key)
            for number in range(0, options.runs, KILLED_EVERY):
                em.upload(str(work / f"home{number}/.em/runs"), folder=FOLDER)
            unfinished = [number for number, child in enumerate(children) if child.exitcode and number % KILLED_EVERY]
            faults = {number: compare(number, work / f"home{number}") for number in range(options.runs)}
            names = [node.name for node in session.current().list(f"/{alice.name}/{FOLDER}") if node.kind == "Run"]
            faults = {number: fault for number, fault in faults.items() if fault}
    print(f"runs {options.runs}, there {len(names)}, once each {len(set(names)) == len(names) == options.runs}")
    print(f"ended badly: {unfinished or 'none'}; differ: {faults or 'none'}")
    return 1 if faults or unfinished or len(names) != options.runs else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
