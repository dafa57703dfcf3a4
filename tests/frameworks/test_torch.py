"""PyTorch itself: two processes under DDP, DP, and its tensors as hyperparameters."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from t9k.em.containers import Params
from t9k.em.errors import InvalidInput

torch = pytest.importorskip("torch", reason="PyTorch is not installed; `make test-frameworks` installs it")
pytestmark = pytest.mark.frameworks

DDP = {"framework": "torch.distributed", "type": "DDP", "world_size": 2, "backend": "gloo"}


def rank(number: int, store: str, compiled: bool, results: Any) -> None:
    """Run as one of two processes: parse the wrapped model, before and after the group is gone."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=2)
    model: Any = DistributedDataParallel(torch.nn.Linear(2, 1))
    if compiled:
        model = torch.compile(model, backend="eager")
    params = Params(lambda _: None)
    params.parse(dist_torch_model=model)
    dist.destroy_process_group()
    try:
        params.parse(dist_torch_model=model)
    except InvalidInput as error:
        results.put((number, params.as_dict(), str(error)))


@pytest.mark.skipif(sys.platform == "win32", reason="gloo's file store needs POSIX")
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_ddp_in_two_processes(tmp_path: Path, compiled: bool) -> None:
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=rank, args=(n, str(tmp_path / "store"), compiled, results)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    found = sorted(results.get(timeout=10) for _ in processes)
    assert [(number, hparams) for number, hparams, _ in found] == [(0, {"dist": DDP}), (1, {"dist": DDP})]
    assert all("call parse before destroy_process_group()" in error for *_, error in found)


def test_dp_on_a_cpu() -> None:
    params = Params(lambda _: None)
    params.parse(dist_torch_model=torch.nn.DataParallel(torch.nn.Linear(2, 1)))
    devices = list(range(torch.cuda.device_count()))
    assert params.dist == {
        "framework": "torch.nn",
        "type": "DP",
        "world_size": max(1, len(devices)),
        "device_ids": devices,
    }


def test_subclasses_count() -> None:
    ours = type("Ours", (torch.nn.DataParallel,), {})
    params = Params(lambda _: None)
    params.parse(dist_torch_model=ours(torch.nn.Linear(2, 1)))
    assert params.dist.type == "DP"


def test_a_model_that_is_not_wrapped_is_refused() -> None:
    for model in (torch.nn.Linear(2, 1), torch.compile(torch.nn.Linear(2, 1), backend="eager"), torch.nn.DataParallel):
        with pytest.raises(
            InvalidInput, match=r"dist_torch_model must be a torch\.nn\.parallel\.DistributedDataParallel"
        ):
            Params(lambda _: None).parse(dist_torch_model=model)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: torch.tensor(0.5), 0.5),
        (lambda: torch.tensor([[3]]), 3),
        (lambda: torch.tensor(True), True),
        (lambda: torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (lambda: torch.tensor(0.5, requires_grad=True), 0.5),
    ],
)
def test_one_element_tensors_become_numbers(make: Any, kept: object) -> None:
    params = Params(lambda _: None, {"x": [make()]})
    assert params.as_dict() == {"x": [kept]}
    assert type(params.x[0]) is type(kept)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: torch.zeros(2), [0.0, 0.0]),
        (lambda: torch.zeros(0), []),
        (lambda: torch.zeros(1, device="meta"), "Tensor of shape (1,), torch.float32"),
        (lambda: torch.zeros(30, 40), "Tensor of shape (30, 40), torch.float32"),
        (lambda: torch.tensor(1j), "1j"),
        (lambda: torch.float16, "torch.float16"),
        (lambda: torch.device("cuda:0"), "cuda:0"),
        (lambda: torch.Size([1, 2]), [1, 2]),
        (lambda: torch.nn.ReLU, "torch.nn.modules.activation.ReLU"),
    ],
)
def test_other_objects_of_torch_have_a_form(make: Any, kept: object) -> None:
    assert Params(lambda _: None, {"x": make()}).as_dict() == {"x": kept}


class Scaled:
    """A dataset that reads a hyperparameter where it is used, and adds 1 in the process that made it."""

    def __init__(self, hparams: Params) -> None:
        self.hparams = hparams
        self.maker = os.getpid()

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        self.hparams.seen = index
        return index * int(self.hparams.scale) + (os.getpid() == self.maker)


def test_params_travel_to_the_workers_of_a_data_loader() -> None:
    uploads: list[object] = []
    dataset = Scaled(Params(uploads.append, {"scale": 3}))
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    assert [batch.tolist() for batch in loader] == [[0, 3], [6, 9]]
    assert uploads == []
