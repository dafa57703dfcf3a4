"""Mirrors by several processes, and by one that is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from t9k.em import mirror, session
from t9k.em.records import FOLDER
from t9k.em.testing import make_request, read_node, upload
from t9k.em.transfer.mirroring import shards

NODES, VERSIONS, FILES = 6, 2, 20


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(shards, "MOST_NODES", 2)


@pytest.fixture
def source(tmp_path) -> str:
    uri = (tmp_path / "source").as_uri()
    for number in range(NODES):
        for version in range(VERSIONS):
            contents = {f"f/{key}": f"{number} {version * (key % 2)} {key}".encode() for key in range(FILES)}
            request = make_request(f"/alice/f{number % 2}", f"n{number}", contents, id=str(number), strategy="replace")
            upload(session.backend_at(uri), request, contents)
    return uri


@pytest.fixture
def target(tmp_path) -> str:
    return (tmp_path / "target").as_uri()


def tree(uri: str, path: str = "/") -> dict[str, object]:
    """Every version of every node, the oldest first."""
    backend = session.backend_at(uri)
    found: dict[str, object] = {}
    for node in backend.list(path):
        if node.kind == FOLDER:
            found |= tree(uri, node.path)
        else:
            versions = reversed(backend.versions(node.path))
            found[node.path] = [(version.id, read_node(backend, version)) for version in versions]
    return found


@pytest.mark.long
@pytest.mark.parametrize("killed_at", [5, 60, 130, 200])
def test_a_mirror_that_was_killed_is_finished_by_the_next_one(source, target, killed_at):
    script = "import sys; from t9k import em; sys.exit(0 if em.mirror(*sys.argv[1:]).complete else 3)"
    command = [sys.executable, "-c", script, source, target]
    root = Path(target.removeprefix("file://"))
    process = subprocess.Popen(command)
    while process.poll() is None and sum(len(names) for _, _, names in os.walk(root)) < killed_at:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for versions in tree(target).values():  # what can be seen is whole
        assert all(len(contents) == FILES for _, contents in versions)

    subprocess.run(command, check=True, timeout=60)
    assert tree(target) == tree(source)
    garbage = session.backend_at(target).collect("/", grace_s=0, keep_versions=VERSIONS).objects
    assert [found.key for found in garbage if not found.key.startswith(".em/tmp/")] == []  # all that was sent is used


class _PicklingExecutor(Executor):
    """Sends work through pickle, as to another machine, and keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def submit(self, call, /, *args, **kwargs):
        self.sent.append(pickle.dumps((call, args, kwargs)))
        future: Future = Future()
        call, args, kwargs = pickle.loads(self.sent[-1])
        future.set_result(pickle.loads(pickle.dumps(call(*args, **kwargs))))
        return future


def test_a_shard_holds_uris_and_paths_and_no_credentials(source, target):
    session.login(source, api_key="hidden-key")
    executor = _PicklingExecutor()
    assert mirror("/", target, executor=executor).complete
    assert len(executor.sent) == NODES // 2
    assert all(source.encode() in sent and b"hidden-key" not in sent for sent in executor.sent)
    assert tree(target) == tree(source)


def test_threads_of_the_caller(source, target):
    with ThreadPoolExecutor(2) as executor:
        planned = mirror(source, target, executor=executor, dry_run=True)
        assert tree(target) == {}
        done = mirror(source, target, executor=executor)
    assert [entry.action for entry in planned.entries] == [entry.action for entry in done.entries]
    assert tree(target) == tree(source)


def test_processes(source, target):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        report = mirror(source, target, executor=executor)
        again = mirror(source, target, executor=executor, verify=True)
    assert report.complete
    assert tree(target) == tree(source)
    assert again.digest == report.digest
    assert {entry.action.value for entry in again.entries} == {"unchanged"}


class _DyingExecutor(ThreadPoolExecutor):
    """Whose second worker dies."""

    def submit(self, call, /, *args, **kwargs):
        self.submitted = getattr(self, "submitted", 0) + 1
        if self.submitted == 2:
            future: Future = Future()
            future.set_exception(BrokenProcessPool("a process was killed"))
            return future
        if self.submitted == 3:
            raise BrokenProcessPool("no more of this")
        return super().submit(call, *args, **kwargs)


def test_a_worker_that_dies_is_told_and_the_next_mirror_does_its_work(source, target):
    with _DyingExecutor(1) as executor:
        report = mirror(source, target, executor=executor)
    assert len(report.nodes) == 2
    assert len(report.problems) == 4
    assert all("BrokenProcessPool" in entry.problem for entry in report.problems)
    assert mirror(source, target).complete
    assert tree(target) == tree(source)


DASK = """
import json, sys
from distributed import Client, LocalCluster
from t9k import em
from t9k.em.transfer.mirroring import shards

if __name__ == "__main__":
    shards.MOST_NODES = 1
    with LocalCluster(n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client, client.get_executor() as executor:
            first = em.mirror(*sys.argv[1:], executor=executor)
            again = em.mirror(*sys.argv[1:], executor=executor, verify=True)
            pids = set(client.run(lambda: __import__("os").getpid()).values())
    print(json.dumps([first.to_dict(), again.to_dict(), len(pids)]))
"""


@pytest.mark.long
def test_a_cluster_of_dask(source, target, tmp_path):
    pytest.importorskip("distributed")
    script = tmp_path / "dask_mirror.py"
    script.write_text(DASK)
    ran = subprocess.run(
        [sys.executable, script, source, target], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, again, processes = json.loads(ran.stdout)
    assert processes == 2
    assert first["complete"]
    assert first["digest"] == again["digest"]
    assert again["moved_files"] == 0
    assert tree(target) == tree(source)
