"""Losses that are computed inside a wrapper's forward pass, and inputs that are cast on their way in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.parts.shared.entry_module import EntryModule, compute_inside
from accel.parts.shared.input_cast import InputCast


class Doubled(nn.Module):
    """A wrapper that puts something behind what it is given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = EntryModule(model)

    def forward(self, value: Any) -> Any:
        result = self.inner(value)
        return result * 2 if isinstance(result, Tensor) else result


@pytest.mark.parametrize("kind", ["loss", "tuple", "numbers"])
def test_the_loss_passes_through_the_wrapper(kind: str) -> None:
    wrapper, batch = Doubled(nn.Linear(3, 1)), torch.ones(2, 3)

    def function(model: nn.Module, batch: Tensor) -> Any:
        loss = model(batch).mean()
        return {"loss": loss, "tuple": (loss, 7), "numbers": {"accuracy": 0.5}}[kind]

    outcome = compute_inside(wrapper, function, batch)
    loss = wrapper.inner.model(batch).mean()
    if kind == "loss":
        assert torch.equal(outcome, loss * 2)
    elif kind == "tuple":
        assert torch.equal(outcome[0], loss * 2)
        assert outcome[1:] == (7,)
    else:
        assert outcome == {"accuracy": 0.5}


class Places(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(5, 4), nn.Linear(4, 4)

    def forward(self, number: Tensor, *, scale: Tensor) -> Tensor:
        assert number.dtype == torch.int64
        assert scale.dtype == torch.bfloat16
        vectors: Tensor = self.linear(self.table(number).float().to(torch.bfloat16)) * scale
        return vectors


def test_floating_point_inputs_of_the_outermost_module_are_cast() -> None:
    model = Places().to(torch.bfloat16)
    InputCast(model, torch.bfloat16, torch.device("cpu"))
    assert model(torch.tensor([1, 2]), scale=torch.ones(())).dtype == torch.bfloat16
    assert model.linear(torch.ones(1, 4)).dtype == torch.bfloat16, "a part that is called alone"
