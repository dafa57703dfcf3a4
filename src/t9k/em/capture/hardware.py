"""Processor, memory and GPUs of the machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_CPU_INFO = Path("/proc/cpuinfo")
_CPU_INFO_BYTES = 1 << 16
# In the order of preference; what ARM and POWER call it.
_MODEL_FIELDS = ("model name", "Model", "cpu model", "cpu", "Hardware")
_PROGRAM_TIMEOUT_S = 5.0
_MIB = 1 << 20


def cpu_model() -> str | None:
    """Return the name of the processor; None where the system does not report it."""
    if sys.platform == "darwin":  # pragma: no cover - depends on the system
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    try:
        with _CPU_INFO.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(_CPU_INFO_BYTES).splitlines()
    except OSError:
        return None
    fields = {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    return next((fields[name] for name in _MODEL_FIELDS if fields.get(name)), None)


def memory_bytes() -> int | None:
    """Return how much memory the machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def nvml() -> Any:
    """Return the module pynvml, which the extra `system` brings; None where it is missing or cannot be imported."""
    try:
        import pynvml  # noqa: PLC0415 - the extra `system`
    except Exception:  # noqa: BLE001 - a package of that name that warns, where warnings are errors, or is broken
        return None
    return pynvml


def gpus(library: Any) -> dict[str, Any]:
    """Return the NVIDIA GPUs, as pynvml tells them, else the program `nvidia-smi`.

    Args:
        library: What `nvml` returned.

    Returns:
        ``{"gpus": [{"name": str, "memory_bytes": int | None}], "gpu_driver": str}``, or ``{}`` where there are none.
    """
    return _by_library(library) or _by_program()


def _by_library(library: Any) -> dict[str, Any]:
    if library is None:
        return {}
    try:
        library.nvmlInit()
        try:
            found = [_gpu(library, index) for index in range(library.nvmlDeviceGetCount())]
            return {"gpus": found, "gpu_driver": _text(library.nvmlSystemGetDriverVersion())} if found else {}
        finally:
            library.nvmlShutdown()
    except Exception:  # noqa: BLE001 - no GPU, no driver, or none that works: a usual machine
        return {}


def _gpu(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    size: int | None = None
    with contextlib.suppress(nvml.NVMLError):  # GPUs that share the memory of the machine do not tell
        size = nvml.nvmlDeviceGetMemoryInfo(handle).total
    return {"name": _text(nvml.nvmlDeviceGetName(handle)), "memory_bytes": size}


def _text(value: str | bytes) -> str:
    """Old versions of pynvml give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _by_program() -> dict[str, Any]:
    asked = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    rows = [line.rsplit(",", 2) for line in (_output("nvidia-smi", *asked) or "").splitlines()]
    found = [[cell.strip() for cell in row] for row in rows if len(row) == len(("name", "memory", "driver"))]
    if not found:
        return {}
    gpus = [{"name": name, "memory_bytes": int(size) * _MIB if size.isdecimal() else None} for name, size, _ in found]
    return {"gpus": gpus, "gpu_driver": found[0][2]}


def _output(*command: str) -> str | None:
    """Return the output of a program; None for one that is missing, fails, or takes longer than 5 s."""
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROGRAM_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", "replace").strip() or None
