"""SIGKILL in the middle of an upload through the API: nothing is visible, and the same command finishes it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from t9k import em
from t9k.em import errors

FILES = 400
SCRIPT = """
import sys
from t9k import em
em.upload(sys.argv[1], folder=sys.argv[2])
"""


def _files_below(directory: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(directory))


@pytest.mark.long
@pytest.mark.parametrize("killed_at", [1, 100, 300, 400])
def test_an_upload_that_was_killed_is_finished_by_the_next_one(killed_at: int) -> None:
    source = Path("source")
    source.mkdir()
    for number in range(FILES):
        (source / f"{number:03d}").write_bytes(os.urandom(100))
    artifact = em.create_artifact("tree")
    artifact.add_dir(str(source))
    root = Path("store").absolute()
    command = [sys.executable, "-c", SCRIPT, artifact.local, root.as_uri()]

    process = subprocess.Popen(command)
    while process.poll() is None and _files_below(root) < killed_at:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    em.login(str(root))
    published = root / "alice/default/.em/h/tree/00000001.json"
    if not published.exists():  # the process may have been faster than this one
        with pytest.raises(errors.NotFound):
            em.load_artifact("default/tree")

    subprocess.run(command, check=True, timeout=60)
    (upload,) = [path for path in (root / "alice/default/tree").iterdir() if path.is_dir()]
    assert sorted(path.name for path in (upload / "objects/source").iterdir()) == sorted(os.listdir(source))
    assert [path.name for path in published.parent.iterdir()] == ["00000001.json"]
    loaded = em.load_artifact("default/tree")
    loaded.download()
    for number in range(0, FILES, 37):
        assert Path(loaded.get(f"source/{number:03d}")).read_bytes() == (source / f"{number:03d}").read_bytes()
