"""The tensors of LAMB and LARS on a device, where all parameters of a section move together, in few launches."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from accel.device.dtensor import norms
from accel.optim.kernel_row import KernelRow
from accel.optim.kernels.multi_tensor import Factors, add_products, subtract
from accel.optim.kernels.plain_kernels import Kernel
from accel.optim.tiles import Section, flattened

__all__ = ["DeviceSection", "device_sections", "is_excluded", "zero"]


class DeviceSection(NamedTuple):
    """A section, with the parameters first that are adapted."""

    section: Section
    order: list[int]
    """The places of its parameters in the section, those that are adapted first."""
    adapted: int
    """The number of parameters that are adapted."""
    params: list[Tensor]
    updates: list[Tensor]
    """Scratch for the updates."""
    flat: tuple[list[Tensor], list[Tensor]]
    """Those of `params` and `updates` that are adapted, in one dimension: for their norms."""
    factors: tuple[Factors, Factors, Factors]
    """Numbers of the parameters, in the order of `params`."""
    one: Tensor
    """1, 0-dim, of their dtype."""

    def ordered(self, values: list[Tensor]) -> list[Tensor]:
        """Return values of the section in the order of `params`."""
        return [values[place] for place in self.order]

    def norms(self, *tensors: list[Tensor]) -> list[list[Tensor]]:
        """Return the norm of each adapted tensor, 0-dim, for each of several lists, which are read together."""
        lengths = norms([tensor for each in tensors for tensor in each])
        return [lengths[start : start + self.adapted] for start in range(0, len(lengths), self.adapted)]

    def add_ratios(self, ratios: Factors, max_weight_norm: float | None) -> None:
        """Add the norm of each weight over that of its update to `ratios`, which are 0; 1 where it is not finite.

        Args:
            ratios: numbers of the parameters.
            max_weight_norm: the largest norm that a weight counts with; None for no limit.
        """
        of_weights, of_updates = self.norms(*self.flat)
        if max_weight_norm is not None:
            torch._foreach_clamp_max_(of_weights, max_weight_norm)
        torch._foreach_addcdiv_(ratios.views[: self.adapted], of_weights, of_updates)
        ratios.values.nan_to_num_(nan=1.0, posinf=1.0)

    def add_norms(self, weights: Factors, lengths: Factors, grads: list[Tensor], scale: Tensor | None) -> None:
        """Add the norms of the adapted weights and of their true gradients to numbers, which are 0.

        Args:
            weights: numbers for the norms of weights.
            lengths: numbers for those of gradients.
            grads: the gradients that are adapted.
            scale: the divisor of the gradients, 0-dim, or None for 1.
        """
        of_weights, of_grads = self.norms(self.flat[0], grads)
        targets = weights.views[: self.adapted] + lengths.views[: self.adapted]
        if scale is None:
            torch._foreach_copy_(targets, of_weights + of_grads)
        else:
            if self.one.dtype != scale.dtype:
                scale = scale.to(self.one.dtype)
            torch._foreach_addcdiv_(targets, of_weights + of_grads, [self.one] * self.adapted + [scale] * self.adapted)

    def correct(self, corrections: Tensor, decay: float, count: int, kernel: Kernel, skip: Tensor | None) -> None:
        """Multiply the updates by a factor each, and add the decay of the first `count` parameters.

        Args:
            corrections: (n,), a factor for each parameter of the row.
            decay: the share of a weight in its update.
            count: the number of parameters that decay.
            kernel: that of SGD.
            skip: whether the step is skipped, as `subtract` takes it.
        """
        scratch, factors = self.ordered(self.section.tiles[0].grads), corrections.unbind()
        zero(scratch)
        add_products(scratch, self.updates, [factors[self.section.places[place]] for place in self.order])
        if decay:
            subtract(kernel, scratch[:count], self.params[:count], -decay, skip)
        torch._foreach_copy_(self.updates, scratch)


def is_excluded(param: Tensor, group: dict[str, Any]) -> bool:
    """Return whether a parameter is left out of weight decay and adaptation by the settings of its group."""
    return group["exclude"] == "norm_and_bias" and param.dim() <= 1


def device_sections(row: KernelRow, parts: list[Section]) -> list[DeviceSection]:
    """Return sections of a row on a device as they move together."""
    result = []
    for section in parts:
        excluded = [is_excluded(row.params[place], row.group) for place in section.places]
        order = sorted(range(len(excluded)), key=excluded.__getitem__)
        params, updates = ([tensors[place] for place in order] for tensors in (section.params, section.updates))
        count = excluded.count(False)
        flat = flattened(params[:count]), flattened(updates[:count])
        factors = Factors(params), Factors(params), Factors(params)
        result.append(DeviceSection(section, order, count, params, updates, flat, factors, factors[0].values.new_ones(())))
    return result


def zero(tensors: list[Tensor], *numbers: Factors) -> None:
    """Set tensors of one dtype, and numbers, to 0: in one launch where they have one dtype."""
    values = [each.values for each in numbers]
    if values and values[0].dtype != tensors[0].dtype:
        torch._foreach_zero_(values)
        values = []
    torch._foreach_zero_(tensors + values)
