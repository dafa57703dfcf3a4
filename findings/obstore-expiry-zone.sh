#!/usr/bin/env bash
# obstore asks a credential provider for {"access_key_id", "secret_access_key", "token", "expires_at"}. `expires_at` has to carry the very
# zone object datetime.timezone.utc: a time in UTC whose zone is dateutil's tzutc(), which is what botocore's credentials have, or zoneinfo's UTC,
# makes every request fail with an error of credentials.
#
# Seen on 2026-12-01 with obstore 0.12.1 and python-dateutil 2.9.0.post0: timezone.utc "asked the service", the others "refused the credential".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check obstore==0.12.1 python-dateutil==2.9.0.post0 tzdata
cat > "$folder/ask.py" <<'PY'
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from zoneinfo import ZoneInfo

import obstore
from dateutil.tz import tzutc
from obstore.store import S3Store

class Service(BaseHTTPRequestHandler):
    asked = 0
    def do_HEAD(self):
        Service.asked += 1
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
for name, zone in (("timezone.utc", timezone.utc), ("tzutc()", tzutc()), ("ZoneInfo('UTC')", ZoneInfo("UTC"))):
    Service.asked = 0
    def credential():
        return {"access_key_id": "a", "secret_access_key": "b", "token": None,
                "expires_at": datetime.now(zone) + timedelta(hours=1)}
    store = S3Store("bucket", endpoint=f"http://127.0.0.1:{server.server_port}", region="us-east-1",
                    client_options={"allow_http": True}, credential_provider=credential)
    try:
        obstore.head(store, "key")
    except Exception:
        pass
    print(name, "asked the service" if Service.asked else "refused the credential")
PY
got=$(env -i PATH="$PATH" "$folder/venv/bin/python" "$folder/ask.py")
printf '%s\n' "$got"
expected="timezone.utc asked the service
tzutc() refused the credential
ZoneInfo('UTC') refused the credential"
[ "$got" = "$expected" ] || { printf 'changed: expected\n%s\n' "$expected"; exit 1; }
