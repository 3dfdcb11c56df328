"""Numbers of items that a loss counts on the device: checked there, and read later."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.device.accelerators.runtime import sent
from accel.device.async_readback import AsyncReadback
from accel.errors import TrainingError
from accel.parts.loss_output import FORMS, MAX_ITEMS
from accel.parts.run import Progress

__all__ = ["ItemCounts", "clean_count"]


def clean_count(items: Tensor) -> tuple[Tensor, Tensor]:
    """Return a number of items as it weighs, and whether it is none. Nothing is read on the host.

    Args:
        items: the number, 0-dim, of any real dtype.

    Returns:
        The number, 0 in place of one that is negative, not finite or above `MAX_ITEMS`, 0-dim float32; and a 0-dim bool.
    """
    number = items.to(torch.float32)
    is_count = (number >= 0) & (number < MAX_ITEMS)
    return torch.where(is_count, number, 0.0), is_count.logical_not()


class ItemCounts:
    """Numbers of items of a run, checked on the device, and the updates that have none. No update waits for either.

    What is no number of items weighs nothing, so nothing moves by it until the run ends with an error.

    Args:
        device: device of the run.
        progress: progress of the run, for the message.
    """

    def __init__(self, device: torch.device, progress: Progress) -> None:
        self.device, self.progress = device, progress
        self.readback: AsyncReadback | None = None
        self.replayed = False
        """Whether updates are replayed from a CUDA graph, in which the host can exchange nothing."""
        self.empty_updates = torch.zeros((), dtype=torch.float32, device=device)
        """Number of updates that moved nothing because no rank had any items, 0-dim, on the device."""
        self.may_be_empty = False
        """Whether an update may have been one."""

    def clean(self, items: Tensor) -> Tensor:
        """Return a number of items as it weighs, 0-dim float32 on the run's device.

        Raises:
            TrainingError: if a number before was none.
        """
        number, is_bad = clean_count(sent(items, self.device))
        if self.readback is None:
            self.readback = AsyncReadback(1, self.device)
        (slot,) = self.readback.slots
        torch.maximum(slot, is_bad, out=slot)
        if not self.replayed:
            self.exchange()
        return number

    def count_empty(self, empty: Tensor | None) -> None:
        """Count an update that may have no items: `Grads.empty`."""
        if empty is not None:
            self.empty_updates.add_(empty)
            self.may_be_empty = True

    @property
    def empty_count(self) -> int:
        """Number of updates without items. Reading it waits for the device."""
        return int(self.empty_updates) if self.may_be_empty else 0

    def summary_notes(self) -> list[str]:
        """Return how many updates had no items, in words; nothing if none had."""
        empty = self.empty_count
        return [f"{empty:,} update{'s' * (empty != 1)} had no items (n_items=0), and moved nothing"] if empty else []

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"empty": self.empty_updates} if self.may_be_empty else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.may_be_empty = "empty" in state
        self.empty_updates.fill_(state.get("empty", 0.0))

    def exchange(self, wait: bool = False) -> None:
        """Send to the host whether a number was none, and look at what has arrived: on a CPU at once.

        Args:
            wait: whether to wait for what is under way.

        Raises:
            TrainingError: if a number was none.
        """
        if self.readback is None:
            return
        flags = [self.readback.poll(wait)]
        if self.readback.start():
            flags.append(self.readback.poll(wait))
        if any(flag is not None and flag[0] for flag in flags):
            raise TrainingError(
                "loss(model, batch) returned an n_items that is no number from 0 on, below 2**53 (one below 0, infinite or NaN), "
                f"in update {self.progress.step + 1} or before; it weighed nothing; {FORMS}"
            )
