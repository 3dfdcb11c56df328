"""LARS on a device: the ratios of all parameters of a section in few launches.

With c the trust coefficient, a ratio is r = c / x, where x = ||g|| / ||p|| + weight_decay + eps / ||p||. The weight decay is
multiplied by a quotient that is 1, or NaN where ||g|| or ||p|| is 0: there x becomes c.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.optim.kernel_row import KernelRow
from accel.optim.kernels.device_section import Constant, DeviceSection
from accel.optim.kernels.multi_tensor import add_products
from accel.optim.tiles import Section

__all__ = ["LarsSection"]


class LarsSection(DeviceSection):
    """A section of LARS, with memory for the numbers of an update. The arguments are those of `DeviceSection`."""

    def __init__(self, row: KernelRow, section: Section) -> None:
        super().__init__(row, section)
        shape = 2, len(self.params)
        self.quotients, self.factors = (self.one.new_zeros(shape) for _ in range(2))
        """(2, n): ||g|| / ||p|| and eps / ||p||; and 1 / x without and with the division by the scale."""
        self.quotient_views, self.factor_views = ([list(each.unbind()) for each in both] for both in (self.quotients, self.factors))
        self.scales = self.one.new_ones((2, 1))
        """1, and 1 over the scale of the gradients."""
        self.eps = Constant(self.one)

    def scale_grads(self, grads: list[Tensor], group: dict[str, Any], scale: Tensor | None) -> None:
        """Write r (g + weight_decay p) to the scratch for gradients, and g where a parameter is excluded.

        Args:
            grads: the gradients of the section.
            group: the settings.
            scale: the divisor of the gradients, 0-dim, or None for 1.
        """
        count, decay, trust = self.adapted, group["weight_decay"], group["trust_coefficient"]
        grads, inverse = self.ordered(grads), self.scales[1, 0]
        self.clear(self.grads, [self.quotients] if scale is None else [self.quotients, inverse])
        self.divide_norms(grads[:count], inverse, group["eps"], scale)
        lengths, x = self.quotients
        x.addcdiv_(lengths, lengths, value=decay)
        torch.nan_to_num_(x.add_(lengths) if scale is None else x.addcdiv_(lengths, scale), nan=trust, posinf=trust)
        if group["trust_clip"]:
            x.mul_(group["lr"]).clamp_(min=trust)
        if scale is None:
            torch.reciprocal(x, out=self.factors[0])
        else:
            torch.div(self.scales, x, out=self.factors)
        add_products(self.grads, grads, self.factor_views[0 if scale is None else 1], trust)
        if decay:
            add_products(self.grads[:count], self.params[:count], self.factor_views[0][:count], trust * decay)

    def divide_norms(self, grads: list[Tensor], inverse: Tensor, eps: float, scale: Tensor | None) -> None:
        """Add the norms of gradients over those of their weights, and `eps` over the latter, to `quotients`, which is 0.

        Args:
            grads: those that are adapted, as they are.
            inverse: 0-dim, and 0: 1 over `scale` is added to it.
            eps: a number.
            scale: 0-dim, or None, which leaves `inverse` as it is.
        """
        lengths, weights = self.norms(grads, self.flat[0]) if grads else ([], [])
        targets = [view for views in self.quotient_views for view in views[: len(grads)]]
        above, below = lengths + [self.eps.at(eps)] * len(grads), weights + weights
        if scale is not None:
            targets, above, below = [*targets, inverse], [*above, self.one], [*below, scale.to(self.dtype)]
        if targets:
            torch._foreach_addcdiv_(targets, above, below)
