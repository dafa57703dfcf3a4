"""One large file through the AIStore server, against a bare nginx that takes the same file by PUT, on the same disk.

nginx does not sync what it takes, and the server does before it answers. So the first figure of each is until the answer,
and the second until the file is on the disk; the last line is the disk alone. The file is announced with its SHA-256, as
the contract has it, which is made before the clock runs, as `curl -T` makes none; the row `em upload` is the client of
this library, hashing included, where it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

from attrs import define, field
from measuring import report, seconds
from serving import MIB, AIStorePlace, Someone, Watch, aistore, cpu_s, document, group
from tests.services.processes import free_port

GOAL = 0.60
GOAL_MIB = 300

_CONFIG = """
daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log; {user}
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  client_body_in_file_only off; client_max_body_size 0;
  server {{ listen 127.0.0.1:{port}; root {home}/files; location / {{ dav_methods PUT; }} }}
}}
"""

_EM_MAKE = """
import sys
from t9k import em
artifact = em.create_artifact(name="bench")
artifact.add_file(sys.argv[1], "data")
print(artifact.local)
"""

_EM_UPLOAD = """
import sys
from t9k import em
url, key, artifact, folder = sys.argv[1:]
em.login(url, api_key=key)
em.load_artifact(artifact).upload(folder=folder, make_folder=True)
"""


@define
class Way:
    """One way to bring a file to the disk.

    Attributes:
        name: How the report calls it.
        send: Sends it, for the n-th time.
        stored: The file on the disk after that.
        answered: Seconds until it was answered, one for each round.
        synced: Likewise with a sync of the file after that.
        server: Leader of the process group of the server.
        cpu: Processor time of the server, likewise.
    """

    name: str
    send: Callable[[int], object]
    stored: Callable[[], Path]
    server: int
    answered: list[float] = field(factory=list)
    synced: list[float] = field(factory=list)
    cpu: list[float] = field(factory=list)

    def measure(self, number: int, size: int, directory: Path) -> None:
        touch_memory(directory / "scratch", 2 * size)
        before = cpu_s(group(self.server))
        took = seconds(lambda: self.send(number))
        stored = self.stored()
        if stored.stat().st_size != size:
            raise SystemExit(f"{self.name}: {stored} has {stored.stat().st_size} bytes and not {size}")
        self.cpu.append(cpu_s(group(self.server)) - before)
        self.answered.append(took)
        self.synced.append(took + seconds(lambda: _sync(stored)))
        stored.unlink()


def touch_memory(scratch: Path, size: int) -> None:
    """Gives every way the same start: nothing left to sync, and free pages that the machine really has.

    A hypervisor takes back pages that were free for some seconds, and the first write to each is ten times as slow then.
    """
    os.sync()
    block = bytes(MIB)
    with scratch.open("wb", buffering=0) as file:
        for _ in range(0, size, MIB):
            file.write(block)
    scratch.unlink()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def nginx(program: Path, home: Path) -> Iterator[tuple[int, int]]:
    """A bare nginx with one worker that takes PUT; gives its port and process."""
    for name in ("files", "body"):
        (home / name).mkdir(parents=True)
    port = free_port()
    user = "user root;" if os.getuid() == 0 else ""
    (home / "conf").write_text(_CONFIG.format(home=home, port=port, user=user))
    command = [program, "-p", home, "-c", home / "conf", "-e", home / "error.log"]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            _wait(port, process)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"nginx ended with {process.returncode}")
        with contextlib.suppress(OSError):
            http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
            return
        time.sleep(0.05)
    raise SystemExit("nginx does not answer")


def raw_upload(someone: Someone, source: Path, sha256: str, connections: int, number: int) -> None:
    """Sends a file in parts over a few connections, as the contract has it."""
    limits = someone.ask("GET", "version").json()["limits"]
    size, step = source.stat().st_size, limits["bodyBytes"]
    begun = document(f"/{someone.name}/bench", f"raw{number}", {})
    begun["files"] = [{"key": "data", "size": size, "sha256": sha256}]
    answer = someone.ask("POST", "uploads", json=begun)
    answer.raise_for_status()
    there = urlsplit(someone.url)
    base = f"{there.path}/apis/v1/uploads/{quote(begun['op'])}"
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)

        starts = iter(range(0, size, step))  # each is taken by whoever comes first

        def send(_: int) -> None:
            connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=300)
            for start in starts:
                body = view[start : start + step]
                headers = {
                    "Authorization": f"Bearer {someone.key}",
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(len(body)),
                }
                connection.request("PUT", f"{base}/part?key=data&start={start}", body, headers)
                got = connection.getresponse()
                said = got.read()
                if got.status != 204:
                    raise SystemExit(f"a part was answered with {got.status}: {said[:500]!r}")
            connection.close()

        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(send, range(connections)))
        view.release()
    for path, body in ((f"uploads/{begun['op']}/join", {"key": "data"}), (f"uploads/{begun['op']}/commit", None)):
        answer = someone.ask("POST", path, json=body)
        answer.raise_for_status()
    if answer.json()["outcome"] != "published":
        raise SystemExit(f"the upload is {answer.json()}")


def em_artifact(source: Path, home: Path) -> Path:
    """An artifact on the disk that consists of the file."""
    made = subprocess.run(
        [sys.executable, "-c", _EM_MAKE, source], check=True, capture_output=True, text=True, cwd=home, env=_own(home)
    )
    return home / made.stdout.split()[-1]


def _own(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


def find_stored(root: Path, size: int) -> Path:
    """The one file of that size below a root."""
    found = [path for path in root.rglob("*") if path.is_file() and path.stat().st_size == size]
    if len(found) != 1:
        raise SystemExit(f"{root} holds {len(found)} files of {size} bytes, and not 1: {found}")
    return found[0]


def make_source(directory: Path, size: int) -> tuple[Path, str]:
    """A file of random bytes, and their SHA-256."""
    digest, path = hashlib.sha256(), directory / "source"
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            block = os.urandom(min(MIB, size - start))
            digest.update(block)
            file.write(block)
    return path, digest.hexdigest()


def copy_and_sync(source: Path, target: Path) -> None:
    """What the disk can do."""
    with source.open("rb") as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy, MIB)
        copy.flush()
        os.fsync(copy.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nginx", type=Path, default=shutil.which("nginx"), help="its program (default: on the PATH)")
    parser.add_argument("--mib", type=int, default=1024, help="size of the file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--connections", type=int, default=4, help="of the plain client (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server (default: %(default)s)")
    parser.add_argument("--no-em", action="store_true", help="without the client of this library")
    parser.add_argument("--json", action="store_true", help="print one JSON document in the end")
    options = parser.parse_args()
    if options.nginx is None:
        parser.error("there is no nginx on the PATH; say --nginx PATH (Debian: dpkg -x of the package will do)")
    size = options.mib * MIB
    with tempfile.TemporaryDirectory(prefix="em-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        if os.getuid() == 0:
            directory.chmod(0o755)
        source, sha256 = make_source(directory, size)
        peer = stack.enter_context(nginx(options.nginx.resolve(), directory / "nginx"))
        place = stack.enter_context(aistore(directory / "server", workers=options.workers))
        ways = make_ways(options, directory, source, sha256, peer, place)
        watch = stack.enter_context(Watch(place))
        for number in range(options.rounds):
            for way in ways:
                way.measure(number, size, directory)
        show(ways, size, watch, as_json=options.json)


def make_ways(
    options: argparse.Namespace, directory: Path, source: Path, sha256: str, peer: tuple[int, int], place: AIStorePlace
) -> list[Way]:
    port, nginx_process = peer
    server = place.process.pid
    someone = place.someone()
    root, size = place.directory / "root", source.stat().st_size
    put = directory / "nginx" / "files" / "data"
    curl = ["curl", "-sSf", "-o", "/dev/null", "-T", source, f"http://127.0.0.1:{port}/data"]
    copy = directory / "copy"

    def stored() -> Path:
        return find_stored(root, size)

    ways = [
        Way("nginx, curl -T", lambda _: subprocess.run(curl, check=True), lambda: put, nginx_process),
        Way(
            "server, plain client",
            lambda n: raw_upload(someone, source, sha256, options.connections, n),
            stored,
            server,
        ),
        Way("copy and fsync", lambda _: copy_and_sync(source, copy), lambda: copy, 0),
    ]
    if not options.no_em:
        artifact = em_artifact(source, directory)

        def em_upload(number: int) -> None:
            script = [sys.executable, "-c", _EM_UPLOAD, place.url, someone.key, artifact, f"bench/{number}"]
            subprocess.run(script, check=True, stdout=subprocess.DEVNULL, cwd=directory, env=_own(directory))

        ways.insert(2, Way("server, em upload", em_upload, stored, server))
    return ways


def show(ways: Sequence[Way], size: int, watch: Watch, *, as_json: bool) -> None:
    medians = {
        way.name: tuple(size / MIB / sorted(times)[len(times) // 2] for times in (way.answered, way.synced))
        for way in ways
    }
    if as_json:
        print(json.dumps({"mibPerSecond": medians, "peakMiB": watch.peak_bytes / MIB}, indent=1))
        return
    for way in ways:
        report(f"{way.name}: answered", way.answered, 1, "s ")
        report(f"{way.name}: answered and synced", way.synced, 1, "s ")
    peer = medians["nginx, curl -T"]
    for name, mine in medians.items():
        ratios = f"{mine[0] / peer[0]:5.2f} and {mine[1] / peer[1]:5.2f} of nginx"
        print(f"{name:<22} {mine[0]:6.0f} MiB/s answered, {mine[1]:6.0f} on the disk   {ratios}")
    for way in ways:
        if way.server:
            cpu = sorted(way.cpu)[len(way.cpu) // 2]
            print(f"{way.name:<22} {cpu:6.2f} s of processor time in the server")
    print(f"goal: the server at least {GOAL:.2f} of nginx")
    print(f"peak RSS of all server processes {watch.peak_bytes / MIB:.0f} MiB   (goal: below {GOAL_MIB})")


if __name__ == "__main__":
    main()
