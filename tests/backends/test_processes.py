"""Sixteen real processes upload one name at once to a directory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from t9k.em.names import STRATEGIES
from t9k.em.testing.uploads import read_node
from t9k_em_backends.local import LocalBackend, LocalStore

PROCESSES = 16
ROUNDS = 3
FOLDER = "/alice/race"
SCRIPT = """
import hashlib, json, sys, time
from pathlib import Path
from uuid import uuid4
from t9k.em.errors import Conflict
from t9k.em.names import new_op
from t9k.em.records import Body, Draft, FileSpec, UploadRequest
from t9k_em_backends.local import LocalBackend, LocalStore

root, meeting, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
contents = {"who": number.encode(), "only-" + number: b"x" * 10_000}
files = tuple(
    FileSpec(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for key, data in contents.items()
)
told = []
for turn, strategy in enumerate(sys.argv[4:]):
    draft = Draft(kind="Run", name=f"m{turn}", alternative_name=f"m{turn}_{number}", id=str(uuid4()))
    (meeting / f"{turn}-{number}").touch()
    while not (meeting / f"{turn}-go").exists():
        time.sleep(0.001)
    try:
        request = UploadRequest(
            folder="/alice/race", draft=draft, files=files, strategy=strategy, make_folder=True, op=new_op()
        )
        upload = LocalBackend(LocalStore(root), "file:///store").begin(request)
        while upload.outcome is None:
            upload.put([(file, Body.of(contents[file.key])) for file in upload.missing])
            upload.commit()
        told.append([upload.outcome.value, upload.node.path, upload.node.generation])
    except Conflict:
        told.append(["conflict", "", 0])
print(json.dumps(told))
"""


def _race(tmp_path: Path, turns: list[str]) -> list[list[tuple[str, str, int]]]:
    """What each process was told in each turn."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "store"), str(meeting)]
    processes = [
        subprocess.Popen([*command, str(number), *turns], stdout=subprocess.PIPE) for number in range(PROCESSES)
    ]
    for turn in range(len(turns)):
        while len(list(meeting.glob(f"{turn}-*"))) < PROCESSES:
            assert all(process.poll() in (None, 0) for process in processes)
            time.sleep(0.005)
        (meeting / f"{turn}-go").touch()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    told = [[tuple(entry) for entry in json.loads(output)] for output in outputs]
    return [list(turn) for turn in zip(*told, strict=True)]


EXPECTED = {
    "error": {"published": 1, "conflict": PROCESSES - 1},
    "skip": {"published": 1, "skipped": PROCESSES - 1},
    "new": {"published": PROCESSES},
    "replace": {"published": PROCESSES},
}


def test_sixteen_processes_and_one_name(tmp_path: Path) -> None:
    turns = list(STRATEGIES) * ROUNDS
    told_in_turns = _race(tmp_path, turns)
    backend = LocalBackend(LocalStore(tmp_path / "store"), "file:///store")
    nodes = {node.path: node for node in backend.list(FOLDER)}
    for turn, (strategy, told) in enumerate(zip(turns, told_in_turns, strict=True)):
        name = f"{FOLDER}/m{turn}"
        assert Counter(outcome for outcome, _, _ in told) == EXPECTED[strategy]
        published = [(path, generation) for outcome, path, generation in told if outcome == "published"]
        assert len(set(published)) == len(published), "no generation is published by two"
        paths = {path for path, _ in published}
        assert paths == {path for path in nodes if path == name or path.startswith(f"{name}_")}
        assert len(paths) == (PROCESSES if strategy == "new" else 1)
        for path in paths:
            contents = read_node(backend, nodes[path])
            assert set(contents) == {"who", f"only-{contents['who'].decode()}"}, "a whole node of one writer"
        if strategy != "new":
            versions = backend.versions(name)
            assert {(node.path, node.generation) for node in versions} == set(published)
            assert all(len(read_node(backend, node)) == 2 for node in versions)
