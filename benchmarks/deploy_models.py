"""Models of deploy_pairs.py, by name, each with its inputs: workloads of figure 4 of TVM's paper, and branches side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from accel.compress import BranchedConv

Workload = dict[str, tuple[nn.Module, tuple[Tensor, ...]]]


def block() -> Workload:
    """A pointwise convolution, its norm and ReLU: 128 x 28 x 28, 1 x 1 x 128 x 256."""
    model = nn.Sequential(nn.Conv2d(128, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()).eval()
    return {"conv, norm, ReLU": (model, (torch.randn(1, 128, 28, 28),))}


def depthwise() -> Workload:
    """A depthwise convolution, its norm and ReLU: 512 x 14 x 14, 3 x 3 x 512."""
    model = nn.Sequential(nn.Conv2d(512, 512, 3, padding=1, groups=512, bias=False), nn.BatchNorm2d(512), nn.ReLU()).eval()
    return {"depthwise conv, norm, ReLU": (model, (torch.randn(1, 512, 14, 14),))}


class LstmCell(nn.Module):
    """A cell with a hidden state of 128, written in operators."""

    def __init__(self, size: int = 128) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(size, 4 * size), nn.Linear(size, 4 * size)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
        enter, forget, new, out = (self.inner(x) + self.outer(hidden)).chunk(4, 1)
        state: Tensor = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(state)


def lstm_cell() -> Workload:
    """One step of an LSTM."""
    return {"LSTM cell": (LstmCell().eval(), tuple(torch.randn(1, 128) for _ in range(3)))}


class Chain(nn.Module):
    """Five elementwise operators."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x * 2 + 1).tanh() - x


def chain() -> Workload:
    """A chain of elementwise operators on 4 MB."""
    return {"five elementwise operators, 4 MB": (Chain().eval(), (torch.randn(1024, 1024),))}


class Unmerged(nn.Module):
    """A model whose `BranchedConv` compute branch by branch in evaluation too, as RepVGG's are trained.

    Args:
        model: the model, which is not changed.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.steps = nn.ModuleList(model)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            if isinstance(step, BranchedConv):
                first, *others = step.children()
                total = first(x)
                for branch in others:
                    total = total + branch(x)
                x = total
            else:
                x = step(x)
        return x
