"""Latency of an export, by turns with the torch model in eager mode and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median, quantiles
from time import perf_counter, sleep

import torch
from torch import Tensor

from accel.compare import Limits, speed_ratio, take_turns
from accel.export.proof.proof import Latency, Spread, TorchTime
from accel.export.proof.timed_torch import TimedTorch
from accel.export.runtime.exported_model import ExportedModel

__all__ = ["measure_latency"]

WINDOW = 0.02
"""Seconds of a window, about: short beside what other programs do, and long beside a clock's step."""
WARM_UP = 3
"""Calls of each side before anything is timed."""
PAUSE = 0.003
"""Seconds before a window, and a call in it that is not timed: threads of the side before it wait for work for a while, and take
cores meanwhile."""
Window = Callable[[int], float]
"""Function from a number of calls to the seconds that they took."""


def measure_latency(
    model: TimedTorch, exported: ExportedModel, inputs: Sequence[Tensor], threads: int, seconds: float, compiled: bool
) -> Latency:
    """Return the time of a call on some inputs.

    Args:
        model: the torch model.
        exported: the export, whose process was started with `threads`.
        inputs: of a batch, as the model takes them.
        threads: processor threads of both.
        seconds: that the measurement takes, about, without compiling.
        compiled: whether the torch model is timed compiled too.
    """
    arrays = exported.feed(inputs)
    sides: dict[str, Window] = {"eager": lambda count: _time(partial(model.model, *inputs), count)}
    with _torch_threads(threads), torch.inference_mode():
        graph = model.compiled(inputs) if compiled else None
        if graph is not None:
            sides["compiled"] = lambda count: _time(partial(graph, *inputs), count)
        sides["export"] = lambda count: exported.process.run(arrays, count).seconds
        windows = {name: window(side) for name, side in sides.items()}
        limits = Limits(min_rounds=8, max_rounds=200, width=0.02, seconds=seconds)
        taken = take_turns(windows, "export", limits)
    export = _spread(taken["export"])
    torch_times = {name: _beside(taken[name], taken["export"]) for name in taken if name != "export"}
    batch = len(inputs[0])
    return Latency(batch, threads, 1000 * batch / export.ms, export, torch_times["eager"], torch_times.get("compiled"))


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _beside(windows: Sequence[Sequence[float]], export: Sequence[Sequence[float]]) -> TorchTime:
    """Return the time of torch, and how many times faster the export is."""
    ratio, times = speed_ratio(windows, export), _spread(windows)
    return TorchTime(times.ms, times.ms_low, times.ms_high, ratio.ratio, ratio.low, ratio.high)


def _spread(windows: Sequence[Sequence[float]]) -> Spread:
    """Return median and spread of seconds, in milliseconds."""
    times = [1000 * one for pair in windows for one in pair]
    tenths = quantiles(times, n=10, method="inclusive")
    return Spread(median(times), tenths[0], tenths[-1])


def window(timed: Window) -> Callable[[], float]:
    """Return a function that makes as many calls as fill a window, and returns the seconds of one."""
    timed(WARM_UP)
    count = max(1, round(WINDOW / max(timed(1), 1e-7)))

    def run() -> float:
        sleep(PAUSE)
        timed(1)
        return timed(count) / count

    return run


def _time(call: Callable[[], object], count: int) -> float:
    began = perf_counter()
    for _ in range(count):
        call()
    return perf_counter() - began
