"""Gradients of a backward pass that weighs nothing, cleared on their way into the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from accel.device.dtensor import is_dtensor, local_shard

__all__ = ["GradientMask"]


class GradientMask:
    """Hooks that clear the gradients of a micro-batch without items before they are added to those of others.

    The mean of nothing is NaN, and its weight of 0 does not help: 0 times NaN is NaN. If the host knows that there are no items,
    that costs something in such backward passes alone. If only the device knows, every backward pass reads its gradients once
    more. Nothing is read on the host.

    Args:
        model: the user's model.
        leaves: function that returns the tensors in which backward passes leave the gradients of its parameters.
    """

    def __init__(self, model: nn.Module, leaves: Callable[[Iterable[Tensor]], list[Tensor]]) -> None:
        self.model, self.leaves = model, leaves
        self.hooks: list[RemovableHandle] = []
        self.empty: bool | Tensor = False

    def __call__(self, empty: bool | Tensor) -> GradientMask:
        """Prepare for a backward pass; the mask is its context.

        Args:
            empty: whether it weighs nothing; a 0-dim bool tensor on the device if only the device knows.
        """
        self.empty = empty
        if empty is not False and not self.hooks:
            self.hooks = [leaf.register_hook(self.clear) for leaf in self.leaves(self.model.parameters()) if leaf.requires_grad]  # type: ignore[no-untyped-call]
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.empty = False

    def clear(self, grad: Tensor) -> Tensor | None:
        """Return a gradient of 0 if the backward pass weighs nothing; None for the gradient as it is."""
        if self.empty is False:
            return None
        if grad.is_sparse:
            values = self.cleared(grad._values())
            return torch.sparse_coo_tensor(grad._indices(), values, grad.shape, is_coalesced=grad.is_coalesced())
        if is_dtensor(grad):
            with torch.no_grad():
                shard = local_shard(grad)
                shard.copy_(self.cleared(shard))
            return grad
        return self.cleared(grad)

    def cleared(self, values: Tensor) -> Tensor:
        """Return numbers of a gradient, 0 if the backward pass weighs nothing."""
        return values.masked_fill(self.empty, 0.0) if isinstance(self.empty, Tensor) else torch.zeros_like(values)

    def remove(self) -> None:
        """Remove the hooks. They come back when they are needed."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []
