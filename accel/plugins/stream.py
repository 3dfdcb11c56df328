"""Stream: copies to the device on a side stream, one window of batches ahead.

The next batch is copied from pinned memory, on a CUDA stream of its own, during
this update. The computation waits for its batch on the device, and the host
waits for nothing.

Helps   CUDA, if copying a batch takes a notable part of an update.
Hurts   nothing on CUDA; the first update waits for two batches of data. On a
        CPU it has no effect, because batches need no copy.
Costs   the device memory of one more window, and the copy into pinned memory on
        the host if the batch is not pinned already.
Source  https://docs.pytorch.org/docs/stable/notes/cuda.html, on streams;
        NVIDIA's data_prefetcher in apex.
Exact   The same bytes. Events keep the order: the update begins when its copy
        is done, and memory is freed when the update is. Data that draws from
        the global random numbers is read in its turn, and copied then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from accel.data.loaders.device_copy import PendingCopy, prefetch_one
from accel.parts import Micro, Window
from accel.parts.shared.pinned_copy import PinnedCopy
from accel.system.clock import DATA, TRANSFER

__all__ = ["Stream"]


@dataclass(eq=False)
class Stream(PinnedCopy):
    """Transfer by copies on a side stream, one window ahead."""

    own_stream = True

    def windows(self, windows: Iterator[Window]) -> Iterator[Window]:
        return windows if self.copies is None else prefetch_one(windows, self._start_copies, self._finish_copies)

    def _start_copies(self, window: Window) -> tuple[Window, list[tuple[Micro, PendingCopy]]]:
        assert self.copies is not None
        self.clock.lap(DATA)
        copies = [(micro, self.copies.start(micro.batch)) for micro in window.micros]
        self.clock.lap(TRANSFER)
        return window, copies

    def _finish_copies(self, started: tuple[Window, list[tuple[Micro, PendingCopy]]]) -> Window:
        assert self.copies is not None
        window, copies = started
        return window._replace(micros=tuple(micro._replace(batch=self.copies.finish(copy)) for micro, copy in copies))
