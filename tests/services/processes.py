"""Runs a server for as long as a block lasts: on a free port of 127.0.0.1, with its data in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

READY_S = 60
PORTS = range(20_000, 32_000)  # below those that systems give out by themselves, and so are their twins 10,000 above
TRIES = 5


def program(name: str) -> str:
    """The path of a program that a package installed beside Python."""
    return str(Path(sys.executable).with_name(name))


def free_port(*, twin: int = 0) -> int:
    """A port of 127.0.0.1 that nobody listens on, nor on the one that is `twin` above."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        if all(_is_free(number) for number in {port, port + twin}):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(url: str) -> bool:
    """Whether a server speaks HTTP there and is not still starting; a refusal is an answer."""
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except OSError:
        return False


@contextlib.contextmanager
def running(
    directory: Path, command: Callable[[int], Sequence[str]], *, twin: int = 0, path: str = "/"
) -> Iterator[int]:
    """Runs a server and yields its port once it answers; it gets SIGKILL in the end, and its directory stays.

    Args:
        directory: Its home and working directory, which is made; its output goes to `log` there.
        command: The command line for a port.
        twin: See `free_port`.
        path: What to ask for until it answers.
    """
    directory.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory)}
    with (directory / "log").open("wb") as log:
        for _ in range(TRIES):  # somebody else may take the port first
            port = free_port(twin=twin)
            with subprocess.Popen(
                command(port), cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ) as process:
                try:
                    if _is_ready(process, f"http://127.0.0.1:{port}{path}"):
                        yield port
                        return
                finally:
                    process.kill()
    raise RuntimeError(f"{command(0)[0]} does not start; it says: {(directory / 'log').read_text()[-2000:]}")


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    before = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < before:
        if answers(url):
            return True
        time.sleep(0.05)
    return False
