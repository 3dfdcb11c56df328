"""Thread that ends the collectives of the GPUs when another rank has failed.

By gloo the end of a process ends the collectives that wait for it. By NCCL they wait on the device, the host waits for the device
inside CUDA, and neither hears of anything until the timeout of the group.
"""

from __future__ import annotations

from threading import Event
from typing import Any

import torch
import torch.distributed as dist

from accel.device.cuda.device_threads import DeviceThread
from accel.parts.shared.ranks.rank_failures import GRACE, RankFailures

__all__ = ["AbortWatch", "abort_collectives"]

INTERVAL = 0.25
"""Seconds between two looks at the store. Each is one request, whatever the number of ranks."""


class AbortWatch:
    """Watch over the failures of other ranks, for as long as a run lasts.

    Args:
        failures: the table of the ranks' errors.
    """

    def __init__(self, failures: RankFailures) -> None:
        self.failures, self.ended = failures, Event()
        self.thread = DeviceThread(target=self._watch, name="accel-abort-watch", daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.ended.wait(INTERVAL):
            if self.failures.has_any() and not self.ended.wait(GRACE):
                abort_collectives()
                return

    def end(self) -> None:
        """End the watch: this rank waits for no collective any more."""
        self.ended.set()
        self.thread.join()


def abort_collectives() -> None:
    """End all collectives under way on GPUs with an error, in every group of this process."""
    groups: list[Any] = list(dist.distributed_c10d._world.pg_map)
    for group in groups:
        if torch.device("cuda") in group._device_types:
            group._get_backend(torch.device("cuda")).abort()
