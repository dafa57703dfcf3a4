"""Reading how training is distributed: Horovod by stand-ins (it has no wheels), the others in tests/frameworks."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from t9k.em.containers import Params
from t9k.em.errors import InvalidInput
from t9k.em.frameworks import describe_horovod, describe_tf_strategy, describe_torch_model, parse_distribution


def horovod(name: str, **sizes: Any) -> ModuleType:
    module = ModuleType(name)
    for function, size in sizes.items():
        setattr(module, function, size if callable(size) else lambda size=size: size)
    return module


def not_initialised() -> int:
    raise ValueError("Horovod has not been initialized; use hvd.init().")


def test_horovod_tells_its_sizes() -> None:
    hvd = horovod("horovod.tensorflow.keras", size=8, local_size=4, cross_size=2)
    expected = {
        "framework": "horovod.tensorflow.keras",
        "type": "Horovod",
        "world_size": 8,
        "local_size": 4,
        "cross_size": 2,
    }
    assert describe_horovod(hvd) == expected
    uploads: list[dict[str, Any]] = []
    params = Params(uploads.append, {"lr": 1})
    params.parse(dist_hvd=hvd)
    assert uploads == [{"lr": 1, "dist": expected}]
    params.parse()
    assert len(uploads) == 1


def test_horovod_without_local_sizes() -> None:
    found = describe_horovod(horovod("horovod.torch", size=2))
    assert found == {"framework": "horovod.torch", "type": "Horovod", "world_size": 2}


def test_horovod_before_init_says_so() -> None:
    with pytest.raises(InvalidInput, match=r"call its init\(\) before parse"):
        describe_horovod(horovod("horovod.torch", size=not_initialised))


@pytest.mark.parametrize("describe", [describe_tf_strategy, describe_torch_model, describe_horovod])
@pytest.mark.parametrize("value", [1, "horovod.torch", object(), sys, ModuleType("horovod.torch"), int])
def test_other_objects_are_refused(describe: Any, value: object) -> None:
    with pytest.raises(InvalidInput, match=r"dist_\w+ must be .* not (a|the module) "):
        describe(value)


def test_only_one_at_a_time() -> None:
    uploads: list[object] = []
    with pytest.raises(InvalidInput, match="give only one of"):
        Params(uploads.append).parse(dist_tf_strategy=1, dist_hvd=1)
    assert uploads == []


def test_nothing_given_is_nothing_found() -> None:
    assert parse_distribution() is None


def test_no_framework_is_imported() -> None:
    code = (
        "import sys\n"
        "from t9k.em.containers import Params\n"
        "params = Params(print)\n"
        "for name in ('dist_tf_strategy', 'dist_torch_model', 'dist_hvd'):\n"
        "    try: params.parse(**{name: 1})\n"
        "    except ValueError: pass\n"
        "    else: sys.exit('accepted')\n"
        "sys.exit(str({'torch', 'tensorflow', 'horovod', 'numpy'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.stderr.strip() == "set()", done.stderr
