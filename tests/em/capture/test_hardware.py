"""Processor, memory and GPUs; of the latter what a library and a program in their place say."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
import yaml

from t9k import em
from t9k.em.capture import hardware

NVIDIA_SMI = "printf 'NVIDIA A100-SXM4-80GB, 81920, 550.54.15\\nNVIDIA GB10, [N/A], 550.54.15\\n'"
GPUS: list[dict[str, object]] = [
    {"name": "NVIDIA A100-SXM4-80GB", "memory_bytes": 80 << 30},
    {"name": "NVIDIA GB10", "memory_bytes": None},
]
FOUND = {"gpus": GPUS, "gpu_driver": "550.54.15"}


class NVMLError(Exception):
    pass


def library(count: int = 2, *, text=str, refuses: str = "") -> types.SimpleNamespace:
    """As `pynvml` is, of a machine with GPUs of which the second does not tell its memory."""
    calls = []

    def answer(name, value):
        def asked(*args):
            calls.append(name)
            if name == refuses:
                raise NVMLError(name)
            return value(*args)

        return asked

    def memory(index):
        if index == 1:
            raise NVMLError
        return types.SimpleNamespace(total=80 << 30)

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: count,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda index: text(GPUS[index]["name"]),
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlSystemGetDriverVersion": lambda: text("550.54.15"),
    }
    found = {name: answer(name, value) for name, value in answers.items()}
    return types.SimpleNamespace(NVMLError=NVMLError, calls=calls, **found)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a program `nvidia-smi` on the PATH."""

    def put(script: str) -> None:
        directory = tmp_path / "bin"
        directory.mkdir()
        (directory / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (directory / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)

    return put


@pytest.mark.parametrize("text", [str, str.encode], ids=["text", "bytes"])
def test_gpus_by_the_library(text):
    known = library(text=text)
    assert hardware.gpus(known) == FOUND
    assert known.calls[-1] == "nvmlShutdown"


def test_gpus_by_the_program(program):
    program(NVIDIA_SMI)
    assert hardware.gpus(None) == FOUND
    assert hardware.gpus(library(refuses="nvmlInit")) == FOUND


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'", "true", "printf '\\377'"])
def test_a_program_that_knows_no_gpu(program, script):
    program(script)
    assert hardware.gpus(None) == {}


def test_a_program_that_hangs_is_given_up(program, monkeypatch):
    program("exec sleep 60")
    monkeypatch.setattr(hardware, "_PROGRAM_TIMEOUT_S", 0.2)
    assert hardware.gpus(None) == {}


def test_no_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware.gpus(None) == {}
    assert hardware.gpus(library(0)) == {}
    assert hardware.gpus(library(refuses="nvmlDeviceGetName")) == {}


def test_a_library_that_cannot_be_imported_is_none(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert hardware.nvml() is None
    monkeypatch.delitem(sys.modules, "pynvml")
    (tmp_path / "pynvml.py").write_text("import warnings\nwarnings.warn('use another', FutureWarning)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert hardware.nvml() is None


@pytest.mark.parametrize(
    ("info", "model"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7763\n", "AMD EPYC 7763"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("processor\t: 0\nmodel name\t:\n", None),
        ("", None),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="has no such file")
def test_the_model_of_the_processor(monkeypatch, tmp_path, info, model):
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    assert hardware.cpu_model() == model
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "missing")
    assert hardware.cpu_model() is None


def test_memory(monkeypatch):
    assert hardware.memory_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.delattr(os, "sysconf")
    assert hardware.memory_bytes() is None


def test_a_run_records_the_gpus_and_keeps_them_when_it_finishes(program, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    program(NVIDIA_SMI)
    with em.create_run(name="a") as run:
        assert run.platform["gpus"] == GPUS
        directory = os.getcwd()
        os.chdir("/")
    recorded = yaml.safe_load(Path(directory, run.local, "platform.yaml").read_text())
    assert recorded["gpus"] == GPUS
    assert recorded["gpu_driver"] == "550.54.15"
    assert recorded["directory"] == directory
