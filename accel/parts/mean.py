"""The mean over a window's items, whatever an item is and however unevenly they fall."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from accel.parts.grads import Grads
from accel.parts.parallel import Parallel
from accel.parts.window import Micro

__all__ = ["WindowMean", "constant"]


@lru_cache(maxsize=256)
def constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number as a 0-dim tensor, made once for all updates: it is only ever read."""
    return torch.full((), value, dtype=dtype, device=device)


class WindowMean:
    """Weighs each micro-batch of one window so that its gradient is that of the big batch.

    A window of one micro-batch needs no weights. Where the user's loss says nothing of items, the samples are counted, and
    the shares are known before the backward pass. Where it returns its items (tokens), their sum is known only after the
    last forward pass: each backward pass is then weighted by items over a reference, and the sum of the weights divides the
    gradient through the travelling factor. With several ranks the sum runs over all of them, and travels during the last
    backward pass; `apart`, no rank waits for another before `undo`.
    """

    __slots__ = ("defer", "loss", "parallel", "pending", "reference", "total")

    def __init__(self, parallel: Parallel, defer: bool = False) -> None:
        self.parallel, self.defer = parallel, defer
        self.loss: Tensor
        self.total: Tensor | None = None
        self.reference: Tensor | int | None = None
        self.pending: Callable[[], Tensor] | None = None

    def add(self, loss: Tensor, items: Any, micro: Micro) -> Tensor:
        """The weight of this micro-batch's backward pass, 0-dim on the loss's device; adds its loss to the mean."""
        loss = loss.detach()
        ranks = self.parallel.world_size
        if ranks > 1 or (items is not None and micro.weight != 1.0):
            weight = self._weigh(micro, items, loss.device)
            loss = loss.masked_fill(weight == 0, 0.0)  # the mean of nothing is NaN, and weighs nothing
        else:
            weight = constant(micro.weight, loss.dtype, loss.device)
        if hasattr(self, "loss"):
            self.loss = torch.addcmul(self.loss, loss, weight)
        else:
            self.loss = loss if micro.weight == 1.0 and self.total is None else loss * weight
        if ranks > 1 and micro.last and not self.defer:
            self.pending = self._start_reduce()
        return weight

    def _start_reduce(self) -> Callable[[], Tensor]:
        """Begins to sum loss and weights over all ranks."""
        assert self.total is not None
        wide = torch.promote_types(self.loss.dtype, torch.float32)
        return self.parallel.all_reduce_async(torch.stack([self.loss.to(wide), self.total.to(wide)]))

    def normalise(self, grads: Grads) -> Grads:
        """Takes the sum of the weights out of the gradient, where they did not add up to 1."""
        if self.total is not None:
            total, ranks = self.total, self.parallel.world_size
            if ranks > 1:
                self.loss, total = (self.pending or self._start_reduce())().unbind()
            divisor = torch.where(total == 0, 1.0, total)
            self.loss = self.loss / divisor
            # ranks average their gradients, so the sum over ranks is world_size times too small
            factor = divisor / ranks if ranks > 1 else divisor
            # on the host a look costs nothing, and gradients that are divided are written once more
            if ranks == 1 or not factor.is_cpu or factor != 1:
                grads.divide_by(factor)
        return grads

    def _weigh(self, micro: Micro, items: Any, device: torch.device) -> Tensor:
        """The weight of a micro-batch; adds it to the total. One that only lets a rank take part weighs nothing."""
        typical = self.parallel.typical if items is None else None
        items = micro.samples if items is None or micro.samples == 0 else items
        if isinstance(items, Tensor):
            items = items.to(device, torch.float32, non_blocking=True)
        else:  # a kernel that fills, not a copy that the host would wait for
            items = torch.full((), items, dtype=torch.float32, device=device)
        if self.reference is None:
            # one number for all ranks, about as large as the item counts or the full window: fp16 has little room above 1
            known = typical or (1 if self.defer else None)
            self.reference = known or self.parallel.about(items)
        weight: Tensor = items / self.reference
        self.total = weight if self.total is None else self.total + weight
        return weight
