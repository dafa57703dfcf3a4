"""The example of the README: a server, a training in another process, and a bucket."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.services.places import BUCKET
from tests.services.processes import free_port

SCRIPT = Path(__file__).parents[2] / "examples" / "server.sh"


@pytest.mark.long
def test_a_run_goes_from_the_server_to_a_bucket_and_back_unchanged(s3, tmp_path):
    environment = {
        **os.environ,  # with the credentials that the fixture left there
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(free_port()),
        "TMPDIR": str(tmp_path),
    }
    target = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    done = subprocess.run(
        [SCRIPT, target], env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"from the server to {target} and back, and its digest is the same" in done.stdout
    assert "2 unchanged" in done.stdout
