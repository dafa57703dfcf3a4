"""What the benchmarks of the AIStore server share: a server of the tests' kind, and what its processes take."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.server.sending import document  # noqa: E402, F401 - found by the line above
from tests.services.aistore import AIStorePlace, Someone, aistore  # noqa: E402, F401
from tests.services.postgresql import postgresql_in  # noqa: E402

from t9k.em.records import FileSpec  # noqa: E402
from t9k.em.wire import frame  # noqa: E402

MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_S = 0.5
_PEAK = re.compile(r"(?m)^VmHWM:\s+(\d+) kB$")


@contextlib.contextmanager
def database(kind: str, directory: Path) -> Iterator[dict[str, str]]:
    """Settings of a server for an empty database.

    Args:
        kind: 'sqlite' or 'postgresql'.
        directory: Where it may lie.
    """
    if kind == "sqlite":
        yield {}  # the server of the tests has one in its directory
        return
    with postgresql_in(directory / "postgresql") as place:
        yield {"database": place.new_database()}


def group(leader: int) -> list[int]:
    """The processes of a process group; a server and its workers are one."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def cpu_s(processes: list[int]) -> float:
    """Processor time that processes have taken, in seconds."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def peak_bytes(process: int) -> int:
    """The most memory of a process that was resident at any time."""
    try:
        found = _PEAK.search(Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


class Watch:
    """Notes how much memory the processes of a server have taken at most, every half second, for they may be killed.

    Args:
        place: The server, which may be ended and started again meanwhile.

    Attributes:
        peak_bytes: Of all together, each at its own time; pages that they share count for each.
        largest_bytes: The most that one took.
    """

    def __init__(self, place: AIStorePlace) -> None:
        self.peak_bytes = 0
        self.largest_bytes = 0
        self._place = place
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:  # noqa: PYI034 - Self is not in Python 3.10
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        leader = self._place.process
        sizes = [] if leader is None else [peak_bytes(process) for process in group(leader.pid)]
        self.peak_bytes = max(self.peak_bytes, sum(sizes))
        self.largest_bytes = max([self.largest_bytes, *sizes])


def batch(contents: Mapping[str, bytes]) -> bytes:
    """The body that brings several small files."""
    return b"".join(frame(FileSpec(key=key, size=len(data), sha256="0" * 64)) + data for key, data in contents.items())
