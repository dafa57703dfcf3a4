"""What the machine does while a run goes on, sampled in a thread."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from t9k.em.capture.capture import importing
from t9k.em.warn import warn_incomplete

TYPE = "system"
"""Type of these metrics."""

_STOP_WAIT_S = 2.0

Values = dict[str, float]
Source = Callable[[], Values]


class SystemMetrics:
    """Samples processor, memory, disk, network and NVIDIA GPUs.

    Nothing here raises: without psutil, or where a part of the machine does not tell, an `IncompleteWarning` says so once.

    Args:
        period_s: Seconds between two samples; the first comes after as many.
        directory: On the disk whose free space counts.
        log: Called in a thread with the values by name, and the number of the sample.
        first: Number of the first sample; asked in the thread.
    """

    def __init__(
        self, period_s: float, directory: Path, log: Callable[[Values, int], None], first: Callable[[], int] = int
    ) -> None:
        self._period_s = period_s
        self._directory = directory
        self._log = log
        self._first = first
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; again is fine."""
        if self._thread is not None:
            return
        if find_spec("psutil") is None:
            _warn("system metrics are not recorded: psutil is not installed; pip install 't9k-em[system]'")
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="t9k-em-system", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads: a limit of the system, or the interpreter shuts down
            self._thread = None
            _warn(f"system metrics are not recorded: {error}")

    def stop(self) -> None:
        """End; again is fine. No sample is logged after this, unless one takes longer than 2 s."""
        self._stop.set()
        self._stop = threading.Event()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_STOP_WAIT_S)

    def _run(self, stop: threading.Event) -> None:
        try:
            with importing():
                sources = _sources(self._directory)
            number = self._first()
            due = time.monotonic()
            while True:
                due = max(due + self._period_s, time.monotonic())  # a machine that slept is not sampled for all of it
                if stop.wait(due - time.monotonic()):
                    return
                values = _sample(sources)
                if stop.is_set() or not sources:
                    return
                self._log(values, number)
                number += 1
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the training has nothing to do with it
            _warn(f"system metrics are not recorded any more: {type(error).__name__}: {error}")


def _sample(sources: list[tuple[str, Source]]) -> Values:
    values: Values = {}
    for named in list(sources):
        name, source = named
        try:
            values |= source()
        except Exception as error:  # noqa: BLE001 - one part of the machine that does not tell leaves the others
            sources.remove(named)
            _warn(f"system metrics about {name} are not recorded: {type(error).__name__}: {error}")
    return values


def _sources(directory: Path) -> list[tuple[str, Source]]:
    import psutil  # noqa: PLC0415 - the extra `system`

    process = psutil.Process()
    # The first call of either has nothing to compare with.
    psutil.cpu_percent()
    process.cpu_percent()

    def processor() -> Values:
        return {"cpu_percent": psutil.cpu_percent(), "process_cpu_percent": process.cpu_percent()}

    def memory() -> Values:
        whole = psutil.virtual_memory()
        return {"memory_used_bytes": whole.total - whole.available, "process_rss_bytes": process.memory_info().rss}

    def space() -> Values:
        return {"disk_free_bytes": psutil.disk_usage(os.fspath(directory)).free}

    def transfers() -> Values:
        found = psutil.disk_io_counters()  # None where there is no disk, as in some containers
        return {} if found is None else {"disk_read_bytes": found.read_bytes, "disk_written_bytes": found.write_bytes}

    def network() -> Values:
        found = psutil.net_io_counters()
        return (
            {}
            if found is None
            else {"network_sent_bytes": found.bytes_sent, "network_received_bytes": found.bytes_recv}
        )

    return [
        ("the processor", processor),
        ("memory", memory),
        ("disk space", space),
        ("disk traffic", _Rates(transfers)),
        ("the network", _Rates(network)),
        *(("GPUs", gpu) for gpu in _gpus()),
    ]


class _Rates:
    """Counters as rates a second since the last call; a counter that began anew is left out once."""

    def __init__(self, counters: Source) -> None:
        self._counters = counters
        self._before = self._read()

    def _read(self) -> tuple[float, Values]:
        try:
            return time.monotonic(), self._counters()
        except Exception:  # noqa: BLE001 - the first sample will meet it again, and tell
            return time.monotonic(), {}

    def __call__(self) -> Values:
        then, before = self._before
        now, counters = self._before = time.monotonic(), self._counters()
        elapsed_s = max(now - then, 1e-9)
        return {
            f"{name}_per_s": (count - before[name]) / elapsed_s
            for name, count in counters.items()
            if name in before and count >= before[name]
        }


def _gpus() -> Iterator[Source]:
    """Yield the GPUs that NVIDIA's library tells about; none where it is missing or has no driver."""
    try:
        import pynvml  # noqa: PLC0415 - the extra `system`

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # noqa: BLE001 - no GPU, no driver, or none that works: a usual machine
        return
    for index, handle in enumerate(handles):
        yield _gpu(pynvml, index, handle)


def _gpu(nvml: Any, index: int, handle: Any) -> Source:
    asked: dict[str, Callable[[], float]] = {
        "utilization_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
        "temperature_celsius": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "power_watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    }

    def read() -> Values:
        values = {}
        for name, ask in asked.items():
            with contextlib.suppress(nvml.NVMLError):  # not every GPU knows all of it
                values[f"gpu{index}_{name}"] = ask()
        return values

    return read


def _warn(message: str) -> None:
    warn_incomplete(f"{message}; the run goes on", 5)
