"""A section of parameters on a device that LAMB and LARS adapt: they move together, in few launches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.device.dtensor import norms
from accel.optim.kernel_row import KernelRow
from accel.optim.tiles import Section, flattened

__all__ = ["Constant", "DeviceSection", "is_excluded"]


class DeviceSection:
    """A section, with the parameters first that are adapted.

    Args:
        row: the row of the section.
        section: the section, in one tile.
    """

    def __init__(self, row: KernelRow, section: Section) -> None:
        excluded = [is_excluded(row.params[place], row.group) for place in section.places]
        self.section, self.tile = section, section.tiles[0]
        self.order = sorted(range(len(excluded)), key=excluded.__getitem__)
        """The places of its parameters in the section, those that are adapted first."""
        self.adapted = excluded.count(False)
        """The number of parameters that are adapted."""
        self.params = self.ordered(section.params)
        self.updates, self.grads = self.ordered(section.updates), self.ordered(self.tile.grads)
        """Scratch for the updates and for the gradients."""
        self.flat = flattened(self.params[: self.adapted]), flattened(self.updates[: self.adapted])
        """Those of `params` and `updates` that are adapted, in one dimension: for their norms."""
        self.dtype = torch.promote_types(self.params[0].dtype, torch.float32)
        """Of the numbers of the parameters."""
        self.one = self.params[0].new_ones((), dtype=self.dtype)

    def ordered(self, values: list[Tensor]) -> list[Tensor]:
        """Return values of the section in the order of `params`."""
        return [values[place] for place in self.order]

    def norms(self, *tensors: list[Tensor]) -> list[list[Tensor]]:
        """Return the norm of each adapted tensor, 0-dim, for each of several lists, which are read together."""
        lengths = norms([tensor for each in tensors for tensor in each])
        return [lengths[start : start + self.adapted] for start in range(0, len(lengths), self.adapted)]

    def clear(self, tensors: list[Tensor], numbers: list[Tensor]) -> None:
        """Set tensors of the dtype of the parameters, and numbers, to 0: in one launch where they have one dtype."""
        if self.dtype != tensors[0].dtype:
            torch._foreach_zero_(numbers)
            numbers = []
        torch._foreach_zero_(tensors + numbers)


class Constant:
    """A number in the memory of a device, which is written again only where it changes.

    Args:
        like: a tensor of its dtype on its device.
    """

    def __init__(self, like: Tensor) -> None:
        self.tensor, self.value = like.new_zeros(()), 0.0

    def at(self, value: float) -> Tensor:
        """Return the number, 0-dim, with this value."""
        if value != self.value:
            self.tensor.fill_(value)
            self.value = value
        return self.tensor


def is_excluded(param: Tensor, group: dict[str, Any]) -> bool:
    """Return whether a parameter is left out of weight decay and adaptation by the settings of its group."""
    return group["exclude"] == "norm_and_bias" and param.dim() <= 1
