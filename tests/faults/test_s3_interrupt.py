"""Ctrl-C in the middle of a large upload to S3: it ends at once, says how to go on, and what was sent is kept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.faults.s3clients import proxied
from tests.measuring import unmeasured
from tests.services.proxy import Proxy

from t9k import em
from t9k.em.uris import parse
from t9k_em_backends.s3.obstore_store import ObstoreStore
from t9k_em_backends.shared.part_size import PART_BYTES

PARTS = 20
# A shell without job control lets the programs that it starts in the background ignore SIGINT, these tests among them.
COMMAND = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from t9k.em.cli import main; main()",
]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for another process")
def test_an_interrupted_upload_goes_on_with_the_parts_that_are_there(s3):
    with proxied(s3) as proxy:
        interrupt(s3.new_root(), proxy)


def interrupt(direct: str, proxy: Proxy) -> None:
    signalled = threading.Event()
    # Later parts wait, so that the upload cannot end before the signal.
    proxy.holds = lambda exchange: (
        not signalled.is_set() and re.search(r"partNumber=([^12]|\d\d)(&|$)", exchange.target) is not None
    )
    root = f"{direct}?endpoint=http://{proxy.address}"
    data = os.urandom(PARTS * PART_BYTES)
    Path("large.bin").write_bytes(data)
    artifact = em.create_artifact("large")
    artifact.add_file("large.bin")
    command = [*COMMAND, "upload", artifact.local, "--folder", root]

    with ObstoreStore.from_uri(parse(direct)) as store:
        multipart = store._open().multipart

        def parts() -> set[int]:
            pending = [*multipart.pending(store.place.root)]
            return {number for upload in pending for number in multipart._parts(upload.key, upload.etag)}

        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=unmeasured()
        ) as process:
            deadline = time.monotonic() + 60
            while process.poll() is None and len(parts()) < 2 and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            signalled.set()
            _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert said.strip() == "em: interrupted; run the same command again to go on"
        kept = parts()
        assert kept

        proxy.forget()
        again = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        assert again.stdout.startswith("published")
        assert parts() == set()
    loaded = em.load_artifact(f"{direct}#/alice/default/large")
    with loaded.open("large.bin") as stream:
        assert stream.read() == data
