"""A model that computes something else each time, or with NaN, is not exported, whatever an export of it would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel.errors import ConfigError
from accel.export.call.sound_model import require_sound
from accel.export.call.structured_values import join_tensors, split_tensors
from accel.export.example import ModelCall


class Model(nn.Module):
    def __init__(self, work: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.work, self.calls = nn.Linear(3, 2), work, 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.work(self, self.layer(x))


def counted(model: Any, y: Tensor) -> Tensor:
    model.count += 1
    return y * model.count


CALL = ModelCall((torch.ones(5, 3),), {}, None)


@pytest.mark.parametrize(
    "work",
    [
        lambda model, y: F.dropout(y, 0.5, training=True), lambda model, y: y + torch.randn(y.shape), counted,
        lambda model, y: y * model.calls,
    ],
    ids=["dropout", "random", "buffer", "attribute"],
)  # fmt: skip
def test_a_model_that_repeats_nothing_is_refused(work: Callable[[Any, Tensor], Tensor]) -> None:
    with pytest.raises(ConfigError, match="called twice with the same inputs, the model's outputs differ by"):
        require_sound(Model(work).eval(), CALL)


def test_a_model_that_counts_and_computes_the_same_is_not() -> None:
    model = Model(lambda model, y: y + 0 * model.count.add_(1)).eval()
    require_sound(model, CALL)
    with torch.no_grad():
        model.layer.weight[0, 0] = float("nan")
    with pytest.raises(ConfigError, match=r"the weights are not finite \(layer.weight has NaN or infinity\)"):
        require_sound(model, CALL)


def test_what_no_file_keeps_is_named() -> None:
    with pytest.raises(ConfigError, match="the model returns a object in cache, and an exported file has tensors"):
        split_tensors({"logits": torch.ones(1), "cache": object()}, "the model returns")


@pytest.mark.parametrize(
    "structure", [[], ["tuple"], ["dict", [["a"]]], ["nothing"], ["float", "x"], None, "tensor", ["tensor"], ["value", [1]]]
)
def test_what_is_no_structure_is_a_value_error(structure: Any) -> None:
    with pytest.raises(ValueError):
        join_tensors(structure, [])
