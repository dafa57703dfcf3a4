"""Runs that are uploaded while they go on, and die at every call of the store; a program for `run`."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.dying import REPOSITORY, DyingStore, _in_a_child

from t9k import em
from t9k.em import session
from t9k.em.live import pace, uploading

FOLDER = "/alice/live"
STEPS = 20


def train(root: Path, parent: Path, last_call: int | None) -> None:
    """Logs, marks an artifact, logs and finishes; each part waits until what came before was uploaded.

    Args:
        root: Of the backend.
        parent: Where the local directories are made.
        last_call: After which call of the store it gets SIGKILL.
    """
    pace.FIRST_S = uploading.POLL_S = 0.001
    os.environ |= {"EM_RUN_PARENT_DIR": f"{parent}/runs", "EM_ARTIFACT_PARENT_DIR": f"{parent}/artifacts"}
    em.login(str(root))
    backend = session.current()
    if last_call is not None:
        backend.store = DyingStore(backend.store, last_call)
    run = em.create_run(name="live", hparams={"lr": 0.1}, auto_upload=True, folder=FOLDER, make_folder=True)
    log(run, 0)
    (parent / "weights").write_bytes(b"weights")
    artifact = em.create_artifact("weights")
    artifact.add_file(str(parent / "weights"))
    run.mark_output(artifact)
    log(run, 1)
    run.hparams["lr"] = 0.5
    log(run, 2)
    run.finish()


def log(run: em.run.Run, part: int) -> None:
    for step in range(part * STEPS, part * STEPS + STEPS):
        run.log("train", {"loss": 1 / (step + 1)}, step=step)
    assert run._live is not None
    assert run._live.flush(30)


def send(root: Path, parent: Path) -> None:
    """What `em upload` does."""
    em.login(str(root))
    em.upload(f"{parent}/runs", folder=FOLDER, make_folder=True)


def check(root: Path, parent: Path) -> None:
    """The backend has what was logged, once."""
    os.environ |= {"EM_RUN_PARENT_DIR": f"{parent}/loaded/runs", "EM_ARTIFACT_PARENT_DIR": f"{parent}/loaded/artifacts"}
    em.login(str(root))
    (local,) = map(em.load_run, map(str, (parent / "runs").iterdir()))
    loaded = em.load_run(f"{FOLDER}/live")
    assert loaded.metrics == local.metrics, (len(loaded.metrics["train"]), len(local.metrics["train"]))
    assert loaded.metrics["train"], "something was acknowledged"
    assert (loaded.id, dict(loaded.hparams)) == (local.id, dict(local.hparams))
    names = [node.name for node in session.current().list(FOLDER)]
    # An artifact that was about to be marked goes along although the run does not say so.
    assert names == ["live", "weights"] or (names == ["live"] and not local.associations["output"]), names


def die_and_send(directory: Path, step: int) -> int:
    """Lets a run die after the first call, after the one `step` later and so on, and finishes each.

    Returns:
        How many died.
    """
    for died in itertools.count():
        root, parent = directory / f"store{died}", directory / f"local{died}"
        parent.mkdir()
        began = time.monotonic()
        ended = _in_a_child(lambda: train(root, parent, 1 + died * step))  # noqa: B023 - called here
        assert time.monotonic() - began < 60
        if ended not in (0, -signal.SIGKILL):
            raise SystemExit(f"the training ended with {ended}")
        if not any((parent / "runs").glob("*/metrics/train.yaml")):
            continue  # it died before anything was logged
        if _in_a_child(lambda: send(root, parent)) or _in_a_child(lambda: check(root, parent)):  # noqa: B023 - likewise
            raise SystemExit(f"what died after call {1 + died * step} could not be finished")
        if ended == 0:
            return died
    raise AssertionError


def run(directory: Path, step: int = 1) -> int:
    """Runs `die_and_send` as a program."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.dying_live", str(directory), str(step)],
        cwd=REPOSITORY,
        check=True,
        timeout=240,
        stdout=subprocess.PIPE,
    )
    return int(done.stdout)


if __name__ == "__main__":
    print(die_and_send(Path(sys.argv[1]), int(sys.argv[2])))  # noqa: T201 - for `run`
