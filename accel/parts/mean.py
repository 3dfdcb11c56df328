"""Mean over the items of a window, whatever an item is and however unevenly they are spread over micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from accel.device.accelerators.runtime import sent
from accel.parts.grads import Grads
from accel.parts.parallel import Parallel
from accel.parts.window import Micro

__all__ = ["Flag", "WindowMean", "both", "constant"]

Flag = bool | Tensor
"""Truth that the host knows, or that only the device knows: a 0-dim bool tensor there."""


@lru_cache(maxsize=256)
def constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a number as a 0-dim tensor, made once for all updates: it is only ever read."""
    return torch.full((), value, dtype=dtype, device=device)


def both(first: Flag, second: Flag) -> Flag:
    """Return whether both are true, on the host where that decides it."""
    if isinstance(first, bool):
        return second if first else False
    if isinstance(second, bool):
        return first if second else False
    return first & second


class WindowMean:
    """Weights of the micro-batches of one window, so that their gradient is that of the big batch.

    A window of one micro-batch needs no weights. If the user's loss returns no items, the samples are counted, and the weights
    are known before the backward pass. If it returns its items (tokens), their sum is known only after the last forward pass:
    each backward pass is then weighted by items over a reference, and the sum of the weights divides the gradient through
    `Grads.scale`. With several ranks the sum runs over all of them, during the last backward pass.

    A micro-batch without items weighs nothing (`empty`), and its mean, which may be NaN, counts as 0. If no rank has any in the
    window, nothing may move (`Grads.empty`).

    In float16 the reference decides what overflows. There it is a nominal number of items of a window, the same for all windows
    (`Update.agree_on_reference`), so that nothing depends on the order of micro-batches.

    Args:
        parallel: the ranks.
        defer: begin no sum over the ranks before `normalise`, so that no rank waits for another until then.
    """

    __slots__ = ("all_empty", "defer", "empty", "finds_reference", "loss", "parallel", "pending", "reference", "to_clear", "total")

    def __init__(self, parallel: Parallel, defer: bool = False) -> None:
        self.parallel, self.defer = parallel, defer
        self.loss: Tensor
        self.total: Tensor | None = None
        self.reference: Tensor | int | None = None
        self.finds_reference = False
        self.pending: Callable[[], Tensor] | None = None
        self.empty: Flag = False
        """Whether the micro-batch that was added last has no items."""
        self.to_clear: Flag = False
        """Whether its gradients must be cleared: it has no items, and others may have some."""
        self.all_empty: Flag = True
        """Whether no micro-batch of this rank has any items."""

    def add(self, loss: Tensor, items: Any, micro: Micro) -> Tensor:
        """Add the loss of a micro-batch to the mean, and return the weight of its backward pass, 0-dim on the loss's device.

        Args:
            loss: its loss, 0-dim.
            items: number of items that the loss is a mean over, int or 0-dim tensor; None for the samples.
            micro: the micro-batch.
        """
        loss = loss.detach()
        ranks = self.parallel.world_size
        count = micro.samples if items is None or micro.samples == 0 else items
        self.empty = sent(count == 0, loss.device) if isinstance(count, Tensor) else bool(count == 0)
        self.all_empty = both(self.all_empty, self.empty)
        self.to_clear = False if micro.weight == 1.0 and ranks == 1 else self.empty
        if ranks > 1 or (items is not None and micro.weight != 1.0):
            weight = self._weigh(count, items is None, loss.device)
        elif isinstance(self.empty, Tensor):
            weight = self.empty.logical_not().to(loss.dtype)
        else:
            weight = constant(0.0 if self.empty else micro.weight, loss.dtype, loss.device)
        if isinstance(self.empty, Tensor):
            loss = loss.masked_fill(self.empty, 0.0)  # the mean of nothing is NaN, and weighs nothing
        elif self.empty:
            loss = torch.zeros_like(loss)
        if hasattr(self, "loss"):
            self.loss = torch.addcmul(self.loss, loss, weight)
        else:
            self.loss = loss if micro.weight == 1.0 and self.total is None else loss * weight
        if ranks > 1 and micro.last and not self.defer:
            self.pending = self._start_reduce()
        return weight

    def _start_reduce(self) -> Callable[[], Tensor]:
        """Begin to sum loss and weights over all ranks. Return a function that waits for the sums, shape (2,)."""
        assert self.total is not None
        wide = torch.promote_types(self.loss.dtype, torch.float32)
        return self.parallel.all_reduce_async(torch.stack([self.loss.to(wide), self.total.to(wide)]))

    def normalise(self, grads: Grads) -> Grads:
        """Divide the gradients by the sum of the weights, if that may not be 1, and the mean loss likewise.

        Say in `grads.empty` whether the window has no items.
        """
        if self.total is not None:
            total, ranks = self.total, self.parallel.world_size
            if ranks > 1:
                self.loss, total = (self.pending or self._start_reduce())().unbind()
            divisor = torch.where(total == 0, 1.0, total)
            if self.finds_reference:  # the weights are the items: from the next window on they are divided
                self.parallel.keep_reference((divisor / ranks).clamp(min=1.0))
            self.loss = self.loss / divisor
            # ranks average their gradients, so the sum over ranks is world_size times too small
            factor = divisor / ranks if ranks > 1 else divisor
            # on the host reading costs nothing, and dividing gradients writes them once more
            if ranks == 1 or not factor.is_cpu or factor != 1:
                grads.divide_by(factor)
            if self.all_empty is not False and ranks > 1:
                grads.empty = (total == 0).float()
        if grads.empty is None and self.all_empty is not False:
            is_empty = self.all_empty
            grads.empty = constant(1.0, torch.float32, self.loss.device) if isinstance(is_empty, bool) else is_empty.float()
        return grads

    def _weigh(self, items: Any, by_samples: bool, device: torch.device) -> Tensor:
        """Return the weight of a micro-batch of so many items, or samples, and add it to the total."""
        samples = self.parallel.window_samples if by_samples else None
        if isinstance(items, Tensor):
            items = sent(items, device, torch.float32)
        else:  # a kernel that fills, not a copy that the host would wait for
            items = torch.full((), items, dtype=torch.float32, device=device)
        if self.reference is None:
            # one number for all ranks, about as large as the item counts or the full window: float16 has little room above 1
            waits = self.defer and self.parallel.reference is None
            self.reference = samples or (1 if waits else self.parallel.reference_count(items))
            self.finds_reference = waits and not samples
        weight: Tensor = items / self.reference
        self.total = weight if self.total is None else self.total + weight
        return weight
