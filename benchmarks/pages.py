"""A folder of 12,000 nodes by pages, through the server and without, against one listing of all.

Processor time is compared, which does not depend on what else the machine does: that of the server for its pages, and that of
this process for the listing.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from filling import fill
from measuring import ratio
from serving import Someone, aistore, cpu_s, group

from t9k.em.wire import node_json
from t9k_em_backends.local import LocalBackend, LocalStore

NODES, PAGE, RUNS, SMALL = 12_000, 1000, 5, 200
MOST_RATIO, MOST_MS = 1.5, 20.0


def processor_s(work: Callable[[], object]) -> float:
    """How much processor time a call takes in this process, in seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def by_pages(backend: LocalBackend, folder: str) -> int:
    """List a folder page by page; returns how many nodes there are."""
    after, count = "", 0
    while True:
        nodes, after = backend.list_page(folder, PAGE, after)
        count += len(nodes)
        if not after:
            return count


def ask_pages(user: Someone, folder: str) -> int:
    """Ask the server for all pages; returns how many nodes there are."""
    after: str | None = ""
    count = 0
    while after is not None:
        params = {"path": folder, "limit": PAGE, **({"after": after} if after else {})}
        said = user.ask("GET", "nodes/children", params=params).json()
        count, after = count + len(said["items"]), said["next"]
    return count


def show(what: str, value_s: float) -> float:
    """Print a time and return it."""
    print(f"{what:<58} {value_s * 1e3:9.1f} ms")
    return value_s


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary, aistore(Path(temporary)) as place:
        user = place.someone(prefix="bench")
        folder = f"/{user.name}/default"
        root = Path(place.settings["root"].removeprefix("file://"))
        user.ask("POST", "folders", json={"path": folder})
        fill(root, folder, NODES, user.name)
        backend = LocalBackend(LocalStore(root), "file:///bench").for_user(user.name)
        assert len(backend.list(folder)) == by_pages(backend, folder) == ask_pages(user, folder) == NODES

        def whole() -> bytes:
            return json.dumps([node_json(node) for node in backend.list(folder)]).encode()

        listed = show("one listing as JSON", statistics.median(processor_s(whole) for _ in range(RUNS)))
        alone = show("one listing", statistics.median(processor_s(lambda: backend.list(folder)) for _ in range(RUNS)))
        pages = show(
            f"pages of {PAGE}", statistics.median(processor_s(lambda: by_pages(backend, folder)) for _ in range(RUNS))
        )
        ratio("pages / listing", pages, alone, MOST_RATIO)
        assert place.process is not None
        serving = group(place.process.pid)
        before = cpu_s(serving)
        for _ in range(RUNS):
            ask_pages(user, folder)
        served = show(f"pages of {PAGE} through the server", (cpu_s(serving) - before) / RUNS)
        ratio("pages through the server / listing as JSON", served, listed, MOST_RATIO)
        before = cpu_s(serving)
        for _ in range(SMALL):
            user.ask("GET", "nodes/children", params={"path": folder, "limit": 1})
        small = show(f"limit=1 through the server (goal: at most {MOST_MS:.0f} ms)", (cpu_s(serving) - before) / SMALL)
        holds = pages <= MOST_RATIO * alone and served <= MOST_RATIO * listed and small * 1e3 <= MOST_MS
        print("holds" if holds else "DOES NOT HOLD")


if __name__ == "__main__":
    main()
