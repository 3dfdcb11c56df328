"""Products as they are beside products as a change would make them, timed in turns: what the change saves of their time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from time import perf_counter

import torch

from accel.compare import Limits, interleave
from accel.diagnose.layer_trials.product import Product, runnable
from accel.diagnose.layers.operator_timer import timed_pass

__all__ = ["ProductTrial", "saved_seconds", "saving_of"]

WINDOW = 0.002
"""Seconds that are timed as one, about."""
LEAST_ROUNDS, MOST_ROUNDS, WIDTH = 2, 24, 0.04
"""Rounds of a trial, and the distance of its bounds that is narrow enough (`accel.compare.Limits`)."""


@dataclass(frozen=True)
class ProductTrial:
    """Products of a model, and those that would take their place.

    Args:
        before: the products as they are.
        after: what the change makes of them.
        seconds: that they take in a pass as they are, forward and backward.
        is_same_work: whether the change is to compute as much: the time of `after`, whose channels are whole eights, then counts
            for the multiplications of `before`.
    """

    before: tuple[Product, ...]
    after: tuple[Product, ...]
    seconds: float
    is_same_work: bool = False

    @property
    def scale(self) -> float:
        """Factor by which the time of `after` counts."""
        works = [sum(prod(product.weight) for product in products) for products in (self.before, self.after)]
        return works[0] / works[1] if self.is_same_work else 1.0


def saved_seconds(trials: Sequence[ProductTrial], seconds: float) -> float:
    """Return the seconds of a pass that changes save, as trials of the products show; negative if they cost.

    Equal trials are made once, those whose products take most time first. Once the time is up the others are taken to save as
    large a share as those that were made.

    Args:
        trials: of the changes.
        seconds: for all trials, about.
    """
    seconds_of: dict[ProductTrial, float] = {}
    for trial in trials:
        kind = replace(trial, seconds=0.0)
        seconds_of[kind] = seconds_of.get(kind, 0.0) + trial.seconds
    end, saved, tried = perf_counter() + seconds, 0.0, 0.0
    for kind in sorted(seconds_of, key=lambda kind: -seconds_of[kind]):
        if tried and perf_counter() > end:
            break
        saved += seconds_of[kind] * saving_of(kind, seconds / len(seconds_of))
        tried += seconds_of[kind]
    return saved / tried * sum(seconds_of.values()) if tried else 0.0


def saving_of(trial: ProductTrial, seconds: float) -> float:
    """Return the share of the time of some products that others save in their place; negative if they take longer."""
    limits = Limits(LEAST_ROUNDS, MOST_ROUNDS, WIDTH, seconds, step=1)
    return 1 - trial.scale / interleave(_window(trial.before), _window(trial.after), limits).ratio


def _window(products: Sequence[Product]) -> Callable[[], float]:
    """Return a function that computes products a few times, and returns the seconds of one time. It is warm."""
    device = torch.device(products[0].device)
    computed = [runnable(product) for product in products]

    def seconds(repeats: int) -> float:
        start = timed_pass(device)
        for _ in range(repeats):
            for compute in computed:
                compute()
        return max(timed_pass(device) - start, 1e-9) / repeats

    with torch.enable_grad():
        seconds(1)
        repeats = max(1, min(1000, round(WINDOW / seconds(1))))

    def window() -> float:
        with torch.enable_grad():
            return seconds(repeats)

    return window
