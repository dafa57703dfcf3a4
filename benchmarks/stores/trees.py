"""What the object store benchmark sends: an artifact and the same files for its peers, made by processes that are not measured."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

MIB = 1 << 20

MAKE = """
import sys
import tempfile
from t9k import em
artifact = em.create_artifact(name=sys.argv[1])
artifact.add_dir(sys.argv[2])
print(artifact.local)
"""

CHANGE = """
import os, sys
from t9k import em
artifact = em.load_artifact(sys.argv[1])
for key in sys.stdin.read().split():
    artifact.add_file(os.path.join(sys.argv[2], key), key)
"""


@frozen(kw_only=True)
class Tree:
    """A local artifact; its peers send the files in its directory `objects`, so that all read the same bytes.

    Attributes:
        name: Of the artifact.
        artifact: Its directory.
        size_bytes: Size of each file.
        keys: The keys of its files.
        environment: In which the library is called.
    """

    name: str
    artifact: Path
    size_bytes: int
    keys: frozenset[str]
    environment: Mapping[str, str]

    @property
    def objects(self) -> Path:
        """Where the files are."""
        return self.artifact / "objects"

    def change(self, count: int) -> list[str]:
        """Gives some files a new content, and returns their keys."""
        changed = random.sample(sorted(self.keys), count)
        with tempfile.TemporaryDirectory() as directory:
            for key in changed:
                _write(Path(directory, key), self.size_bytes)
            _python(CHANGE, self.artifact, directory, environment=self.environment, given=" ".join(changed))
        time.sleep(
            1.1
        )  # stores tell whole seconds, and what was changed in the one of its upload may look as new as that
        return changed


def make_tree(
    name: str, files: int, size_bytes: int, *, root: Path, environment: Mapping[str, str], sparse: bool = False
) -> Tree:
    """Makes an artifact of random files, or of ones with hardly anything but holes."""
    keys = frozenset(f"files/{number % 50:02d}/{number:06d}.bin" for number in range(files))
    with tempfile.TemporaryDirectory(dir=root) as directory:
        for key in keys:
            _write(Path(directory, key), size_bytes, sparse=sparse)
        made = _python(MAKE, name, f"{directory}/files", environment=environment, cwd=root)
    return Tree(name=name, artifact=root / made.strip(), size_bytes=size_bytes, keys=keys, environment=environment)


def _write(path: Path, size_bytes: int, *, sparse: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for at in range(0, min(size_bytes, MIB) if sparse else size_bytes, MIB):
            file.write(os.urandom(min(MIB, size_bytes - at)))
        file.truncate(size_bytes)


def _python(
    code: str, *arguments: object, environment: Mapping[str, str], cwd: Path | None = None, given: str | None = None
) -> str:
    """In a process of its own: the peak of a measured process counts from that of the one which started it."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        cwd=cwd,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
