"""Models that show a finding of `accel.advise`, each beside the same model with the change that the finding names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

torch.manual_seed(0)
PICTURES = torch.randn(16, 3, 64, 64)
MAPS = torch.randn(16, 64, 28, 28)
ROWS = torch.randn(512, 256)
TOKENS = torch.randn(8, 128, 256)


@dataclass(frozen=True)
class Case:
    """A model with a finding.

    Args:
        finding: its name.
        change: what is done about it, in words.
        before: makes the model.
        after: makes the model with the change.
        batch: of both.
        changed: batch of the changed model; None for the same.
        samples: times as many samples as in `batch`, in that of the changed model.
    """

    finding: str
    change: str
    before: Callable[[], nn.Module]
    after: Callable[[], nn.Module]
    batch: Any
    changed: Any = None
    samples: int = 1


def convolutions(width: int, bias: bool = False, norm: bool = True, depth: int = 3) -> nn.Sequential:
    """Convolutions, each with a normalisation and an activation."""
    layers: list[nn.Module] = []
    for taken in (3, *(width for _ in range(depth - 1))):
        layers += [nn.Conv2d(taken, width, 3, padding=1, bias=bias), *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers)


def rows(width: int, made: int) -> nn.Sequential:
    """Matrices, and a head."""
    return nn.Sequential(nn.Linear(256, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, made))


def pointwise(*channels: int, groups: int = 1) -> nn.Sequential:
    """1x1 convolutions from each number of channels to the next."""
    return nn.Sequential(*(nn.Conv2d(*pair, 1, groups=groups, bias=False) for pair in pairwise(channels)))


def folded(model: nn.Sequential) -> nn.Sequential:
    """The same with each normalisation in the convolution before it."""
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1].eval(), layer.eval())
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


class Attention(nn.Module):
    """Attention whose queries, keys and values come of three layers, or of one."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.joined = joined
        self.inputs = nn.ModuleList([nn.Linear(256, 768)] if joined else [nn.Linear(256, 256) for _ in range(3)])
        self.output = nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inputs[0](x).chunk(3, dim=-1) if self.joined else [layer(x) for layer in self.inputs]
        heads = [part.unflatten(-1, (4, 64)).transpose(1, 2) for part in parts]
        return self.output(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Copying(nn.Module):
    """A layer that weighs its input by an array."""

    def __init__(self, shares: bool) -> None:
        super().__init__()
        self.shares, self.array = shares, np.ones((512, 4096), np.float32)
        self.layer = nn.Linear(256, 64)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.as_tensor(self.array) if self.shares else torch.tensor(self.array)
        return self.layer(x) * weights[:, :64]


class Reading(nn.Module):
    """Layers, and a number of each read on the host."""

    def __init__(self, reads: bool) -> None:
        super().__init__()
        self.reads, self.layers = reads, nn.ModuleList(nn.Linear(256, 256) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            is_large = x[0, 0] > 1e9
            x = (x / 2 if is_large else x) if self.reads else torch.where(is_large, x / 2, x)
        return x


class Branches(nn.Module):
    """Three convolutions of one tensor, added: or the one convolution that they make."""

    def __init__(self, merged: bool) -> None:
        super().__init__()
        sizes = (3,) if merged else (3, 1, 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(64, 64, size, padding=size // 2, bias=False) for size in sizes) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = sum(layer(x) for layer in block)  # type: ignore[assignment]
        return x


class Permuting(nn.Module):
    """A layer norm over channels, as ConvNeXt has it; or a normalisation in the order in which the tensor lies."""

    def __init__(self, permutes: bool) -> None:
        super().__init__()
        self.conv, self.permutes = nn.Conv2d(64, 64, 1), permutes
        self.norm = nn.LayerNorm(64) if permutes else nn.GroupNorm(1, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if not self.permutes:
            return self.norm(x)
        return self.norm(x.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2).contiguous()


class Idle(nn.Module):
    """A layer, and one that nobody uses or whose result does not reach the loss."""

    def __init__(self, idle: str) -> None:
        super().__init__()
        self.layer, self.idle = nn.Linear(256, 256), idle
        if idle:
            self.old = nn.Linear(1024, 1024) if idle == "unused" else nn.Parameter(torch.ones(256))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x * self.old.detach() if self.idle == "detached" else x


def inverted(expanded: bool) -> nn.Module:
    """Inverted residual of MobileNetV2, or the fused one of EfficientNetV2 with about as many multiplications."""
    if expanded:
        return nn.Sequential(
            nn.Conv2d(64, 256, 1, bias=False), nn.ReLU6(), nn.Conv2d(256, 256, 3, padding=1, groups=256, bias=False), nn.ReLU6(),
            nn.Conv2d(256, 64, 1, bias=False),
        )  # fmt: skip
    return nn.Sequential(nn.Conv2d(64, 56, 3, padding=1, bias=False), nn.ReLU6(), nn.Conv2d(56, 64, 1, bias=False))


def small_layers() -> nn.Module:
    """Many small operators."""
    return nn.Sequential(*(layer for _ in range(24) for layer in (nn.Linear(16, 16), nn.Tanh())))


def activations(present: bool) -> nn.Module:
    """Element-wise operators and a layer; or the layer alone."""
    return nn.Sequential(*([nn.GELU(), nn.Sigmoid(), nn.Tanh()] * 2 if present else []), nn.Linear(256, 256))


def pooled(large: bool) -> nn.Module:
    """Pooling over large windows of each place, or convolutions of whole windows beside each other."""
    pool = nn.MaxPool2d(7, 1, 3) if large else nn.MaxPool2d(3, 1, 1)
    return nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), pool, nn.Conv2d(64, 64, 3, padding=1))


CASES: dict[str, Case] = {
    "convolutions of 36 channels": Case("channel_multiples", "40", lambda: convolutions(36), lambda: convolutions(40), PICTURES),
    "convolutions of 33 channels": Case("channel_multiples", "40", lambda: convolutions(33), lambda: convolutions(40), PICTURES),
    "matrices of 250 features": Case("channel_multiples", "256", lambda: rows(250, 16), lambda: rows(256, 16), ROWS),
    "a vocabulary of 5003": Case("channel_multiples", "5008", lambda: rows(256, 5003), lambda: rows(256, 5008), ROWS),
    "convolutions and pooling": Case(
        "memory_order",
        "channels_last",
        lambda: nn.Sequential(convolutions(64), nn.MaxPool2d(3, 2), nn.Conv2d(64, 64, 3)),
        lambda: nn.Sequential(convolutions(64), nn.MaxPool2d(3, 2), nn.Conv2d(64, 64, 3)).to(memory_format=torch.channels_last),
        PICTURES,
    ),
    "a bias before each normalisation": Case(
        "bias_before_norm", "bias=False", lambda: convolutions(32, bias=True), lambda: convolutions(32), PICTURES
    ),
    "normalisations in inference": Case(
        "foldable_norms", "fuse_conv_bn_eval", lambda: convolutions(32).eval(), lambda: folded(convolutions(32)), PICTURES
    ),
    "queries, keys and values": Case("joinable_layers", "one layer", lambda: Attention(False), lambda: Attention(True), TOKENS),
    "1x1 from 16 to 256 and back": Case(
        "unequal_channels",
        "64 to 64",
        lambda: pointwise(16, 256, 16, 256, 16),
        lambda: pointwise(64, 64, 64, 64, 64),
        MAPS[:, :16].contiguous(),
        MAPS,
    ),
    "1x1 in 16 groups": Case(
        "group_convolutions",
        "16 channels, one group",
        lambda: pointwise(64, 64, 64, 64, groups=16),
        lambda: pointwise(16, 16, 16, 16),
        MAPS,
        MAPS[:, :16].contiguous(),
    ),
    "an array copied": Case("array_copies", "as_tensor", lambda: Copying(False), lambda: Copying(True), ROWS),
    "permute, normalise, permute": Case("layout_changes", "GroupNorm(1)", lambda: Permuting(True), lambda: Permuting(False), MAPS),
    "activations one after the other": Case("element_wise", "none", lambda: activations(True), lambda: activations(False), ROWS),
    "the same, compiled": Case(
        "fusible_layers", "compile", lambda: activations(True), lambda: torch.compile(activations(True)), ROWS
    ),
    "normalisations, compiled": Case(
        "fusible_layers", "compile", lambda: convolutions(32), lambda: torch.compile(convolutions(32)), PICTURES
    ),
    "many small layers, batches of 8 times": Case(
        "time_between", "8 times the batch", small_layers, small_layers, ROWS[:16, :16], ROWS[:128, :16], 8
    ),
    "pooling over 7 x 7": Case("far_from_roof", "3 x 3", lambda: pooled(True), lambda: pooled(False), MAPS),
    "depthwise convolutions": Case("depthwise", "fused", lambda: inverted(True), lambda: inverted(False), MAPS),
    "three branches": Case("branches", "merged", lambda: Branches(False), lambda: Branches(True), MAPS),
    "numbers read on the host": Case("host_reads", "torch.where", lambda: Reading(True), lambda: Reading(False), ROWS),
    "a layer that nobody uses": Case("unused_parameters", "deleted", lambda: Idle("unused"), lambda: Idle(""), ROWS),
    "a parameter without gradient": Case("without_gradient", "deleted", lambda: Idle("detached"), lambda: Idle(""), ROWS),
}
