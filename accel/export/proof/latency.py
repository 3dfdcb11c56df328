"""Latency of an export, by turns with the torch model in eager mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from accel.compare import Limits, interleave
from accel.export.proof.proof import Latency
from accel.export.runtime.exported_model import ExportedModel

__all__ = ["measure_latency"]

WINDOW = 0.02
"""Seconds of a window, about: short beside what other programs do, and long beside a clock's step."""
WARM_UP = 3
"""Calls of each side before anything is timed."""


def measure_latency(model: nn.Module, exported: ExportedModel, inputs: Sequence[Tensor], threads: int, seconds: float) -> Latency:
    """Return the time of a call on some inputs.

    Args:
        model: takes the inputs in order; in evaluation mode on the CPU.
        exported: the export.
        inputs: of a batch, as the model takes them.
        threads: processor threads of both.
        seconds: that the measurement takes, about.
    """
    arrays = exported.feed(inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            sides = [lambda count: _time(lambda: model(*inputs), count), lambda count: exported.process.run(arrays, count).seconds]
            windows = [window(side) for side in sides]
            taken: list[list[float]] = [[], []]

            def turn(number: int) -> float:
                taken[number].append(windows[number]())
                return taken[number][-1]

            ratio = interleave(lambda: turn(0), lambda: turn(1), Limits(min_rounds=8, max_rounds=200, width=0.02, seconds=seconds))
    finally:
        torch.set_num_threads(before)
    one, two = (1000 * median(times) for times in taken)
    return Latency(len(inputs[0]), threads, one, two, ratio.ratio, ratio.low, ratio.high)


def window(timed: Callable[[int], float]) -> Callable[[], float]:
    """Return a function that makes as many calls as fill a window, and returns the seconds of one."""
    timed(WARM_UP)
    count = max(1, round(WINDOW / max(timed(1), 1e-7)))
    return lambda: timed(count) / count


def _time(call: Callable[[], object], count: int) -> float:
    began = perf_counter()
    for _ in range(count):
        call()
    return perf_counter() - began
