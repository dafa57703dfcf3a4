#!/usr/bin/env bash
# IPython 9.1.0 and later replace the attribute `write` of sys.stdout and sys.stderr for the time of each cell, to keep what is printed
# for the history of outputs, and then assign what they had read before, so that an attribute stays. IPython 9.0.2 leaves the streams alone.
# Whoever puts an object of their own into sys.stdout that hands attributes on to the stream below gets that function set below it, calls it
# and is called by it.
#
# Seen on 2026-12-01 with Python 3.11: 9.0.2 prints "the stream's own own", 9.1.0 and 9.8.0 print "a function attribute".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/cells.py" <<'PY'
import sys
from IPython.core.interactiveshell import InteractiveShell

class Console:
    """Any stream written in Python."""
    def write(self, text):
        return len(text)
    def flush(self):
        pass

shell = InteractiveShell.instance()
shown = sys.stdout
sys.stdout = console = Console()
shell.user_ns["seen"] = seen = []
shell.run_cell("import sys, types; seen.append(isinstance(sys.stdout.write, types.FunctionType))")
sys.stdout = shown
print("a function" if seen[0] else "the stream's own", "attribute" if "write" in vars(console) else "own")
PY
status=0
check() {
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/python" -m pip install --quiet --disable-pip-version-check "ipython==$1"
    got=$(IPYTHONDIR="$folder/profile" "$folder/$1/bin/python" -W ignore "$folder/cells.py" | tail -n 1)
    printf 'ipython %s: %s\n' "$1" "$got"
    [ "$got" = "$2" ] || { printf 'changed: expected %s\n' "$2"; status=1; }
}
check 9.0.2 "the stream's own own"
check 9.1.0 "a function attribute"
check 9.8.0 "a function attribute"
exit "$status"
