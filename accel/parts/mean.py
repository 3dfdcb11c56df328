"""The mean over a window's items, whatever an item is and however unevenly they fall."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from accel.parts.grads import Grads
from accel.parts.group import Micro
from accel.parts.parallel import Parallel


@lru_cache(maxsize=256)
def constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number as a 0-dim tensor, made once for all updates: it is only ever read."""
    return torch.full((), value, dtype=dtype, device=device)


class Mean:
    """Weighs each micro-batch of one window so that its gradient is that of the big batch.

    A window of one micro-batch needs no weights. Where the user's loss says nothing of items, the samples are counted, and
    the shares are known before the backward pass. Where it returns its items (tokens), their sum is known only after the
    last forward pass: each backward pass is then weighted by items over those of the first, and the sum of the weights
    divides the gradient through the travelling factor. With several ranks the sum runs over all of them.
    """

    __slots__ = ("loss", "parallel", "reference", "total")

    def __init__(self, parallel: Parallel) -> None:
        self.parallel = parallel
        self.loss: Tensor
        self.total: Tensor | None = None
        self.reference: Tensor | None = None

    def weight(self, loss: Tensor, items: Any, micro: Micro) -> Tensor:
        """The weight of this micro-batch's backward pass, 0-dim on the loss's device; adds its loss to the mean."""
        loss = loss.detach()
        if self.parallel.world_size > 1 or (items is not None and micro.share != 1.0):
            weight = self._weigh(micro.items if items is None else items, loss.device)
            loss = loss.masked_fill(weight == 0, 0.0)  # the mean of nothing is NaN, and weighs nothing
        else:
            weight = constant(micro.share, loss.dtype, loss.device)
        if hasattr(self, "loss"):
            self.loss = torch.addcmul(self.loss, loss, weight)
        else:
            self.loss = loss if micro.share == 1.0 and self.total is None else loss * weight
        return weight

    def undo(self, grads: Grads) -> Grads:
        """Takes the sum of the weights out of the gradient, where they did not add up to 1."""
        if self.total is not None:
            total = self.parallel.sum(self.total)
            divisor = torch.where(total == 0, 1.0, total)
            self.loss = self.parallel.sum(self.loss) / divisor
            # ranks average their gradients, so the sum over ranks is world_size times too small
            grads.grow(divisor / self.parallel.world_size if self.parallel.world_size > 1 else divisor)
        return grads

    def meet(self, device: torch.device) -> None:
        """Joins the sum that the other ranks make at their first micro-batch, where this rank did not come so far."""
        if self.parallel.world_size > 1 and self.reference is None:
            self.reference = self.parallel.sum(torch.ones((), dtype=torch.float32, device=device))

    def _weigh(self, items: Any, device: torch.device) -> Tensor:
        """The weight of a micro-batch of so many items; adds it to the total."""
        if isinstance(items, Tensor):
            items = items.to(device, torch.float32, non_blocking=True)
        else:  # a kernel that fills, not a copy that the host would wait for
            items = torch.full((), items, dtype=torch.float32, device=device)
        if self.reference is None:
            # one number for all ranks, of the size of the item counts, keeps the weights near 1: fp16 has little room above
            self.reference = self.parallel.sum(items).clamp(min=1.0) / self.parallel.world_size
        weight: Tensor = items / self.reference
        self.total = weight if self.total is None else self.total + weight
        return weight
