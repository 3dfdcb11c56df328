"""Timers of single operators: by the host's clock on a CPU, and by events on CUDA.

With one thread it is the clock of that thread: what else runs on the machine does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any

import torch

__all__ = ["EventTimer", "HostTimer", "host_clock", "make_timer", "timed_pass"]


def host_clock() -> Callable[[], float]:
    """Return the clock of work on the host: seconds of this thread if torch computes with one, else of the wall."""
    return thread_time if torch.get_num_threads() == 1 else perf_counter


class HostTimer:
    """Timer of operators that are done when they return."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.clock = host_clock()

    def start(self) -> float:
        """Return the time."""
        return self.clock()

    def stop(self, start: float) -> None:
        """Keep the seconds since then."""
        self.times.append(self.clock() - start)

    def seconds(self) -> list[float]:
        """Return the seconds of each operator, in order."""
        return self.times


class EventTimer:
    """Timer of operators that are queued on a CUDA device: an event before each, and one behind it.

    Args:
        device: the device, in whose current stream they are queued.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pairs: list[tuple[Any, Any]] = []

    def start(self) -> Any:
        """Return an event, queued now."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def stop(self, start: Any) -> None:
        """Queue the event behind the operator, and keep both."""
        self.pairs.append((start, self.start()))

    def seconds(self) -> list[float]:
        """Wait for the device, and return the seconds of each operator, in order."""
        torch.cuda.synchronize(self.device)
        return [start.elapsed_time(end) / 1000 for start, end in self.pairs]


def make_timer(device: torch.device) -> HostTimer | EventTimer:
    """Return a timer of operators on a device."""
    return EventTimer(device) if device.type == "cuda" else HostTimer()


def timed_pass(device: torch.device) -> float:
    """Return the host's time when all that is queued on a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return perf_counter()
    return host_clock()()
