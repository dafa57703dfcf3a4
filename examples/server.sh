#!/usr/bin/env bash
# A server in one process and a training in another; then the run goes from the server to a bucket and back.
#
#   examples/server.sh s3://bucket/root     with credentials for the bucket in the environment, as usual
#   examples/server.sh file:///tmp/mirror     a directory in place of the bucket
set -euo pipefail

bucket=${1:?say where the mirror goes: examples/server.sh s3://bucket/root}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
port=${PORT:-8765}
server=http://127.0.0.1:$port
trap 'kill "$serving" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
step() { printf '\n$ %s\n' "$*"; "$@"; }
digest() { sed -n 's/^digest *//p' "$1"; }

cd "$work"
export EM_SERVER_DATABASE=sqlite:///$work/server.db T9K_CONFIG=$work/t9k-config.yaml EM_USER=alice
em server init alice >key 2>/dev/null
em server --root "$work/data" --port "$port" 2>server.log &
serving=$!
python3 - "$server" <<'PYTHON'
import sys, time, urllib.request
for _ in range(300):
    try:
        urllib.request.urlopen(sys.argv[1] + "/ready").close()
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("the server does not answer; see its log")
PYTHON

step em login "$server" --api-key <key
step python3 "$here/train.py"
step em show demo/walk
step em mirror "$server#/alice/demo" "$bucket#/alice/demo" | tee there
step em mirror "$bucket#/alice/demo" "$server#/alice/again" | tee back
step em mirror --dry-run "$server#/alice/demo" "$server#/alice/again"

[ -n "$(digest there)" ] && [ "$(digest there)" = "$(digest back)" ] || { echo "the digests differ" >&2; exit 1; }
printf '\nThe run went from the server to %s and back, and its digest is the same: %s\n' "$bucket" "$(digest back)"
