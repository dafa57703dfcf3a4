"""Listing a folder of 10,000 nodes in a local store, with and without its cache."""

from __future__ import annotations

import tempfile
from pathlib import Path

from filling import fill
from measuring import ratio, report, seconds

from t9k_em_backends.local import LocalBackend, LocalStore
from t9k_em_backends.tree.heads import index_key

NODES, RUNS = 10_000, 5
FOLDER = "/bench/default"


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        fill(root, FOLDER, NODES, "bench")
        LocalBackend(LocalStore(root), "file:///bench").make_folder(FOLDER)
        cold, warm = [], []
        for _ in range(RUNS):
            (root / index_key(FOLDER)).unlink(missing_ok=True)
            backend = LocalBackend(LocalStore(root), "file:///bench")
            cold.append(seconds(lambda backend=backend: backend.list(FOLDER)))
            assert len(backend.list(FOLDER)) == NODES
            warm.append(seconds(lambda backend=backend: backend.list(FOLDER)))
    without = report(f"list {NODES} nodes, each record read", cold, 1, "s")
    cached = report(f"list {NODES} nodes, warm (goal: under 1 s)", warm, 1, "s")
    ratio("warm / cold", cached, without, 1)


if __name__ == "__main__":
    main()
