"""The training steps that are measured: models, batches and the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import resnet18, resnet50, small

WARM = 2
"""Updates before the clock starts: caches and blocks are then where they will be."""
CLASSES, VOCABULARY = 100, 8192


@dataclass(frozen=True)
class Case:
    """A model, the shape of its batch, and how many micro-batches make an update."""

    name: str
    about: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Of one batch: (samples, 3, side, side) for pictures, (samples, tokens) for text."""
    window: int = 1

    @property
    def pictures(self) -> bool:
        """Whether it takes pictures."""
        return len(self.shape) == 4

    def batch(self, device: str) -> tuple[Tensor, Tensor]:
        """A batch, the same on every call: float32 pictures and int64 classes, or int64 tokens and those that follow."""
        rng = torch.Generator().manual_seed(0)
        if self.pictures:
            x, y = torch.randn(self.shape, generator=rng), torch.randint(CLASSES, self.shape[:1], generator=rng)
        else:
            x, y = (torch.randint(VOCABULARY, self.shape, generator=rng) for _ in range(2))
        return x.to(device), y.to(device)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The cross-entropy."""
        return F.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())

    def flops(self, device: str) -> float:
        """Floating-point operations of the products in one update, forward and backward."""
        model = self.model().to(device)
        with FlopCounterMode(display=False) as counter:
            self.loss(model, self.batch(device)).backward()  # type: ignore[no-untyped-call]
        return float(counter.get_total_flops()) * self.window


class Steps:
    """Ready batches that carry the clock.

    It starts when the first batch after the warm-up is asked for, and stops when that after the last timed one is: one update
    more follows. `wall` and `cpu` are the seconds that passed, and those that this process computed: the second leaves out what
    other programs of a busy machine took. On CUDA both marks wait for the device, and nothing in between does.
    """

    def __init__(self, case: Case, device: str, updates: int) -> None:
        self.batch, self.cuda, self.window = case.batch(device), device == "cuda", case.window
        self.updates, self.wall, self.cpu, self.peak = updates, float("nan"), float("nan"), float("nan")

    def __len__(self) -> int:
        return (WARM + self.updates + 1) * self.window

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from [self.batch] * (WARM * self.window)
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        wall, cpu = perf_counter(), process_time()
        yield from [self.batch] * (self.updates * self.window)
        if self.cuda:
            torch.cuda.synchronize()
            self.peak = torch.cuda.max_memory_allocated() / 2**20
        self.wall, self.cpu = perf_counter() - wall, process_time() - cpu
        yield from [self.batch] * self.window


def ceiling(form: str, device: str, size: int | None = None) -> float:
    """TFLOP/s of a square matrix product in a format: the best of three, as the fastest that this machine was seen to be."""
    size = size or (8192 if device == "cuda" else 2048)
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(form, torch.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if form == "TF32" else "highest")
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    taken = []
    for _ in range(4):  # the first is the warm-up
        if device == "cuda":
            torch.cuda.synchronize()
        started = perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(perf_counter() - started)
    torch.set_float32_matmul_precision(before)
    return 2 * size**3 / min(taken[1:]) / 1e12


def gpt(context: int, layers: int, heads: int, width: int) -> Callable[[], nn.Module]:
    """A transformer of this size."""
    return lambda: GPT(VOCABULARY, context, layers, heads, width)


def stack() -> nn.Module:
    """Seven 3x3 convolutions of 64 to 256 channels, each with BatchNorm: nearly all of its work is products."""
    layers: list[nn.Module] = []
    for inside, out, stride in ((3, 64, 2), (64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)):
        layers += [nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, CLASSES))


CASES: dict[str, list[Case]] = {
    "cpu": [
        Case("stack", "7 convolutions of 64 to 256 channels, 32 pictures of 64x64", stack, (32, 3, 64, 64)),
        Case("convnet", "ResNet-18, 16 pictures of 96x96", lambda: resnet18(CLASSES, 96), (16, 3, 96, 96)),
        Case("transformer", "4 layers of width 384, 4 texts of 128 tokens", gpt(128, 4, 6, 384), (4, 128)),
        Case("windows", "the same transformer, 8 micro-batches of 32 tokens", gpt(128, 4, 6, 384), (1, 32), window=8),
    ],
    "cuda": [
        Case("convnet", "ResNet-50, 256 pictures of 224x224", lambda: resnet50(CLASSES, 224), (256, 3, 224, 224)),
        Case("transformer", "12 layers of width 768, 16 texts of 1,024 tokens", gpt(1024, 12, 12, 768), (16, 1024)),
        Case("windows", "the same transformer, 16 micro-batches of 1,024 tokens", gpt(1024, 12, 12, 768), (1, 1024), window=16),
    ],
    "quick": [
        Case("stack", "7 convolutions, 2 pictures of 16x16", stack, (2, 3, 16, 16)),
        Case("convnet", "a small ResNet, 2 pictures of 8x8", lambda: small(CLASSES, 8), (2, 3, 8, 8)),
        Case("transformer", "1 layer of width 16, 2 texts of 8 tokens", gpt(8, 1, 2, 16), (2, 8)),
        Case("windows", "the same transformer, 2 micro-batches of 8 tokens", gpt(8, 1, 2, 16), (1, 8), window=2),
    ],
}  # fmt: skip
