"""SeaweedFS as an S3 service; one for all processes of a test run, started by the first and gone with the last.

Each process holds a shared lock on the file `users` while it needs the server. A keeper, which is this file run as a
program and outlives the process that started it, waits until it gets that lock alone, which a killed process cannot
prevent, and ends the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ACCESS_KEY = "EMTESTSACCESSKEY"
SECRET_KEY = "emtests/not+a+secret+but+made+to+be+found"
TWIN = 10_000  # what it adds to each port for another one

_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


@contextlib.contextmanager
def seaweedfs(shared: Path) -> Iterator[str]:
    """Yields the endpoint of a server that all who name the same directory share."""
    directory = shared / "seaweedfs"
    directory.mkdir(exist_ok=True)
    with (directory / "users").open("w") as users, (directory / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)  # after a keeper that is about to end its server
        if not (directory / "endpoint").exists():
            keeper = [sys.executable, __file__, str(directory)]
            subprocess.run(keeper, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, check=True)
        endpoint = (directory / "endpoint").read_text()
        fcntl.flock(starting, fcntl.LOCK_UN)
        try:
            yield endpoint
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)  # closing alone would not, when a child has inherited it


def _keep(directory: Path) -> None:
    """Starts a server, ends the process that the caller waits for, and ends the server when nobody uses it any more."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.services.processes import running

    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(ready, 1) else 1)
    os.setsid()
    output = os.open(directory / "keeper.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    data = directory / "data"
    (data / "store").mkdir(parents=True)
    (data / "s3.json").write_text(json.dumps({"identities": [_IDENTITY]}))
    with running(data, _command, twin=TWIN, path="/status") as port:
        (directory / "endpoint").write_text(f"http://127.0.0.1:{port}")
        os.write(tell, b"1")
        os.close(tell)
        with (directory / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (directory / "endpoint").unlink()
    shutil.rmtree(data)
    for left in Path("/tmp").glob(f"seaweedfs-*-{port + TWIN}.sock"):  # no option names another place
        left.unlink()


def _command(port: int) -> list[str]:
    from tests.services.processes import free_port, program

    others = [f"-{part}.port={free_port(twin=TWIN)}" for part in ("master", "volume", "filer")]
    return [
        *(program("weed"), "server", "-dir=store", "-ip=127.0.0.1", "-s3", f"-s3.port={port}", "-s3.config=s3.json"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock"),
        *("-master.volumeSizeLimitMB=1024", "-volume.max=400", "-master.telemetry=false"),
        *others,
    ]


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
