"""accel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from accel import Trainer
from accel.parts import Optim, Part, Run, Watch
from accel.plugins import AMP, EMA, Accumulate, AdamW, Clip, Cosine
from promises.task import WINDOW, Recorder, batches, model, pairs, per_update, wide

PACKAGE = "accel-train"


@dataclass(eq=False)
class Recording(Optim):
    lr = 1.0

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        self.recorder = Recorder([param for _, param in params])
        return self.recorder


@dataclass(eq=False)
class Unfused(Optim):
    lr = 1e-3

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        return torch.optim.AdamW([param for _, param in params], lr=self.lr, fused=False)


@dataclass(eq=False)
class Look(Watch):
    """Keeps the learning rates that the updates had, and how often the average moved."""

    def begin(self, run: Run) -> None:
        self.run, self.rates, self.moves = run, list[float](), 0
        self.last = self.average()

    def average(self) -> list[Tensor]:
        return [value.clone() for value in self.run.parts.average.state_dict()["average"].values()]

    def after(self, step: int, loss: Tensor) -> None:
        now = self.average()
        self.moves += any(not torch.equal(a, b) for a, b in zip(self.last, now, strict=True))
        self.rates.append(self.run.parts.optim.optimizer.param_groups[0]["lr"])
        self.last = now


def mean(net: nn.Module, batch: Tensor) -> Tensor:
    return net(batch).mean()


def infinite(net: nn.Module, batch: Tensor) -> Tensor:
    return net(batch).mean() * torch.inf


def train(net: nn.Module, data: Any, loss: Callable[..., Any], plugins: Sequence[Part]) -> nn.Module:
    return Trainer(net, data, loss=loss, plugins=plugins, watch=(), device="cpu").fit().model


def classify(net: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(net(batch[0]), batch[1])


def windows() -> list[float]:
    recording = Recording()
    train(model(), batches(6), mean, [Accumulate(WINDOW), recording])
    return recording.recorder.seen


def skipped(optim: Optim) -> Look:
    look = Look()
    amp = AMP(dtype="float16", force=True)
    train(model(), batches(4), infinite, [amp, optim, EMA(warmup=False), Cosine(), look])
    return look


def skipped_average() -> int:
    return skipped(AdamW()).moves


def skipped_rate() -> list[float]:
    return [round(skipped(optim).rates[-1], 6) for optim in (Unfused(), AdamW(lr=1e-3))]


def ticks() -> list[int]:
    look = Look()
    train(model(), batches(8), mean, [Accumulate(WINDOW), AdamW(), EMA(warmup=False), Cosine(), look])
    return [look.moves, len(set(look.rates))]


def fused_clip() -> str:
    train(model(), batches(4), mean, [AMP(), AdamW(), Clip()])
    return "trains"


def order() -> int:
    makers: list[Callable[[], Part]] = [AMP, lambda: Accumulate(2), Clip, AdamW, EMA]
    ends = set()
    for makes in permutations(makers):
        net = train(wide(), pairs(8), classify, [make() for make in makes])
        ends.add(tuple(float(param.sum()) for param in net.parameters()))
    return len(ends)


def reads() -> float:
    return per_update(lambda updates: train(wide(), pairs(updates), classify, [AdamW(), Clip(), Cosine()]))


def reads_fp16() -> float:
    amp = {"dtype": "float16", "force": True}
    return per_update(lambda updates: train(wide(), pairs(updates), classify, [AdamW(), AMP(**amp), Clip(), Cosine()]))
