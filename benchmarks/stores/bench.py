"""What the rows of the object store benchmark share: trees, services and rounds."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field
from stores.contest import MIB, Job, Usage, run
from stores.peers import S3
from stores.services import plain_environment, seaweedfs_s3
from stores.trees import Tree, make_tree

KIB, GIB = 1 << 10, 1 << 30
PAUSE_S = 1.0  # between rounds, for what a server does by itself


@define
class Bench:
    """The rows that are wanted, and what was measured for them."""

    wanted: frozenset[str]
    rounds: int
    scale: float
    tools: Path
    directory: Path
    results: dict[str, dict[str, list[Usage]]] = field(factory=dict)
    _trees: dict[str, Tree] = field(factory=dict)

    def tree(self, name: str, files: int, size_bytes: int, *, sparse: bool = False) -> Tree:
        """An artifact, made once; of a single file the size is scaled, else the number of files."""
        if name not in self._trees:
            count = max(1, round(files * self.scale))
            size = size_bytes if files > 1 else max(MIB, round(size_bytes * self.scale))
            environment = plain_environment(self.directory)
            self._trees[name] = make_tree(
                name, count, size, root=self.directory, environment=environment, sparse=sparse
            )
        return self._trees[name]

    def small(self) -> Tree:
        return self.tree("small", 5_000, 4 * KIB)

    def mid(self) -> Tree:
        return self.tree("mid", 200, 4 * MIB)

    def large(self) -> Tree:
        return self.tree("large", 1, GIB)

    @contextlib.contextmanager
    def s3(self) -> Iterator[S3]:
        """A new service."""
        warm = self._trees.get("warm")
        if warm is None:
            environment = plain_environment(self.directory)
            warm = self._trees["warm"] = make_tree("warm", 3, 9 * MIB, root=self.directory, environment=environment)
        with seaweedfs_s3(self.directory, self.tools, warm) as s3:
            yield s3

    def repeat(self, what: str) -> Iterator[int]:
        """The rounds of a row."""
        for number in range(self.rounds):
            print(f"{what}: round {number + 1} of {self.rounds}", file=sys.stderr)
            time.sleep(PAUSE_S)
            yield number

    def measure(self, row: str, *jobs: Job) -> None:
        """Runs each job once if the row is wanted, beginning with another one each round."""
        if row not in self.wanted:
            return
        results = self.results.setdefault(row, {job.name: [] for job in jobs})
        done = len(results[jobs[0].name])
        first = done % len(jobs)
        for job in (*jobs[first:], *jobs[:first]):
            os.sync()
            results[job.name].append(run(job, self.directory))
            if not done:
                job.check()
            job.clean()
