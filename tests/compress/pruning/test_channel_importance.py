"""Importance by hand: weights, BatchNorm's scales, and the gradient of a gate, which is what Taylor sums up."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from accel.compress.pruning.channel_groups import ChannelGroup
from accel.compress.pruning.channel_importance import TaylorSums, bn_scale, gammas, magnitude
from accel.compress.pruning.channel_tracing import trace_channels
from tests.support.prunable_nets import PrunableNet, spread

pytest.importorskip("torch_pruning")
X = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))


class Gated(nn.Module):
    """A convolution, a norm or none, a gate for each channel, and a head."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6) if norm else nn.Identity()
        self.head = nn.Linear(6, 2)
        self.gate: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        if self.gate is not None:
            y = y * self.gate[:, None, None]
        return self.head(y.relu().mean((2, 3)))


def first_group(model: nn.Module) -> ChannelGroup:
    return trace_channels(deepcopy(model), lambda one: [one(X)])[0]


def test_magnitude_sums_squares_over_all_layers_of_a_unit() -> None:
    model = spread(Gated(norm=True))
    made = model.conv.weight.detach().double().square().sum((1, 2, 3))
    read = model.head.weight.detach().double().square().sum(0)
    expected = ((made / made.mean() + read / read.mean()) / 2).sqrt()
    assert torch.allclose(magnitude(model, first_group(model), dict(model.named_parameters())), expected, rtol=1e-6)


def test_bn_scale_is_the_mean_of_the_scales() -> None:
    model = spread(PrunableNet(("residual", "residual")))
    group = first_group(model)
    scales = torch.stack([model.get_parameter(f"blocks.{number}.norm.weight").detach().abs().double() for number in (0, 1)])
    assert torch.allclose(bn_scale(model, group, dict(model.named_parameters())), scales.mean(0))
    assert gammas(model, [group]) == ["blocks.0.norm.weight", "blocks.1.norm.weight"]


@pytest.mark.parametrize("norm", [False, True])
def test_taylor_is_the_mean_square_of_the_gradient_of_a_gate(norm: bool) -> None:
    model = spread(Gated(norm))
    group = first_group(model)
    sums = TaylorSums(model, [group], torch.device("cpu"))
    expected = torch.zeros(6)
    for update in range(3):
        model.gate = torch.ones(6, requires_grad=True)
        model.zero_grad()
        model(X + update).square().mean().backward()
        assert model.gate.grad is not None
        expected += model.gate.grad.square() / 3
        for param in model.parameters():
            assert param.grad is not None
            param.grad *= 8
        sums.add(dict(model.named_parameters()), torch.tensor(8.0), torch.tensor(0.0))
        sums.add(dict(model.named_parameters()), torch.tensor(0.0), torch.tensor(1.0))
    assert torch.allclose(sums.importance(0), expected.double(), rtol=1e-3, atol=1e-9), "an update that is skipped does not count"
