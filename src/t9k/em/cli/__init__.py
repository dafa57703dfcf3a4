"""The command `em`. Everything that is not needed to find the command is imported by the command itself."""

from __future__ import annotations

import sys
from gc import freeze, set_threshold
from importlib.util import find_spec

__all__ = ["main"]

_GARBAGE = 50_000, 10, 10
"""When the garbage collector looks: a command makes records that live until it ends, and looking through them again and
again took a twentieth of the time of `em show` with 5,000 files."""

_LIBRARIES = ("click", "plotext", "rich")


def main() -> None:
    """Run the command line of this process and exit.

    Raises:
        SystemExit: Always; 0 for success, 1 for an error, 2 for wrong usage, 3 when some of several failed, 4 when
            damage was found and 5 when all of it was repaired, 130 after Ctrl-C, 141 when nobody reads the output any more.
    """
    if any(find_spec(library) is None for library in _LIBRARIES):
        print("em: the command line needs a few more libraries: pip install 't9k-em[cli]'", file=sys.stderr)
        sys.exit(1)

    if sys.argv[1:2] != ["server"]:  # which runs on for months
        set_threshold(*_GARBAGE)
    from t9k.em.cli.app import app

    try:
        app.main(prog_name="em")
    finally:
        freeze()  # or Python would look through all there is once more before it ends, for up to 0.1 s
