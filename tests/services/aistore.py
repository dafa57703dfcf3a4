"""Our own AIStore server, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from attrs import define, field
from tests.services.processes import READY_S, answers, free_port

from t9k.em.server.accounts import Accounts

STOP_S = 20

_SERVE = """
import json, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # once uvicorn has stopped: what is measured is kept
from t9k.em.server.serving import run
from t9k.em.server.settings import Settings
run(Settings(**json.loads(sys.argv[1])))
"""


@define
class Someone:
    """A user with a key, and what they ask of a server."""

    url: str
    name: str
    key: str = field(repr=False)
    session: requests.Session = field(factory=requests.Session, repr=False)

    def __attrs_post_init__(self) -> None:
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {self.key}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends a request to a path of the API; `/...` from the server's root on."""
        address = f"{self.url}{path}" if path.startswith("/") else f"{self.url}/apis/v1/{path}"
        return self.session.request(method, address, timeout=30, **options)


@define
class AIStorePlace:
    """A server, which may be ended and started again at the same address.

    Attributes:
        directory: Its home, with its log.
        settings: What it is started with.
        environment: What its processes find in their environment.
    """

    directory: Path
    settings: dict[str, Any]
    environment: dict[str, str] = field(factory=dict, repr=False)
    process: subprocess.Popen[bytes] | None = None
    accounts: Accounts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.accounts = Accounts(self.settings["database"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['port']}{self.settings.get('root_path', '')}"

    def start(self, address: str = "/ready") -> None:
        """Starts the server and waits until an address of it answers."""
        measuring = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), **measuring, **self.environment}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, json.dumps(self.settings)],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that its workers end with it
            )
        before = time.monotonic() + READY_S
        while not answers(f"http://127.0.0.1:{self.settings['port']}{address}"):
            if self.process.poll() is not None or time.monotonic() > before:
                raise RuntimeError(f"the server does not start; it says: {self.log()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Ends the server and its workers by SIGKILL."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Ends the server by SIGTERM, and by SIGKILL where that is not enough."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        self.kill()

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def someone(self, *, is_admin: bool = False, prefix: str = "u") -> Someone:
        """A new user with a key."""
        name = f"{prefix}{uuid.uuid4().hex[:12]}"
        self.accounts.add_user(name, is_admin=is_admin)
        return Someone(self.url, name, self.accounts.add_key(name)[1])


@contextlib.contextmanager
def aistore(
    directory: Path, *, root: str | None = None, environment: dict[str, str] | None = None, **settings: Any
) -> Iterator[AIStorePlace]:
    """Runs a server for as long as a block lasts.

    Args:
        directory: Its home, which is made; its database and, without `root`, its files lie there.
        root: URI of what it serves.
        environment: For its processes.
        **settings: Others of `t9k.em.server.settings.Settings`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    place = AIStorePlace(
        directory,
        {
            "root": root or f"file://{directory}/root",
            "database": f"sqlite:///{directory}/server.db",
            "port": free_port(),
            **settings,
        },
        environment or {},
    )
    place.accounts.migrate()
    try:
        place.start()
        yield place
    finally:
        place.stop()
        place.accounts.close()
