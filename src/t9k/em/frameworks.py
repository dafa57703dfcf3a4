"""How training is distributed, read off the objects of TensorFlow, PyTorch and Horovod without importing any of them.

The result is one dict, kept as the hyperparameter `dist`. Three keys are always there:

- `framework`: 'tf.distribute', 'torch.distributed', 'torch.nn' (DP works in one process), or Horovod's module name;
- `type`: name of the strategy's class, 'DDP' or 'DP', or 'Horovod';
- `world_size`: number of replicas of the model that train in sync (1 with parameter servers, whose workers `cluster`
  counts).

More where it is known: `cluster` (task type -> number of tasks) and `task_type`, `task_id` of this process (TensorFlow);
`backend` and `device_ids` (PyTorch); `local_size` and `cross_size`, the processes on this machine and the machines
(Horovod). No addresses are kept.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NoReturn

from t9k.em.errors import InvalidInput

__all__ = ["describe_horovod", "describe_tf_strategy", "describe_torch_model", "parse_distribution"]

# Class names that differ from the public ones, and did so since TensorFlow 2.4.
_TF_NAMES = {
    "CollectiveAllReduceStrategy": "MultiWorkerMirroredStrategy",
    "ParameterServerStrategyV2": "ParameterServerStrategy",
    "TPUStrategyV2": "TPUStrategy",
    "_DefaultDistributionStrategy": "DefaultStrategy",
}


def parse_distribution(
    dist_tf_strategy: object = None, dist_torch_model: object = None, dist_hvd: object = None
) -> dict[str, Any] | None:
    """Describe the one of the three that is not None.

    Args:
        dist_tf_strategy: Strategy of `tf.distribute`.
        dist_torch_model: PyTorch model wrapped in DP or DDP.
        dist_hvd: Module of Horovod, such as `horovod.torch`.

    Returns:
        The description, or None if all of them are None.

    Raises:
        InvalidInput: More than one is given, or the one is not what it should be.
    """
    given = [
        (describe, value)
        for describe, value in (
            (describe_tf_strategy, dist_tf_strategy),
            (describe_torch_model, dist_torch_model),
            (describe_horovod, dist_hvd),
        )
        if value is not None
    ]
    if len(given) > 1:
        message = "give only one of dist_tf_strategy, dist_torch_model and dist_hvd: the one that spreads the training"
        raise InvalidInput(message)
    for describe, value in given:
        return describe(value)
    return None


def describe_tf_strategy(strategy: Any) -> dict[str, Any]:
    """Describe a TensorFlow distribution strategy.

    Args:
        strategy: Instance of a class of `tf.distribute`.

    Returns:
        framework, type, world_size; cluster, task_type and task_id where a cluster is resolved.

    Raises:
        InvalidInput: The argument is no strategy.
    """
    if not _derives_from(strategy, "tensorflow.", "StrategyBase"):
        _refuse("dist_tf_strategy", "an instance of tf.distribute.Strategy", strategy)
    name = type(strategy).__name__
    found: dict[str, Any] = {
        "framework": "tf.distribute",
        "type": _TF_NAMES.get(name, name),
        "world_size": int(strategy.num_replicas_in_sync),
    }
    resolver: Any = getattr(strategy, "cluster_resolver", None)
    if resolver is None:  # ParameterServerStrategy keeps it where the property does not look (TensorFlow 2.21)
        resolver = getattr(strategy, "_cluster_resolver", None)
    tasks = {} if resolver is None else resolver.cluster_spec().as_dict()
    if tasks:
        found["cluster"] = {str(task_type): len(addresses) for task_type, addresses in tasks.items()}
        tells = {"task_type": resolver.task_type, "task_id": resolver.task_id}
        found |= {name: value for name, value in tells.items() if value is not None}
    return found


def describe_torch_model(model: Any) -> dict[str, Any]:
    """Describe how a PyTorch model is wrapped.

    Args:
        model: `DataParallel` or `DistributedDataParallel`, also inside `torch.compile`.

    Returns:
        framework, type, world_size; device_ids where the model is on chosen devices; backend for DDP.

    Raises:
        InvalidInput: The model is wrapped in neither, or its process group is gone.
    """
    if _derives_from(model, "torch._dynamo.", "OptimizedModule"):
        model = model._orig_mod  # noqa: SLF001 - torch.compile has no public way to the wrapped model
    if _derives_from(model, "torch.nn.parallel.", "DataParallel"):
        devices = [int(device) for device in model.device_ids]
        return {
            "framework": "torch.nn",
            "type": "DP",
            "world_size": max(1, len(devices)),  # without a GPU, DP runs the model itself
            "device_ids": devices,
        }
    if not _derives_from(model, "torch.nn.parallel.", "DistributedDataParallel"):
        _refuse("dist_torch_model", "a torch.nn.parallel.DistributedDataParallel or torch.nn.DataParallel", model)
    distributed: Any = sys.modules["torch.distributed"]
    try:
        world_size = int(distributed.get_world_size(model.process_group))
        backend = str(distributed.get_backend(model.process_group))
    except (RuntimeError, ValueError) as error:
        message = "the process group of dist_torch_model is gone; call parse before destroy_process_group()"
        raise InvalidInput(message) from error
    found = {"framework": "torch.distributed", "type": "DDP", "world_size": world_size, "backend": backend}
    if model.device_ids is not None:
        found["device_ids"] = [int(device) for device in model.device_ids]
    return found


def describe_horovod(module: Any) -> dict[str, Any]:
    """Describe Horovod's processes.

    Args:
        module: Such as `horovod.torch` or `horovod.tensorflow.keras`, after its `init()`.

    Returns:
        framework, type, world_size; local_size and cross_size where the module has them.

    Raises:
        InvalidInput: The argument is no module of Horovod, or `init()` was not called.
    """
    is_horovod = isinstance(module, ModuleType) and module.__name__.split(".")[0] == "horovod"
    if not is_horovod or not callable(getattr(module, "size", None)):
        _refuse("dist_hvd", "a module such as horovod.torch", module)
    try:
        found: dict[str, Any] = {"framework": module.__name__, "type": "Horovod", "world_size": int(module.size())}
        for name in ("local_size", "cross_size"):
            size = getattr(module, name, None)
            if callable(size):
                found[name] = int(size())
    except (RuntimeError, ValueError) as error:  # ValueError is what Horovod raises before init()
        message = f"{module.__name__} does not know its size yet; call its init() before parse"
        raise InvalidInput(message) from error
    return found


def _derives_from(value: object, module_prefix: str, name: str) -> bool:
    return any(cls.__name__ == name and cls.__module__.startswith(module_prefix) for cls in type(value).__mro__)


def _refuse(argument: str, expected: str, value: object) -> NoReturn:
    what = f"the module {value.__name__}" if isinstance(value, ModuleType) else f"a {type(value).__qualname__}"
    message = f"{argument} must be {expected}, not {what}"
    raise InvalidInput(message)
