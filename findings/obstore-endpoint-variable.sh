#!/usr/bin/env bash
# An endpoint that is passed to obstore's S3Store does not count where the environment has AWS_ENDPOINT_URL_S3: requests, and so the data, go
# to the address in the variable. With AWS_ENDPOINT_URL the argument counts.
#
# Seen on 2026-12-01 with obstore 0.12.1: as in `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check obstore==0.12.1
cat > "$folder/ask.py" <<'PY'
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import obstore
from obstore.store import S3Store

def service(name, asked):
    class Service(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(name)
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        def log_message(self, *_):
            pass
    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"

asked = []
argument, variable = service("the argument", asked), service("the variable", asked)
for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
    os.environ[name] = variable
    store = S3Store("bucket", endpoint=argument, region="us-east-1", access_key_id="a", secret_access_key="b",
                    client_options={"allow_http": True})
    obstore.put(store, "key", b"data")
    print(name, "->", asked.pop())
    del os.environ[name]
PY
got=$(env -i PATH="$PATH" "$folder/venv/bin/python" "$folder/ask.py")
printf '%s\n' "$got"
expected="AWS_ENDPOINT_URL -> the argument
AWS_ENDPOINT_URL_S3 -> the variable"
[ "$got" = "$expected" ] || { printf 'changed: expected\n%s\n' "$expected"; exit 1; }
