"""Directories that a training writes to while they are added: by real processes, twenty times each."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t9k import em
from t9k.em.errors import SymlinkError
from t9k.em.objects import adding

EVENTS = """
import os, struct, sys, threading, time
def write(number):
    with open(f"{sys.argv[1]}/events.out.tfevents.{number}", "ab", buffering=0) as file:
        count = 0
        while True:
            file.write(struct.pack("<QQ", number, count) * 16)
            count += 1
            time.sleep(0.0002)
for number in range(4):
    threading.Thread(target=write, args=(number,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""

CHECKPOINTS = """
import os, shutil, sys, threading
from pathlib import Path
root = Path(sys.argv[1])
def rotate():
    step = 0
    while True:
        step += 1
        (root / ".tmp").mkdir()
        for name in ("model", "optimizer", "state"):
            (root / ".tmp" / name).write_bytes(f"{step} {name} ".encode() * 20_000)
        (root / ".tmp").rename(root / f"step-{step}")
        try:
            (root / "latest.new").symlink_to(f"step-{step}")
            (root / "latest.new").replace(root / "latest")
        except OSError as error:
            print(error, file=sys.stderr)
        (root / "metrics.json.tmp").write_text(str(step) * 10_000)
        (root / "metrics.json.tmp").replace(root / "metrics.json")
        if step > 2:
            shutil.rmtree(root / f"step-{step - 2}")
        if step == 3:
            print("ready", flush=True)
threading.Thread(target=rotate, daemon=True).start()
sys.stdin.read()
os._exit(0)
"""


@contextlib.contextmanager
def writing(program: str, directory: Path) -> Iterator[None]:
    """A process that writes to the directory, as fast as it can, during the block."""
    directory.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() is None, "it wrote to the end"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def check(artifact: em.Artifact) -> None:
    """What the index says is what is there."""
    for data in artifact.objects:
        content = (Path(artifact.local) / "objects" / data["key"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (data["size"], data["sha256"])


def test_event_files_that_grow_are_kept_as_far_as_they_reached(tmp_path):
    source = tmp_path / "events"
    with writing(EVENTS, source):
        for _ in range(20):
            artifact = em.create_artifact("events")
            artifact.add_dir(str(source))
            artifact.add_file(str(source / "events.out.tfevents.0"), "one")
            check(artifact)
            assert len(artifact.objects) == 5
            for number in range(4):
                kept = (Path(artifact.local) / "objects/events" / f"events.out.tfevents.{number}").read_bytes()
                with (source / f"events.out.tfevents.{number}").open("rb") as file:
                    assert kept == file.read(len(kept)), "the beginning of what is there by now"
            assert list((Path(artifact.local) / ".em/staging").iterdir()) == []


@pytest.mark.long
def test_checkpoints_that_rotate_are_kept_as_they_were(tmp_path):
    source = tmp_path / "checkpoints"
    with writing(CHECKPOINTS, source):
        for _ in range(20):
            artifact = em.create_artifact("checkpoints")
            artifact.add_dir(str(source))
            check(artifact)
            for data in artifact.objects:
                content = (Path(artifact.local) / "objects" / data["key"]).read_bytes()
                directory, name = Path(data["key"]).parts[-2:]
                if directory.startswith("step-"):
                    step = directory.removeprefix("step-")
                    assert content == f"{step} {name} ".encode() * 20_000, "no mixture, and whole"


def test_what_goes_for_good_is_left_out_and_what_came_is_kept(tmp_path, monkeypatch):
    source = tmp_path / "d"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text(name)
    real = adding.import_file

    def rotating(path: Path, key: str, directory: Path, **more: Any) -> dict[str, object]:
        if path.name == "b":
            path.unlink(missing_ok=True)
            (source / "c").write_text("c")
        return real(path, key, directory, **more)

    monkeypatch.setattr(adding, "import_file", rotating)
    artifact = em.create_artifact("d")
    artifact.add_dir(str(source))
    assert {data["key"] for data in artifact.objects} == {"d/a", "d/c"}
    artifact.add_file(str(source / "a"), "d/b/x")  # the key that was reserved for what went is free again
    check(artifact)


class TestFollowSymlinks:
    """The cache of Hugging Face: `snapshots/<revision>/<file>` are links to `blobs/<hash>`."""

    @pytest.fixture
    def snapshot(self, tmp_path: Path) -> Path:
        cache = tmp_path / "models--org--name"
        (cache / "blobs").mkdir(parents=True)
        (cache / "blobs/0a1b").write_text("weights")
        (cache / "blobs/2c3d").write_text("{}")
        snapshot = cache / "snapshots/f00d"
        (snapshot / "onnx").mkdir(parents=True)
        (snapshot / "config.json").symlink_to("../../blobs/2c3d")
        (snapshot / "onnx/model.bin").symlink_to("../../../blobs/0a1b")
        return snapshot

    def test_keeps_what_links_out_of_the_directory_stand_for(self, snapshot):
        artifact = em.create_artifact("model")
        artifact.add_dir(str(snapshot), "model", follow_symlinks=True)
        assert {data["key"]: data["size"] for data in artifact.objects} == {
            "model/config.json": 2,
            "model/onnx/model.bin": 7,
        }
        assert not (Path(artifact.local) / "objects/model/config.json").is_symlink()

    def test_is_not_the_default_and_the_error_tells_of_it(self, snapshot):
        artifact = em.create_artifact("model")
        with pytest.raises(SymlinkError, match=r"out of .*pass follow_symlinks=True"):
            artifact.add_dir(str(snapshot))
        assert artifact.objects == []

    @pytest.mark.parametrize("to", ["..", "../../..", "loop"])
    def test_ends_where_links_go_round(self, snapshot, to):
        (snapshot / "loop").symlink_to(to)
        artifact = em.create_artifact("model")
        with pytest.raises(SymlinkError, match="directory above itself|nowhere or in a circle"):
            artifact.add_dir(str(snapshot), follow_symlinks=True)
        assert artifact.objects == []

    def test_says_which_link_leads_nowhere(self, snapshot):
        (snapshot.parent.parent / "blobs/2c3d").unlink()
        with pytest.raises(SymlinkError, match=r"config\.json is a symbolic link that leads nowhere"):
            em.create_artifact("model").add_dir(str(snapshot), follow_symlinks=True)
