"""Numbers from the device, read on the host without making either wait."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Mailbox:
    """Copies small float32 tensors towards the host and hands out those that have arrived.

    On CUDA the copy is asynchronous, into pinned memory, and an event tells when it has landed: `read` never blocks.
    On the CPU the numbers are there at once.

    Args:
        size: how many float32 numbers one letter holds.
        device: where they come from.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.on_cuda = device.type == "cuda"
        self.box = torch.zeros(size, dtype=torch.float32, pin_memory=self.on_cuda)
        self.view = self.box.numpy()
        self.event: Any = torch.cuda.Event() if self.on_cuda else None  # type: ignore[no-untyped-call]
        self.posted = False

    def post(self, numbers: Tensor) -> bool:
        """Starts copying `numbers` (float32, shape (size,)); False where the last letter is still under way and none was sent."""
        if self.posted and not self.landed():
            return False
        self.box.copy_(numbers, non_blocking=True)
        if self.event is not None:
            self.event.record()
        self.posted = True
        return True

    def landed(self) -> bool:
        """Whether the last letter has arrived."""
        return self.event is None or bool(self.event.query())

    def read(self, wait: bool = False) -> list[float] | None:
        """The last letter, or None where none has arrived. `wait=True`, at the end of a run, waits for it."""
        if not self.posted:
            return None
        if wait and self.event is not None:
            self.event.synchronize()
        if not self.landed():
            return None
        self.posted = False
        return [float(number) for number in self.view]
