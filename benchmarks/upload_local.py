"""Uploading 5,000 files of 4 KiB to a local store, against `cp -r`, hashing, and fsync of the same tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from measuring import ratio, report, seconds

from t9k import em

FILES, BYTES, RUNS = 5_000, 4096, 5


def copy_hash_sync(source: Path, target: Path) -> None:
    """What a careful person would do by hand."""
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    for directory, _, names in os.walk(target):
        for name in names:
            with Path(directory, name).open("rb") as file:
                hashlib.sha256(file.read()).hexdigest()
                os.fsync(file.fileno())
        fd = os.open(directory, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        os.chdir(root)
        source = root / "source"
        for number in range(FILES):
            path = source / f"{number % 50:02d}" / f"{number:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(BYTES))
        artifact = em.create_artifact(name="tree")
        print(f"{FILES} files of {BYTES} bytes; add_dir took {seconds(lambda: artifact.add_dir(str(source))):.2f} s")
        by_hand, ours, again = [], [], []
        for run in range(RUNS):
            os.sync()
            by_hand.append(seconds(lambda run=run: copy_hash_sync(source, root / f"copy-{run}")))
            os.sync()
            em.login(f"file://{root}/store-{run}")
            ours.append(seconds(artifact.upload))
            again.append(seconds(artifact.upload))
        theirs = report("cp -r + hashing + fsync", by_hand, 1, "s")
        mine = report("upload to file://", ours, 1, "s")
        report("the same again, nothing changed", again, 1, "s")
        ratio("upload / (cp -r + hashing + fsync)", mine, theirs, 3)


if __name__ == "__main__":
    main()
