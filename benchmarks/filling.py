"""Many nodes in a local store, by their records alone."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from t9k.em.records import utc_text
from t9k_em_backends.tree.heads import Head, encode_head, head_key, heads_prefix


def fill(root: Path, folder: str, count: int, writer: str) -> None:
    """Write the records of runs, as uploads would.

    Args:
        root: Directory of the store.
        folder: Absolute path of the folder.
        count: How many runs.
        writer: Name of the user.
    """
    for number in range(count):
        head = Head(
            write_id=uuid4().hex,
            kind="Run",
            state="ready",
            name=f"run {number}",
            id=str(uuid4()),
            metadata={"labels": ["bench"], "description": "x" * 100, "status": "Complete"},
            writer=writer,
            time=utc_text(),
        )
        path = root / head_key(heads_prefix(folder, head.name), 1)
        path.parent.mkdir(parents=True)
        path.write_bytes(encode_head(head))
