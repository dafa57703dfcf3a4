"""Real processes upload one name at once, turn by turn, wherever a URI leads; and what must have come of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from t9k.em.backend import Backend
from t9k.em.testing.uploads import read_node

FOLDER = "/alice/race"
_SCRIPT = """
import hashlib, json, sys, time
from pathlib import Path
from uuid import uuid4
from t9k.em.errors import Conflict
from t9k.em.names import new_op
from t9k.em.records import Body, Draft, FileSpec, UploadRequest
from t9k.em.registry import open_backend

uri, meeting, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
contents = {"who": number.encode(), "only-" + number: b"x" * 10_000}
files = tuple(
    FileSpec(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for key, data in contents.items()
)
backend = open_backend(uri)
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
        upload = backend.begin(request)
        while upload.outcome is None:
            upload.put([(file, Body.of(contents[file.key])) for file in upload.missing])
            upload.commit()
        told.append([upload.outcome.value, upload.node.path, upload.node.generation])
    except Conflict:
        told.append(["conflict", "", 0])
backend.close()
print(json.dumps(told))
"""

Told = list[tuple[str, str, int]]
"""Outcome, path and generation, as each process was told."""


def race(uris: Sequence[str], meeting: Path, turns: Sequence[str]) -> list[Told]:
    """Lets one process for each URI take part in each turn.

    Args:
        uris: Of the backend as each process opens it.
        meeting: A directory for them to wait in, which is made.
        turns: The strategy of all of them, turn by turn.
    """
    meeting.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, uri, str(meeting), str(number), *turns], stdout=subprocess.PIPE
        )
        for number, uri in enumerate(uris)
    ]
    try:
        for turn in range(len(turns)):
            while len(list(meeting.glob(f"{turn}-*"))) < len(uris):
                assert all(process.poll() in (None, 0) for process in processes)
                time.sleep(0.005)
            (meeting / f"{turn}-go").touch()
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * len(uris)
    told = [[tuple(entry) for entry in json.loads(output)] for output in outputs]
    return [list(turn) for turn in zip(*told, strict=True)]


def check(backend: Backend, turns: Sequence[str], told_in_turns: Sequence[Told]) -> None:
    """Each turn ended as its strategy promises, and what is there is what the processes were told."""
    nodes = {node.path: node for node in backend.list(FOLDER)}
    for turn, (strategy, told) in enumerate(zip(turns, told_in_turns, strict=True)):
        name, processes = f"{FOLDER}/m{turn}", len(told)
        assert (
            Counter(outcome for outcome, _, _ in told)
            == {
                "error": {"published": 1, "conflict": processes - 1},
                "skip": {"published": 1, "skipped": processes - 1},
                "new": {"published": processes},
                "replace": {"published": processes},
            }[strategy]
        )
        published = [(path, generation) for outcome, path, generation in told if outcome == "published"]
        assert len(set(published)) == len(published), "no generation is published by two"
        paths = {path for path, _ in published}
        assert paths == {path for path in nodes if path == name or path.startswith(f"{name}_")}
        assert len(paths) == (processes if strategy == "new" else 1)
        for path in paths:
            contents = read_node(backend, nodes[path])
            assert set(contents) == {"who", f"only-{contents['who'].decode()}"}, "a whole node of one writer"
        if strategy != "new":
            versions = backend.versions(name)
            assert {(node.path, node.generation) for node in versions} == set(published)
            assert all(len(read_node(backend, node)) == 2 for node in versions)
