"""Stream: the next batch is copied to the device during this update.

From pinned memory, on a CUDA stream of its own; the computation waits for its
batch on the device, and the host waits for nothing.

Helps   on CUDA, where copying a batch takes a notable part of an update.
Hurts   nothing on CUDA; the first update waits for two batches of data. On a
        CPU batches are where they belong: it has no effect.
Costs   the device memory of one window more, and the copy into pinned memory on
        the host where the batch is not pinned already.
Source  https://docs.pytorch.org/docs/stable/notes/cuda.html, on streams;
        NVIDIA's data_prefetcher in apex.
Exact   The same bytes. Events keep the order: the update begins when its copy
        is done, and memory is given back when the update is. Data that draws
        from the global random numbers is read in its turn, and copied then.
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
    """A side stream that is one window ahead."""

    own_stream = True

    def windows(self, windows: Iterator[Window]) -> Iterator[Window]:
        return windows if self.copies is None else prefetch_one(windows, self._depart, self._arrive)

    def _depart(self, window: Window) -> tuple[Window, list[tuple[Micro, PendingCopy]]]:
        assert self.copies is not None
        self.clock.lap(DATA)
        sent = [(micro, self.copies.start(micro.batch)) for micro in window.micros]
        self.clock.lap(TRANSFER)
        return window, sent

    def _arrive(self, sent: tuple[Window, list[tuple[Micro, PendingCopy]]]) -> Window:
        assert self.copies is not None
        window, micros = sent
        return window._replace(micros=tuple(micro._replace(batch=self.copies.finish(batch)) for micro, batch in micros))
