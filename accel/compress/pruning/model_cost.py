"""What a model costs: parameters, operations, and the time of a forward pass, measured beside that of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from accel.compare import Limits, interleave
from accel.device.accelerators.runtime import synchronize

__all__ = ["CostPair", "ModelCost", "compare_costs"]

LIMITS = Limits(min_rounds=8, max_rounds=24, width=0.1, seconds=1.0, step=4)


@dataclass(frozen=True)
class ModelCost:
    """Cost of a forward pass with the loss.

    Args:
        parameters: numbers in all parameters.
        flops: floating-point operations of a sample; a product and its sum are two.
        seconds: median of a batch, in evaluation mode, without compilation.
    """

    parameters: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class CostPair:
    """Costs of a model before and after it was pruned, timed in turns.

    Args:
        before: of the whole model.
        after: of the pruned one.
        samples: samples of the batch.
        speed: how many times faster the pruned one is.
        low: lower bound of it (95 %).
        high: upper bound.
        rounds: rounds of four forward passes.
    """

    before: ModelCost
    after: ModelCost
    samples: int
    speed: float
    low: float
    high: float
    rounds: int

    @property
    def text(self) -> str:
        """The pair in words."""
        first, last = self.before, self.after
        speed = f"{self.speed:.2f} times as fast ({self.low:.2f} to {self.high:.2f}, {self.rounds} rounds)"
        if not isfinite(self.high):
            speed = f"in {self.rounds} rounds that differ too much to tell more"
        return (
            f"{first.parameters:,} -> {last.parameters:,} parameters, {first.flops / 1e6:.4g} -> {last.flops / 1e6:.4g} MFLOP per "
            f"sample; forward pass of {self.samples} samples {first.seconds * 1e3:.3g} -> {last.seconds * 1e3:.3g} ms, {speed}"
        )


def compare_costs(before: nn.Module, after: nn.Module, call: Callable[[nn.Module], Any], samples: int) -> CostPair:
    """Measure two models.

    Args:
        before: the whole model, which is left in evaluation mode.
        after: the pruned one, likewise.
        call: the forward pass of one batch.
        samples: samples of the batch.
    """
    times: dict[bool, list[float]] = {False: [], True: []}
    device = next(before.parameters()).device

    def timed(model: nn.Module, pruned: bool) -> float:
        begin = perf_counter()
        with torch.no_grad():
            call(model)
        synchronize(device)
        times[pruned].append(perf_counter() - begin)
        return times[pruned][-1]

    flops = [_flops(model.eval(), call) / samples for model in (before, after)]  # which warms up as well
    ratio = interleave(lambda: timed(before, False), lambda: timed(after, True), LIMITS)
    first, last = (
        ModelCost(sum(param.numel() for param in model.parameters()), count, median(times[pruned]))
        for model, count, pruned in zip((before, after), flops, (False, True), strict=True)
    )
    return CostPair(first, last, samples, ratio.ratio, ratio.low, ratio.high, ratio.rounds)


def _flops(model: nn.Module, call: Callable[[nn.Module], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(model)
    return int(counter.get_total_flops())
