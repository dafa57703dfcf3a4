"""The helper process of `descriptors`: passes on what a run prints, and keeps it in the run's log."""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from t9k.em.capture.logfile import LogFile
from t9k.em.errors import NodeSymlinkError

PIECE_BYTES = 1 << 16


def main(log: str, channels: Sequence[tuple[int, str, int]], control: int) -> None:
    """Run until nobody can print any more.

    Args:
        log: Path of the log.
        channels: For each the descriptor to read from, 'stdout' or 'stderr', and the descriptor to pass it on to.
        control: Descriptor of the socket by which the run asks: 'f' how much is finished, 's' to keep no more.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # it ends with those who print
    with socket.socket(fileno=control) as asked, contextlib.suppress(NodeSymlinkError):  # of which the run itself tells
        _Passing(Path(log), channels, asked).run()


class _Passing:
    def __init__(self, log: Path, channels: Sequence[tuple[int, str, int]], control: socket.socket) -> None:
        self._log: LogFile | None = LogFile(log)
        self._control = control
        self._outs = {read: out for read, _, out in channels}
        self._names = {read: name for read, name, _ in channels}
        self._decoders = {read: codecs.getincrementaldecoder("utf-8")("backslashreplace") for read, _, _ in channels}
        self._finished = 0
        self._selector = selectors.DefaultSelector()
        for fd in (control.fileno(), *self._outs):
            self._selector.register(fd, selectors.EVENT_READ)

    def run(self) -> None:
        self._control.sendall(os.getpid().to_bytes(8, "big"))
        while self._outs:
            for key, _ in self._selector.select():
                if key.fd == self._control.fileno():
                    self._hear()
                elif key.fd in self._outs:  # else it ended while an answer was given
                    self._pass_on(key.fd)
        if self._log is not None:
            self._log.close()

    def _pass_on(self, read: int) -> None:
        try:
            data = os.read(read, PIECE_BYTES)
        except OSError:  # EIO: nobody has the terminal any more
            data = b""
        if not data:
            self._selector.unregister(read)
            del self._outs[read]
            return
        self._write(read, data)
        self._keep(self._names[read], self._decoders[read].decode(data))

    def _write(self, read: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._outs[read], view) :]
        except OSError:  # the terminal is closed, or nobody reads the pipe: what is printed is kept all the same
            self._outs[read] = os.open(os.devnull, os.O_WRONLY)

    def _keep(self, name: str, text: str) -> None:
        if self._log is None:
            return
        try:
            self._log.keep(name, text)
        except OSError as error:
            self._stop()
            sys.stderr.write(f"the output of the run is not kept any more: {error.strerror}; the run goes on\n")

    def _hear(self) -> None:
        try:
            asked = self._control.recv(1)
            self._answer(asked)
        except OSError:
            asked = b""
        if not asked:  # the run is gone
            self._selector.unregister(self._control)

    def _answer(self, asked: bytes) -> None:
        if asked == b"f":
            if self._log is not None:
                self._finished = self._log.finished()
            self._control.sendall(self._finished.to_bytes(8, "big"))
            return
        if asked == b"s":
            self._drain()
            self._stop()
            self._control.sendall(b"k")

    def _drain(self) -> None:
        """Take what was printed before now."""
        while True:
            ready = [key.fd for key, _ in self._selector.select(0) if key.fd in self._outs]
            if not ready:
                return
            for fd in ready:
                self._pass_on(fd)

    def _stop(self) -> None:
        if self._log is not None:
            self._finished = self._log.finished()
            self._log.close()
            self._log = None
