"""TensorFlow itself: its distribution strategies, one of them over two processes, and its tensors as hyperparameters."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from t9k.em.containers import Params
from t9k.em.errors import InvalidInput

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed; `make test-frameworks` installs it")
pytestmark = pytest.mark.frameworks

WORKER = """
import json
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
from t9k.em.containers import Params
params = Params(lambda _: None)
params.parse(dist_tf_strategy=strategy)
print("found", json.dumps(params.as_dict()))
"""

# The servers run beside the chief in one process, and end with it.
CHIEF = """
import json, os
import tensorflow as tf
from t9k.em.containers import Params
cluster = tf.train.ClusterSpec(json.loads(os.environ["TF_CONFIG"])["cluster"])
servers = [
    tf.distribute.Server(cluster, job_name=job, task_index=index, protocol="grpc")
    for job, index in (("worker", 0), ("worker", 1), ("ps", 0))
]
resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
params = Params(lambda _: None)
params.parse(dist_tf_strategy=tf.distribute.ParameterServerStrategy(resolver))
print("found", json.dumps(params.as_dict()), flush=True)
os._exit(0)
"""


def parse(strategy: Any) -> dict[str, Any]:
    params = Params(lambda _: None)
    params.parse(dist_tf_strategy=strategy)
    found: dict[str, Any] = params.as_dict()["dist"]
    return found


@pytest.fixture(scope="module", autouse=True)
def _two_cpus() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def test_mirrored_counts_replicas() -> None:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    assert parse(strategy) == {"framework": "tf.distribute", "type": "MirroredStrategy", "world_size": 2}


def test_one_device() -> None:
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert parse(strategy) == {"framework": "tf.distribute", "type": "OneDeviceStrategy", "world_size": 1}


def test_no_strategy_is_the_default_one() -> None:
    strategy = tf.distribute.get_strategy()
    assert parse(strategy) == {"framework": "tf.distribute", "type": "DefaultStrategy", "world_size": 1}


def start(code: str, cluster: dict[str, list[str]], task_type: str, index: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}}),
    }
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def found_by(*processes: subprocess.Popen[str]) -> list[dict[str, Any]]:
    try:
        outputs = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for out, err in outputs:
        assert "found " in out, err
    return [json.loads(out.partition("found ")[2])["dist"] for out, _ in outputs]


def addresses(number: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(number)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


def test_multi_worker_mirrored_in_two_processes() -> None:
    cluster = {"worker": addresses(2)}
    expected = {
        "framework": "tf.distribute",
        "type": "MultiWorkerMirroredStrategy",
        "world_size": 2,
        "cluster": {"worker": 2},
        "task_type": "worker",
    }
    found = found_by(*[start(WORKER, cluster, "worker", index) for index in range(2)])
    assert found == [{**expected, "task_id": 0}, {**expected, "task_id": 1}]


def test_multi_worker_mirrored_without_a_cluster() -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    found = parse(strategy)
    assert found == {"framework": "tf.distribute", "type": "MultiWorkerMirroredStrategy", "world_size": 1}


def test_parameter_servers_are_counted() -> None:
    chief, ps, *workers = addresses(4)
    cluster = {"chief": [chief], "ps": [ps], "worker": workers}
    assert found_by(start(CHIEF, cluster, "chief", 0)) == [
        {
            "framework": "tf.distribute",
            "type": "ParameterServerStrategy",
            "world_size": 1,
            "cluster": {"chief": 1, "ps": 1, "worker": 2},
            "task_type": "chief",
            "task_id": 0,
        }
    ]


def test_other_objects_are_refused() -> None:
    for value in (tf.constant(1), tf.distribute.MirroredStrategy, tf.distribute):
        with pytest.raises(InvalidInput, match=r"dist_tf_strategy must be an instance of tf\.distribute\.Strategy"):
            parse(value)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: tf.constant(0.5), 0.5),
        (lambda: tf.constant([[3]]), 3),
        (lambda: tf.constant(True), True),
        (lambda: tf.Variable(0.5), 0.5),
    ],
)
def test_one_element_tensors_become_numbers(make: Any, kept: object) -> None:
    params = Params(lambda _: None, {"x": [make()]})
    assert params.as_dict() == {"x": [kept]}
    assert type(params.x[0]) is type(kept)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: tf.zeros(2), [0.0, 0.0]),
        (lambda: tf.constant([]), []),
        (lambda: tf.zeros((30, 40)), "EagerTensor of shape (30, 40), float32"),
        (lambda: tf.constant("text"), "text"),
        (lambda: tf.constant(1j), "1j"),
        (lambda: tf.float32, "float32"),
    ],
)
def test_other_objects_of_tensorflow_have_a_form(make: Any, kept: object) -> None:
    assert Params(lambda _: None, {"x": make()}).as_dict() == {"x": kept}
