"""One number that is not finite is found, in every format and wherever it stands."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from accel.checkpoints.finite_check import BLOCK, FiniteCheck, finite

FORMATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, -1])
def test_one_number_among_many(dtype: torch.dtype, value: float, place: int) -> None:
    tensor = torch.full((BLOCK + 7,), torch.finfo(dtype).max, dtype=dtype)
    tensor[1::2] = -torch.finfo(dtype).tiny
    assert finite(tensor)
    tensor[place] = value
    assert not finite(tensor)
    assert not finite(tensor.expand(2, -1).t())


def test_what_has_no_nan_is_finite() -> None:
    assert finite(torch.tensor([-1, 2**62]))
    assert finite(torch.empty(0))
    assert finite(torch.tensor(1.0))
    assert not finite(torch.tensor(torch.nan))


def test_weights_statistics_and_the_optimiser_count_and_a_mask_does_not() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    proof, roles = FiniteCheck(model), {"optim": "adamw"}

    def proven(name: str = "", loss: float | None = 1.0, momentum: float = 1.0, other: float = torch.inf) -> bool:
        state = {key: value.clone() for key, value in model.state_dict().items()}
        if name:
            state[name].view(-1)[0] = torch.nan
        parts = {"adamw": {"state": {0: {"exp_avg": torch.tensor([momentum])}}}, "rate": {"best": torch.tensor(other)}}
        return proof({"model": state, "parts": parts, "loss": None if loss is None else torch.tensor(loss)}, roles)

    assert proven()
    assert proven(loss=None)
    assert not proven("0.weight")
    assert not proven("1.running_var")
    assert not proven(loss=torch.nan)
    assert not proven(momentum=torch.inf)
