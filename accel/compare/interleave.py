"""Windows of two ways of doing the same, in turns, until their speeds can be told apart or the time is up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from accel.compare.bootstrap import LEVEL
from accel.compare.speed_ratio import SpeedRatio, speed_ratio
from accel.compare.window_plan import Side, window_plan

__all__ = ["Limits", "interleave"]


@dataclass(frozen=True)
class Limits:
    """When a measurement ends. It depends on how wide the bounds are, never on where they lie: that would find differences by luck.

    Args:
        min_rounds: rounds of four windows, at least.
        max_rounds: rounds, at most.
        width: distance of the bounds that is narrow enough, as a share (`SpeedRatio.width`).
        seconds: time after which no round is begun, whatever the width is.
        step: rounds between two looks at the width.
        level: probability with which the bounds hold the true ratio; fewer than eight rounds have no bounds at 99 %.
    """

    min_rounds: int = 12
    max_rounds: int = 120
    width: float = 0.04
    seconds: float = 60.0
    step: int = 4
    level: float = LEVEL


def interleave(
    base: Callable[[], float],
    other: Callable[[], float],
    limits: Limits | None = None,
    clock: Callable[[], float] = lambda: perf_counter(),
) -> SpeedRatio:
    """Time two ways of doing the same in turns, and return how many times faster the other is.

    Args:
        base: runs one window, and returns its seconds per sample; what must not count (warm-up, compiling) it leaves out itself.
        other: the same of the other.
        limits: when to end; None for the usual ones.
        clock: seconds, by which the time is up. Ranks whose windows return the same make as many rounds if their clocks agree.
    """
    limits = limits or Limits()
    sides: dict[Side, Callable[[], float]] = {"base": base, "other": other}
    seconds: dict[Side, list[list[float]]] = {"base": [], "other": []}
    until = clock() + limits.seconds
    for number in range(limits.max_rounds):
        taken: dict[Side, list[float]] = {"base": [], "other": []}
        for side in window_plan(number):
            taken[side].append(sides[side]())
        for side, windows in taken.items():
            seconds[side].append(windows)
        done = number + 1
        if done >= limits.min_rounds and done % limits.step == 0:
            ratio = speed_ratio(seconds["base"], seconds["other"], limits.level)
            if clock() > until or ratio.width <= limits.width:
                return ratio
    return speed_ratio(seconds["base"], seconds["other"], limits.level)
