"""Planted faults: each leaves out one line that keeps two streams, or the host and a stream, from racing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from accel.data.loaders.device_copy import DeviceCopier, map_tensors
from accel.device.async_readback import AsyncReadback
from accel.device.cuda_graphs import CudaRecorder

__all__ = ["MUTANTS"]


def no_wait_event(patch: pytest.MonkeyPatch) -> None:
    """The computation does not wait for the copy on the other stream."""

    def finish(self: DeviceCopier, sent: Any) -> Any:
        return map_tensors(sent.batch, lambda value: value.to(self.device))

    patch.setattr(DeviceCopier, "finish", finish)


def sources_not_held(patch: pytest.MonkeyPatch) -> None:
    """The source of a copy is given back while it is still read."""
    start = DeviceCopier.start

    def let_go(self: DeviceCopier, batch: Any) -> Any:
        sent = start(self, batch)
        self.pending[-1] = (self.pending[-1][0], [])
        return sent

    patch.setattr(DeviceCopier, "start", let_go)


def readback_without_event(patch: pytest.MonkeyPatch) -> None:
    """Numbers are read before they have arrived."""
    poll = AsyncReadback.poll

    def at_once(self: AsyncReadback, wait: bool = False) -> Any:
        self.event = None
        return poll(self, wait)

    patch.setattr(AsyncReadback, "poll", at_once)


def capture_without_waits(patch: pytest.MonkeyPatch) -> None:
    """The stream of the captures waits for nothing, and nothing waits for it."""

    def run(self: CudaRecorder, work: Callable[[], Any]) -> Any:
        with torch.cuda.stream(self.stream):
            return work()

    patch.setattr(CudaRecorder, "run_on_capture_stream", run)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    function.__name__: function for function in (no_wait_event, sources_not_held, readback_without_event, capture_without_waits)
}
