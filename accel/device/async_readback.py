"""Numbers from the device, read on the host without making either wait."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from accel.device.cuda.pinned_memory import PinnedMemory

__all__ = ["AsyncReadback"]


class AsyncReadback:
    """A row of slots on the device that travels to the host in one asynchronous copy.

    `slots[i].copy_(number)` costs about a microsecond on a CPU and one small kernel on CUDA, and reads nothing. `start` begins the
    copy of the whole row. From then on the slots may be written again, because the device keeps the order. `poll` returns the row
    once it has landed: on CUDA in pinned memory, where an event tells when; on the CPU at once. Elsewhere `start` waits for it.

    Args:
        size: the number of slots.
        device: the device of the numbers.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        on_cuda = device.type == "cuda"
        self.row = torch.zeros(size, dtype=torch.float32, device=device)
        self.slots: tuple[Tensor, ...] = self.row.unbind()
        """The slots, each 0-dim float32 on the device."""
        new = PinnedMemory("numbers to read").empty if on_cuda else partial(torch.empty, device="cpu")
        self.host_row = new((size,), dtype=torch.float32).zero_()
        # numpy's view of the memory: reading there is no operation of torch's
        self.view = self.host_row.numpy()
        self.event: Any = torch.cuda.Event() if on_cuda else None  # type: ignore[no-untyped-call]
        self.pending = False

    def start(self) -> bool:
        """Start the copy of the slots to the host. Return False, and send nothing, if the last row sent was not read yet."""
        if self.pending:
            return False
        self.host_row.copy_(self.row, non_blocking=self.event is not None)
        if self.event is not None:
            self.event.record(torch.cuda.current_stream(self.row.device))  # that of the copy, whichever device is current
        self.pending = True
        return True

    def poll(self, wait: bool = False) -> list[float] | None:
        """Return the row sent last, once, as floats; None if none was sent, or if it is still under way.

        Args:
            wait: whether to wait for a row under way.
        """
        if not self.pending:
            return None
        if self.event is not None:
            if wait:
                self.event.synchronize()
            elif not self.event.query():
                return None
        self.pending = False
        numbers: list[float] = self.view.tolist()
        return numbers
