"""SIGKILL while a process uploads to S3: the same upload again ends it, sends nothing twice and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from tests.faults import dying
from tests.faults.s3clients import DRIVERS, HOME, proxied
from tests.services.places import BUCKET, S3Place
from tests.services.proxy import Exchange, Proxy
from tests.services.stub import SLOW_DOWN, operation, script

from t9k.em.backend import Backend
from t9k.em.errors import NotFound
from t9k.em.registry import open_backend
from t9k.em.testing.uploads import read_node

MIB = 1 << 20
PARTS = 5
pytestmark = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture
def client(s3: S3Place) -> Iterator[Any]:
    with closing(boto3.session.Session().client("s3")) as client:
        yield client


@pytest.fixture
def root(s3: S3Place) -> str:
    return s3.new_root()


def pending(client: Any, root: str) -> list[dict[str, Any]]:
    """The multipart uploads in progress below a root."""
    prefix = root.rpartition("/")[2] + "/"
    found: list[dict[str, Any]] = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    return found


def check(backend: Backend, contents: dict[str, bytes]) -> None:
    """There is one node, published once, with this content."""
    (node,) = backend.list(HOME)
    assert [(node.path, node.generation) for node in backend.versions(node.path)] == [(f"{HOME}/m", 1)]
    assert read_node(backend, node) == contents


@pytest.mark.long
@pytest.mark.parametrize(
    ("sizes", "step"),
    [({"a": 100, "b/c": 3000, "empty": 0}, 1), ({"a": 100, "large": 20 * MIB}, 3)],
    ids=["small", "large"],
)
def test_killed_at_any_call_of_the_store(
    sizes: dict[str, int], step: int, driver: str, root: str, client: Any, tmp_path: Path
) -> None:
    step += driver == "fsspec"  # s3fs takes its time to start
    died = dying.run(uri=root, options=f"driver={driver}", sizes=sizes, step=step, local=tmp_path / "local")
    assert (died + 1) * step > 12
    contents = {key: dying.content(size) for key, size in sizes.items()}
    for number in range(died):
        with open_backend(f"{root}/{number}") as backend:
            check(backend, contents)
            backend.collect(grace_s=-60.0, apply=True)
            check(backend, contents)
            left = [info.key for info in backend.store.list("") if "/m/" in info.key and "/h/" not in info.key]
            assert len(left) == len(contents)
    assert pending(client, root) == []


@pytest.fixture
def proxy(s3: S3Place) -> Iterator[Proxy]:
    with proxied(s3) as proxy:
        yield proxy


def uploading(uri: str, sizes: dict[str, int], local: Path) -> subprocess.Popen[bytes]:
    """A process that uploads."""
    source = (
        "import sys; from pathlib import Path; from tests.faults import dying\n"
        f"dying.upload(sys.argv[1], {{key: dying.content(size) for key, size in {sizes}.items()}}, Path(sys.argv[2]))"
    )
    return subprocess.Popen([sys.executable, "-c", source, uri, str(local)], cwd=dying.REPOSITORY)


def kill_amid_parts(proxy: Proxy, uri: str, local: Path) -> None:
    """Kills an upload of which two parts are there, and no more get through."""
    proxy.instead = script(SLOW_DOWN, of="UploadPart", key="partNumber=[^12](&|$)")
    with uploading(uri, {"large": PARTS * 8 * MIB}, local) as process:
        try:
            while sorted(part_number(exchange) for exchange in parts(proxy) if exchange.status == 200) != [1, 2]:
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()


def parts(proxy: Proxy) -> list[Exchange]:
    return [exchange for exchange in proxy.exchanges if operation(exchange) == "UploadPart"]


def part_number(exchange: Exchange) -> int:
    return int(dict(parse_qsl(urlsplit(exchange.target).query))["partNumber"])


@pytest.mark.long
def test_parts_that_are_there_are_not_sent_again(
    driver: str, root: str, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    uri = f"{root}?driver={driver}&endpoint=http://{proxy.address}"
    kill_amid_parts(proxy, uri, tmp_path / "local")
    (upload,) = pending(client, root)
    there = client.list_parts(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])["Parts"]
    assert [part["PartNumber"] for part in there] == [1, 2]
    with open_backend(uri) as backend, pytest.raises(NotFound):
        backend.stat(f"{HOME}/m")
    proxy.forget()
    with uploading(uri, {"large": PARTS * 8 * MIB}, tmp_path / "local") as process:
        assert process.wait() == 0
    assert sorted(map(part_number, parts(proxy))) == [3, 4, 5]
    assert pending(client, root) == []
    with open_backend(uri) as backend:
        check(backend, {"large": dying.content(PARTS * 8 * MIB)})


@pytest.mark.long
def test_gc_takes_away_what_nobody_goes_on_with(
    driver: str, root: str, proxy: Proxy, client: Any, tmp_path: Path
) -> None:
    kill_amid_parts(proxy, f"{root}?driver={driver}&endpoint=http://{proxy.address}", tmp_path / "local")
    uri = f"{root}?driver={driver}"
    assert em("gc", uri).startswith("would delete 0 objects")
    assert len(pending(client, root)) == 1
    assert "would delete 2 objects," in em("gc", uri, "--older-than", "0s")
    assert len(pending(client, root)) == 1
    assert "deleted 2 objects," in em("gc", uri, "--older-than", "0s", "--apply")
    assert pending(client, root) == []
    assert em("gc", uri, "--older-than", "0s").startswith("would delete 0 objects")


def em(*args: str) -> str:
    """Runs `em` as a program and returns what it prints."""
    command = [sys.executable, "-c", "from t9k.em.cli import main; main()", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout
