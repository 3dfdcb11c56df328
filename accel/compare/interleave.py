"""Windows of ways of doing the same, in turns, until their speeds can be told apart or the time is up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

from accel.compare.bootstrap import LEVEL
from accel.compare.speed_ratio import SpeedRatio, speed_ratio
from accel.compare.window_plan import turn_order

__all__ = ["Limits", "interleave", "take_turns"]


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
    seconds = take_turns({"base": base, "other": other}, "other", limits, clock)
    return speed_ratio(seconds["base"], seconds["other"], (limits or Limits()).level)


def take_turns(
    sides: Mapping[str, Callable[[], float]],
    other: str,
    limits: Limits | None = None,
    clock: Callable[[], float] = lambda: perf_counter(),
) -> dict[str, list[list[float]]]:
    """Time several ways of doing the same in turns; return the seconds of the windows of each, (rounds, 2).

    Args:
        sides: what runs one window of each, and returns its seconds per sample.
        other: the one that is compared with all others: it ends when the bounds of each of these ratios are narrow enough.
        limits: when to end; None for the usual ones.
        clock: seconds, by which the time is up.
    """
    limits = limits or Limits()
    names, seconds = list(sides), {name: list[list[float]]() for name in sides}
    until = clock() + limits.seconds
    for number in range(limits.max_rounds):
        taken = {name: list[float]() for name in sides}
        for name in turn_order(number, names):
            taken[name].append(sides[name]())
        for name, windows in taken.items():
            seconds[name].append(windows)
        if number + 1 < limits.min_rounds or (number + 1) % limits.step:
            continue
        ratios = [speed_ratio(seconds[name], seconds[other], limits.level) for name in sides if name != other]
        if clock() > until or all(ratio.width <= limits.width for ratio in ratios):
            break
    return seconds
