"""Take the descriptors 1 and 2, so that what child processes and C libraries print is kept as well.

They become a pipe, or a terminal of its own where there was a terminal, whose other end a helper process has (see `passing`). It passes
everything on to where it went before, unchanged, and keeps it. A thread could not do that: C code that prints more than a pipe holds
while it has the interpreter's lock would wait for it for ever, and a crash would take along what was not passed on yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from t9k.em.warn import warn_incomplete

if sys.platform != "win32":
    import fcntl
    import termios

READY_S = 20.0
ANSWER_S = 5.0
DRAIN_BYTES = 1 << 20

_CODE = """
import os
if os.fork():
    os._exit(0)
import json, sys
given = json.loads(sys.argv[1])
sys.path[:] = given.pop("path")
from t9k.em.capture.passing import main
main(**given)
"""
"""The helper is no child of the run: one that waits for all its children (`os.wait`) would wait for it until the run ends."""


class Descriptors:
    """The descriptors 1 and 2 while they are taken.

    Args:
        saved: Copies of what they were.
        reads: Ends that the helper reads, kept open here until it is certain that it does.
        alive: A pipe whose other end only the helper has; it ends when the helper does.
        control: What the helper is asked by.
        helper: Its process id.
    """

    def __init__(self, saved: list[int], reads: list[int], alive: int, control: socket.socket, helper: int) -> None:
        self._saved = saved
        self._reads = reads
        self._alive = alive
        self._control = control
        self.helper = helper
        self._asking = threading.Lock()
        self._changing = threading.Lock()
        self._is_taken = True
        self._finished = 0
        threading.Thread(target=self._watch, name="t9k-em-output", daemon=True).start()

    @classmethod
    def take(cls, path: Path) -> Descriptors | None:
        """Take both descriptors.

        Args:
            path: The file to keep what is printed in, see `logfile.LogFile`.

        Returns:
            None where Python does not print to them, as in a notebook, or where that cannot be done, which is told.
        """
        if sys.platform == "win32" or not sys.executable or not _prints_there():
            return None
        _flush()
        saved = [os.dup(1), os.dup(2)]
        ends: list[tuple[int, int]] = []
        ours, theirs = socket.socketpair()
        try:
            is_one = os.path.sameopenfile(1, 2)
            names = ["stdout"] if is_one else ["stdout", "stderr"]
            ends.extend(_channel(out) for _, out in zip(names, saved, strict=False))
            reads = [read for read, _ in ends]
            alive = _start(path, [*zip(reads, names, saved, strict=False)], theirs)
        except OSError as error:
            for fd in (*saved, *(fd for pair in ends for fd in pair)):
                os.close(fd)
            ours.close()
            warn_incomplete(
                f"the descriptors of the output could not be taken ({error.strerror}); what Python prints is kept", 8
            )
            return None
        finally:
            theirs.close()
        helper = _helper_that_answers(ours)
        if not helper:
            for fd in (alive, *saved, *(fd for pair in ends for fd in pair)):
                os.close(fd)
            ours.close()
            warn_incomplete(
                "the process that keeps the output of child processes did not start; what Python prints is kept", 8
            )
            return None
        writes = [write for _, write in ends]
        for fd, write in zip((1, 2), writes * (2 if is_one else 1), strict=True):
            os.dup2(write, fd)
        for write in writes:
            os.close(write)
        return cls(saved, reads, alive, ours, helper)

    def finished(self) -> int:
        """Return the number of bytes of the file that will not change, as the helper reports."""
        answer = self._ask(b"f", 8)
        if answer:
            self._finished = int.from_bytes(answer, "big")
        return self._finished

    def give_back(self) -> None:
        """Put the descriptors back, when all that was printed is kept; what still has them, such as a child, prints on."""
        self._restore()
        self._ask(b"s", 1)
        self._control.close()

    def _restore(self) -> None:
        with self._changing:
            if not self._is_taken:
                return
            self._is_taken = False
        _flush()
        for fd, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, fd)
            os.close(saved)

    def _watch(self) -> None:
        """Wait for the end of the helper; before its time, print as if there was none."""
        os.read(self._alive, 1)
        os.close(self._alive)
        was_taken = self._is_taken
        outs = [os.dup(saved) for saved in self._saved] if was_taken else []
        self._restore()
        for read, out in zip(self._reads, outs, strict=False):
            with contextlib.suppress(OSError):  # nothing is there, or nobody reads it
                os.set_blocking(read, False)
                os.write(out, os.read(read, DRAIN_BYTES))
        for fd in (*outs, *self._reads):
            os.close(fd)
        if was_taken:
            warn_incomplete(
                "the process that kept the output is gone; the output of the run is not kept any more; the run goes on"
            )

    def _ask(self, what: bytes, size: int) -> bytes:
        """Return the answer of the helper; nothing when the helper is gone or busy."""
        if not self._asking.acquire(timeout=ANSWER_S):
            return b""
        try:
            self._control.settimeout(ANSWER_S)
            self._control.sendall(what)
            return self._control.recv(size)
        except OSError:
            return b""
        finally:
            self._asking.release()


def _prints_there() -> bool:
    """Return whether Python's streams write to the descriptors."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream.fileno() != number:
                return False
        except (AttributeError, OSError, ValueError):
            return False
    return True


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, broken or closed
            stream.flush()


def _channel(out: int) -> tuple[int, int]:
    """Two ends, to read from and to write to; the latter is a terminal where `out` is one."""
    if not os.isatty(out):
        return os.pipe()
    controller, terminal = os.openpty()
    with contextlib.suppress(OSError):  # one without a size
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, fcntl.ioctl(out, termios.TIOCGWINSZ, bytes(8)))
    attributes: list[Any] = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST  # the real terminal makes `\r\n` of `\n`
    attributes[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    return controller, terminal


def _start(path: Path, channels: list[tuple[int, str, int]], control: socket.socket) -> int:
    """Start the helper, which goes on when nobody can ask it any more and ends when nobody can print; return what ends with it."""
    alive, end = os.pipe()
    given = {"path": sys.path, "log": str(path), "channels": channels, "control": control.fileno()}
    used = {end, control.fileno(), *(fd for read, _, out in channels for fd in (read, out))}
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", _CODE, json.dumps(given)],
            check=False,  # whether the helper is there is known when it says so
            pass_fds=sorted(used),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # what ends the run by its group, such as Ctrl-C, does not end what keeps its last words
        )
    except OSError:
        os.close(alive)
        raise
    finally:
        os.close(end)
    return alive


def _helper_that_answers(control: socket.socket) -> int:
    """Return the process id of the helper once it reads; 0 if none was started."""
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        return int.from_bytes(control.recv(8), "big") if selector.select(READY_S) else 0
