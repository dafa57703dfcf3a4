from __future__ import annotations

import getpass
import importlib.util
import os
import subprocess
import sys
import types

import numpy as np

from t9k.em.capture import platform
from t9k.em.local.yamlwriter import dump


def test_the_machine_and_the_packages_in_use():
    collected = platform.collect(["python", "train.py", "--lr", "0.1", "--api-key", "secret"], "/data")
    assert collected["command"] == ["python", "train.py", "--lr", "0.1", "--api-key", "***"]
    assert collected["directory"] == "/data"
    assert collected["user"] == getpass.getuser()
    assert collected["executable"] == sys.executable
    assert collected["memory_bytes"] > 1 << 20
    assert collected["hostname"]
    assert collected["python"].startswith("3.")
    assert collected["cpus"] == os.cpu_count()
    assert collected["packages"]["numpy"] == np.__version__
    dump(collected)


def test_nothing_is_imported():
    before = set(sys.modules)
    platform.collect([], "")
    assert set(sys.modules) == before


def test_packages_that_are_not_imported_are_not_in_use(monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] in platform._PACKAGES:
            monkeypatch.delitem(sys.modules, name)
    assert platform.versions() == {}


def test_versions_by_the_name_on_the_package_index(monkeypatch):
    class TorchVersion(str):
        __slots__ = ()

    module = types.ModuleType("sklearn")
    module.__version__ = TorchVersion("1.2")
    monkeypatch.setitem(sys.modules, "sklearn", module)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "jax", types.ModuleType("jax"))  # no version, and not installed
    monkeypatch.setitem(sys.modules, "keras", object())
    monkeypatch.setitem(sys.modules, "optax", types.SimpleNamespace(__version__=(1, 2)))
    packages = platform.versions()
    assert packages["scikit-learn"] == "1.2"
    assert type(packages["scikit-learn"]) is str
    assert not {"torch", "jax", "keras", "optax"} & set(packages)


def test_a_version_may_come_from_the_metadata(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    assert platform.versions()["numpy"] == np.__version__


def test_a_lazy_module_stays_unloaded(monkeypatch, tmp_path):
    (tmp_path / "vllm.py").write_text("raise AssertionError('loaded')")
    spec = importlib.util.spec_from_file_location("vllm", tmp_path / "vllm.py")
    assert spec is not None
    assert spec.loader is not None
    loader = spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "vllm", module)
    assert "vllm" not in platform.versions()


def test_a_user_without_a_name_has_a_number(monkeypatch):
    def unknown():
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert platform.collect([], "")["user"] == str(os.getuid())


def test_a_command_line_is_bounded():
    assert platform.shortened(["a" * 5000, "b"]) == ["a" * 4096 + "...", "b"]
    many = platform.shortened(["c" * 4000] * 100)
    assert many[-1] == "..."
    assert sum(map(len, many)) < 1 << 17


def test_bytes_that_are_no_utf8_are_kept_readable():
    collected = platform.collect([os.fsdecode(b"a\xff")], os.fsdecode(b"/b\xff"))
    assert (collected["command"], collected["directory"]) == (["a\\xff"], "/b\\xff")
    dump(collected)


def test_no_file_of_a_run_holds_a_secret_of_its_command_line(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("from t9k import em\nem.create_run(name='a').finish()\n")
    given = ["--api-key", "hunter2", "--lr=0.1", "db.password=hunter2", "https://alice:hunter2@example.org/data"]
    subprocess.run([sys.executable, "-W", "error", script, *given], check=True, cwd=tmp_path)
    files = [path for path in (tmp_path / ".em").rglob("*") if path.is_file()]
    recorded = next(path for path in files if path.name == "platform.yaml").read_text()
    assert '"-W"' in recorded or "- -W" in recorded
    assert "train.py" in recorded
    assert "--lr=0.1" in recorded
    assert "example.org/data" in recorded
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
