"""What the machine does is logged while a run goes on, and never stands in its way."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import threading
import time
import types
import warnings

import pytest

from t9k import em
from t9k.em.capture import system
from t9k.em.capture.system import SystemMetrics
from t9k.em.errors import IncompleteWarning, InvalidConfig, InvalidInput

psutil = pytest.importorskip("psutil")

PERIOD_S = 0.01


def wait_for(count: int, logged: list) -> None:
    deadline = time.monotonic() + 60
    while len(logged) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(logged) >= count


@pytest.fixture
def logged() -> list:
    return []


@pytest.fixture
def sampler(tmp_path, logged):
    made = SystemMetrics(PERIOD_S, tmp_path, lambda values, step: logged.append((values, step)), lambda: 3)
    yield made
    made.stop()


def entries(run: em.Run) -> list[dict]:
    return run.metrics.get("system", [])


def test_a_run_logs_what_the_machine_does_until_it_finishes():
    run = em.create_run(name="r", system_metrics=PERIOD_S)
    deadline = time.monotonic() + 60
    while len(entries(run)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    run.finish()
    found = entries(run)
    assert [entry["sequence"]["step"] for entry in found] == list(range(len(found)))
    values = found[-1]["value"]
    assert {"cpu_percent", "process_cpu_percent", "memory_used_bytes", "process_rss_bytes", "disk_free_bytes"} <= set(
        values
    )
    assert 0 <= values["cpu_percent"] <= 100
    assert 1 << 20 < values["process_rss_bytes"] < values["memory_used_bytes"] < psutil.virtual_memory().total
    assert all(math.isfinite(value) and value >= 0 for value in values.values())
    assert not [thread for thread in threading.enumerate() if thread.name == "t9k-em-system"]

    loaded = em.load_run(run.local, system_metrics=PERIOD_S)
    assert not [thread for thread in threading.enumerate() if thread.name == "t9k-em-system"]
    loaded.log("train", {"x": 1}, step=1)  # it goes on
    while len(entries(loaded)) < len(found) + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    loaded.finish()
    assert [entry["sequence"]["step"] for entry in entries(loaded)] == list(range(len(entries(loaded))))
    assert len(entries(loaded)) >= len(found) + 2


def test_none_are_logged_by_default():
    with em.create_run(name="r") as run:
        assert run._system is None


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, True, "5"])
def test_a_period_is_a_positive_number(bad, tmp_path):
    with pytest.raises(InvalidInput, match="system_metrics must be the seconds between two samples"):
        em.create_run(system_metrics=bad)
    with pytest.raises(InvalidInput, match="system_metrics must be the seconds between two samples"):
        em.load_run("x", system_metrics=bad)
    assert not (tmp_path / ".em").exists()


def test_the_config_file_may_ask_for_them(tmp_path):
    (tmp_path / "run.yaml").write_text("name: r\nsystem_metrics: 60\n")
    with em.create_run(config_path="run.yaml") as run:
        assert run._system is not None
    (tmp_path / "run.yaml").write_text("system_metrics: often\n")
    with pytest.raises(InvalidConfig, match="needs a number of seconds for 'system_metrics'"):
        em.create_run(config_path="run.yaml")


def test_without_psutil_one_warning_names_the_extra(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(system, "find_spec", lambda name: None if name == "psutil" else real(name))
    with pytest.warns(IncompleteWarning, match=r"psutil is not installed; pip install 't9k-em\[system\]'"):
        run = em.create_run(name="r", system_metrics=PERIOD_S)
    run.finish()
    assert "system" not in run.metrics


def test_steps_go_on_where_they_were(sampler, logged):
    sampler.start()
    sampler.start()
    wait_for(2, logged)
    sampler.stop()
    assert [step for _, step in logged] == list(range(3, 3 + len(logged)))


def test_rates_are_a_second(monkeypatch):
    now, counters = [100.0], {"read": 1000.0, "new": 5.0}
    monkeypatch.setattr(system.time, "monotonic", lambda: now[0])
    rates = system._Rates(lambda: dict(counters))
    now[0], counters["read"] = 102.0, 1500.0
    assert rates() == {"read_per_s": 250.0, "new_per_s": 0.0}
    now[0], counters["read"] = 103.0, 10.0  # the counter began anew
    assert rates() == {"new_per_s": 0.0}
    now[0], counters["read"] = 104.0, 20.0
    assert rates()["read_per_s"] == 10.0


def test_a_part_that_does_not_tell_is_left_out_with_one_warning(monkeypatch, sampler, logged):
    def broken() -> None:
        raise OSError("no /proc/net/dev")

    monkeypatch.setattr(psutil, "net_io_counters", broken)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sampler.start()
        wait_for(3, logged)
        sampler.stop()
    assert [str(warning.message) for warning in caught] == [
        "system metrics about the network are not recorded: OSError: no /proc/net/dev; the run goes on"
    ]
    assert "cpu_percent" in logged[-1][0]
    assert "network_sent_bytes_per_s" not in logged[-1][0]


def test_a_log_that_fails_ends_the_samples_with_a_warning(tmp_path):
    told = threading.Event()

    def log(values, step):
        told.set()
        raise ZeroDivisionError

    made = SystemMetrics(PERIOD_S, tmp_path, log)
    with pytest.warns(IncompleteWarning, match="are not recorded any more: ZeroDivisionError"):
        start_and_join(made)
    assert told.is_set()


def start_and_join(made: SystemMetrics) -> None:
    made.start()
    assert made._thread is not None
    made._thread.join(60)


class FakeNVML(types.ModuleType):
    """A machine with two GPUs, of which the second tells less."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def nvmlInit(self):  # noqa: N802 - NVIDIA's names
        pass

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        return types.SimpleNamespace(gpu=90 + handle)

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return types.SimpleNamespace(used=1 << 30)

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        return 60

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        if handle:
            raise self.NVMLError("Not Supported")
        return 250_500


def test_gpus_tell_what_they_know(monkeypatch, sampler, logged):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNVML("pynvml"))
    sampler.start()
    wait_for(1, logged)
    gpu = {name: value for name, value in logged[0][0].items() if name.startswith("gpu")}
    assert gpu == {
        "gpu0_utilization_percent": 90,
        "gpu0_memory_used_bytes": 1 << 30,
        "gpu0_temperature_celsius": 60,
        "gpu0_power_watts": 250.5,
        "gpu1_utilization_percent": 91,
        "gpu1_memory_used_bytes": 1 << 30,
        "gpu1_temperature_celsius": 60,
    }


def test_without_a_driver_there_are_no_gpus(monkeypatch, sampler, logged):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sampler.start()
    wait_for(1, logged)
    assert not [name for name in logged[0][0] if name.startswith("gpu")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_made_by_fork_does_not_sample(sampler, logged):
    sampler.start()
    wait_for(1, logged)
    if not (child := os.fork()):
        before = len(logged)
        time.sleep(5 * PERIOD_S)
        sampler.stop()
        os._exit(0 if len(logged) == before else 1)
    assert os.waitpid(child, 0)[1] == 0
