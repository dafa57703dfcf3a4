from __future__ import annotations

import importlib.util
import os
import sys
import types

import numpy as np

from t9k.em.capture import platform
from t9k.em.local.yamlwriter import dump


def test_the_machine_and_the_packages_in_use():
    collected = platform.collect()
    assert collected["hostname"]
    assert collected["python"].startswith("3.")
    assert collected["cpus"] == os.cpu_count()
    assert collected["packages"]["numpy"] == np.__version__
    dump(collected)


def test_nothing_is_imported():
    before = set(sys.modules)
    platform.collect()
    assert set(sys.modules) == before


def test_packages_that_are_not_imported_are_not_in_use(monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] in platform._PACKAGES:
            monkeypatch.delitem(sys.modules, name)
    assert platform.collect()["packages"] == {}


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
    packages = platform.collect()["packages"]
    assert packages["scikit-learn"] == "1.2"
    assert type(packages["scikit-learn"]) is str
    assert not {"torch", "jax", "keras", "optax"} & set(packages)


def test_a_version_may_come_from_the_metadata(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    assert platform.collect()["packages"]["numpy"] == np.__version__


def test_a_lazy_module_stays_unloaded(monkeypatch, tmp_path):
    (tmp_path / "vllm.py").write_text("raise AssertionError('loaded')")
    spec = importlib.util.spec_from_file_location("vllm", tmp_path / "vllm.py")
    assert spec is not None
    assert spec.loader is not None
    loader = spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "vllm", module)
    assert "vllm" not in platform.collect()["packages"]
