"""The numbers that mixed precision turns on: what the formats can hold, and that our own step keeps what they would lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.parts import Autocast, Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.master_weights import MasterWeights
from accel.plugins.sgd import SGD

SMALLEST = {torch.float16: -24, torch.bfloat16: -133, torch.float32: -149, torch.float64: -1074}
"""The exponent of the smallest positive number; half of it is zero."""


@pytest.mark.parametrize("dtype", SMALLEST, ids=str)
def test_smallest_positives(dtype: torch.dtype) -> None:
    smallest = torch.tensor(2.0 ** SMALLEST[dtype], dtype=torch.float64).to(dtype)
    assert smallest.double() == 2.0 ** SMALLEST[dtype]
    assert smallest > 0
    assert smallest / 2 == 0
    assert torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps == smallest.double()


def test_bfloat16_has_the_range_of_float32_and_float16_has_not() -> None:
    assert torch.finfo(torch.bfloat16).smallest_normal == torch.finfo(torch.float32).smallest_normal == 2.0**-126
    assert torch.tensor(2.0**127).bfloat16() == 2.0**127
    assert torch.finfo(torch.float16).max == 65504
    assert torch.tensor(65520.0).half() == torch.inf


@pytest.mark.parametrize(
    ("dtype", "ends"), [(torch.float16, 2048), (torch.bfloat16, 256), (torch.float32, 4096)], ids=["float16", "bfloat16", "float32"]
)
def test_a_running_sum_of_4096_ones(dtype: torch.dtype, ends: int) -> None:
    total, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
    for _ in range(4096):
        total += one
    assert total == ends


PRECISIONS: dict[str, Callable[..., Autocast]] = {"amp": AMP, "master_weights": MasterWeights}


def weight(loss: Callable[[Tensor], Tensor], samples: int, *plugins: Part) -> float:
    """A single weight after one update with a learning rate of 1, from 0: minus its gradient. Its input is 1 in each sample."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    Trainer(
        model, TensorDataset(torch.ones(samples, 1)), loss=lambda model, batch: loss(model(batch[0]).float()).mean(),
        plugins=[SGD(lr=1.0, momentum=0.0), *plugins], watch=(), batch_size=1,
    ).fit()  # fmt: skip
    return float(model.weight.detach())


@pytest.mark.parametrize("clip", [[], [Clip(max_norm=1.0)]], ids=["", "clip"])
@pytest.mark.parametrize("name", PRECISIONS)
def test_a_gradient_of_2_to_the_minus_26_is_rescued_by_the_loss_scale(name: str, clip: list[Part]) -> None:
    def after(scale: float) -> float:
        precision = PRECISIONS[name](dtype="float16", force=True, init_scale=scale)
        return weight(lambda out: out * 2.0**-26, 1, precision, *clip)

    assert after(1.0) == 0, "it is less than half of what float16 can hold"
    assert after(2.0**16) == -(2.0**-26), "and comes back to the last bit"


def test_bfloat16_holds_it_without_a_scale() -> None:
    assert weight(lambda out: out * 2.0**-26, 1, AMP()) == -(2.0**-26)


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.slow
def test_gradients_of_4096_micro_batches_are_summed_in_float32(name: str, dtype: str) -> None:
    # each is 1/4096: a sum in float16 would end at 1/2, one in bfloat16 at 1/16
    precision = PRECISIONS[name](dtype=dtype, force=True)
    assert weight(lambda out: out, 4096, precision, Accumulate(steps=4096)) == -1


def test_as_tensor_shares_memory_and_tensor_copies() -> None:
    array = np.zeros(4, dtype=np.float32)
    shared, copied = torch.as_tensor(array), torch.tensor(array)
    array[0] = 1
    assert shared[0] == 1
    assert copied[0] == 0


def test_a_batch_of_numpy_arrays_reaches_the_model_without_a_copy() -> None:
    batch, seen = torch.as_tensor(np.ones((2, 3), dtype=np.float32)), []

    def loss(model: nn.Module, x: Any) -> Tensor:
        seen.append(x.data_ptr())
        out: Tensor = model(x).mean()
        return out

    Trainer(nn.Linear(3, 1), [batch], loss=loss, watch=(), device="cpu").fit()
    assert seen == [batch.data_ptr()], "on a CPU the model reads the array's own memory"
