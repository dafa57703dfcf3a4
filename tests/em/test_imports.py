"""Importing the library costs little: no library that is not needed yet, no file, no environment, no thread."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["requests", "urllib3", "fsspec", "yaml", "numpy", "click", "rich", "plotext", "http.client", "ssl", "sqlite3"]
HEAVY += ["asyncio", "multiprocessing", "importlib.metadata", "t9k_em_backends", "hypothesis", "pytest", "sklearn"]

PROBE = """
import json, os, sys, threading
had = set(sys.modules)
asked, opened, other = [], [], []

class Environ(type(os.environ)):
    def __getitem__(self, key):
        asked.append(key)
        return super().__getitem__(key)

    def __iter__(self):
        asked.append("*")
        return super().__iter__()

def hook(event, args):
    if event == "open":
        opened.append(str(args[0]))
    elif event.split(".")[0] in ("socket", "subprocess") or event in ("os.mkdir", "os.rename", "os.remove", "os.system"):
        other.append(event)

os.environ.__class__ = Environ
sys.addaudithook(hook)
{code}
os.environ.__class__ = type(os.environ).__mro__[1]
print(json.dumps({
    "modules": sorted(set(sys.modules) - had),
    "asked": asked,
    "opened": [path for path in opened if not path.endswith((".py", ".pyc", ".so")) and ".pyc." not in path],
    "other": other,
    "threads": threading.active_count(),
}))
"""


def probe(code: str) -> dict:
    ended = subprocess.run(
        [sys.executable, "-c", PROBE.replace("{code}", code)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(autouse=True)
def _without_coverage(monkeypatch):
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_the_probe_sees_what_it_looks_for():
    found = probe("import requests; os.environ.get('X'); open('f', 'w').close()")
    assert "requests" in found["modules"]
    assert "X" in found["asked"]
    assert "f" in found["opened"]


@pytest.mark.parametrize("module", ["t9k", "t9k.em", "t9k.ah.core", "t9k.em.errors", "t9k.em.backend"])
def test_importing_does_nothing_but_import(module):
    found = probe(f"import {module}")
    assert module in found["modules"]
    assert [name for name in found["modules"] if name in HEAVY] == []
    assert found["asked"] == []
    assert found["opened"] == []
    assert found["other"] == []
    assert found["threads"] == 1


def test_the_api_is_there_after_the_import():
    found = probe("from t9k import em; em.create_run, em.Run, em.Artifact, em.Params")
    assert "t9k.em.run" in found["modules"]


def test_a_local_run_loads_nothing_for_networks():
    found = probe(
        "from t9k.em.run import Run; run = Run({'name': 'a'}); run.log('train', {'a': 1}, step=1); run.finish()"
    )
    assert [name for name in found["modules"] if name in HEAVY] == []


def test_a_local_upload_loads_no_client_of_a_network(tmp_path):
    code = "from t9k import em; em.login('store'); a = em.create_artifact('a'); a.upload()"
    found = probe(code)
    assert [
        name for name in found["modules"] if name in ("requests", "urllib3", "fsspec", "numpy", "click", "rich")
    ] == []
