"""LAMB on a device: all parameters of a section move in few launches.

An update begins as the weights themselves, and Adam's direction is divided by the weight decay on its way there. So one copy makes
the start of all updates, and the ratio of the norms takes the factor out again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.optim.cycled_betas import WEIGHT
from accel.optim.kernel_row import KernelRow
from accel.optim.kernels.device_section import DeviceSection
from accel.optim.kernels.multi_tensor import add_products, subtract
from accel.optim.kernels.plain_kernels import Kernel
from accel.optim.tiles import Section

__all__ = ["LARGEST", "LambSection", "move_together"]

LARGEST = 1e16
"""The largest ratio of norms. Beyond it the squares of an update may be too small for float32, whose norm is 0 then."""
ROOM = 1e6
"""How many times the largest number of a dtype is to exceed what Adam's direction over the weight decay is multiplied by."""


class LambSection(DeviceSection):
    """A section of LAMB, with memory for the numbers of an update. The arguments are those of `DeviceSection`."""

    def __init__(self, row: KernelRow, section: Section) -> None:
        super().__init__(row, section)
        count = len(self.params)
        self.numbers, self.zeros = (self.one.new_zeros(count + 1) for _ in range(2))
        self.ratios, self.limit = self.numbers[:count], self.numbers[count]
        """(n,): the ratios of the parameters; 0-dim: what they are at most, which is 0 where the step is skipped."""
        self.views = list(self.ratios.unbind())
        self.largest = torch.full_like(self.one, LARGEST)
        excluded = self.updates[self.adapted :]
        blank = excluded[0].new_zeros(max(each.numel() for each in excluded)) if excluded else self.one
        self.blanks = [blank.as_strided(each.shape, each.stride(), 0) for each in excluded]
        """Zeros in the shapes of the updates that are not adapted."""
        first, last = self.tile.grads[0], self.tile.grads[-1]
        start = first.storage_offset()
        self.flat_grads = first.as_strided((last.storage_offset() + last.numel() - start,), (1,), start)
        """The scratch for gradients as one tensor, (numbers,), with zeros between gradients if no other section writes there."""
        self.flat_grads.zero_()

    def begin(self, grads: list[Tensor] | None, *, at_weights: bool) -> None:
        """Set the numbers to 0, the updates to 0, or to the weights where these are adapted; and copy gradients to scratch memory.

        Args:
            grads: those of the section, or None to copy none.
            at_weights: whether updates begin at the weights.
        """
        targets, sources = (self.tile.grads, grads) if grads is not None else ([], [])
        if at_weights:
            targets, sources = targets + self.updates, sources + self.params[: self.adapted] + self.blanks
            if self.dtype == self.params[0].dtype:
                targets, sources = [*targets, self.numbers], [*sources, self.zeros]
            else:
                self.numbers.zero_()
        else:
            self.clear(self.updates, [self.numbers])
        if targets:
            torch._foreach_copy_(targets, sources)

    def norm_of_grads(self) -> Tensor:
        """Return the norm of the gradients in scratch memory, 0-dim, in float32 at least."""
        norm: Tensor = torch.linalg.vector_norm(self.flat_grads, dtype=self.dtype)
        return norm

    def set_ratios(self, group: dict[str, Any], limit: Tensor, unit: float) -> None:
        """Set the ratios, which are 0, to the norms of weights over those of updates, or to `unit` where one of them is 0.

        Args:
            group: the settings.
            limit: 0-dim, the largest ratio.
            unit: what stands for a ratio of 1.
        """
        if self.adapted and (group["weight_decay"] or group["always_adapt"]):
            weights, updates = self.norms(*self.flat)
            if group["max_weight_norm"] is not None:
                torch._foreach_clamp_max_(weights, group["max_weight_norm"])
            torch._foreach_addcdiv_(self.views[: self.adapted], weights, updates)
        torch.threshold_(self.ratios, 0.0, unit)
        torch.fmin(self.ratios, limit, out=self.ratios)  # of NaN and a number it is the number
        if group["trust_clip"]:
            self.ratios.clamp_(max=unit)
        if isinstance(group["lr"], Tensor):
            self.ratios.mul_(group["lr"])

    def add_decay(self, updates: list[Tensor], decay: float, kernel: Kernel, skip: Tensor | None) -> None:
        """Add a share of the adapted weights to their updates, in place, unless `skip` is 1.

        Args:
            updates: in the order of `params`.
            decay: the share.
            kernel: that of SGD.
            skip: 0-dim float32; None stands for 0.
        """
        if decay:
            subtract(kernel, updates[: self.adapted], self.params[: self.adapted], -decay, skip)

    def correct(self, corrections: Tensor, decay: float, kernel: Kernel, skip: Tensor | None) -> None:
        """Multiply the updates by a factor each, and add the decay of the adapted parameters.

        Args:
            corrections: (n,), a factor for each parameter of the row.
            decay: the share of a weight in its update.
            kernel: that of SGD.
            skip: whether the step is skipped, as `subtract` takes it.
        """
        factors = corrections.unbind()
        self.clear(self.grads, [])
        add_products(self.grads, self.updates, [factors[self.section.places[place]] for place in self.order])
        self.add_decay(self.grads, decay, kernel, skip)
        torch._foreach_copy_(self.updates, self.grads)


def move_together(optimizer: Any, row: KernelRow, grads: list[Tensor], *, takes_norm: bool) -> None:
    """Move the parameters of a row on a device, all of a section by the same calls.

    Where a step is skipped, the ratios are 0. A ratio that is not defined is 1.

    Args:
        optimizer: an `accel.optim.lamb.LAMB`.
        row: the row, with a plan of `LambSection`.
        grads: one for each of its parameters.
        takes_norm: whether the norm of all gradients is still to be taken; the row then has one section, and is all that moves.
    """
    group, skip, first = row.group, optimizer.found_inf, row.plan[0]
    corrects, is_direct = WEIGHT in optimizer.state_names(group), optimizer.moves_weights(row)
    uneven, at_weights = corrects and bool(group.get("uneven")), begins_at_weights(row, corrects=corrects)
    copies = takes_norm or not (optimizer.frees_grads or (optimizer.scale is None and group["max_grad_norm"] is None))
    consumes = optimizer.frees_grads or (copies and not is_direct)
    adam, sgd = row.kernel("adam", scratch=True), row.kernel("sgd")
    lr = 1.0 if isinstance(group["lr"], Tensor) else group["lr"]
    for part in row.plan:
        own = [grads[place] for place in part.section.places]
        if not is_direct:
            part.begin(own if copies else None, at_weights=at_weights)
            own = part.tile.grads if copies else own
        if part is first:
            optimizer.norm = part.norm_of_grads() if takes_norm else optimizer.norm
            divisor = optimizer.divisor(group["max_grad_norm"], together=True)
            optimizer.count(row, [] if skip is None or is_direct else [(part.limit, part.largest)])
            corrections = optimizer.corrections(row) if corrects else None
        if is_direct:
            optimizer.move_by_adam(adam, part.tile, part.tile.params, own, group, group["lr"], divisor, consumes)
            continue
        unit = group["weight_decay"] if at_weights else 1.0
        if not (at_weights or uneven):
            part.add_decay(part.updates, group["weight_decay"], sgd, skip)
        rate: Any = -1.0 / unit if uneven or corrections is None else corrections[0] * (-1.0 / unit)
        optimizer.move_by_adam(adam, part.tile, part.tile.updates, own, group, rate, divisor, consumes)
        if uneven and corrections is not None:
            part.correct(corrections, group["weight_decay"], sgd, skip)
        part.set_ratios(group, first.largest if skip is None else first.limit, unit)
        add_products(part.params, part.updates, part.views, -lr)
    optimizer.uncount(row)


def begins_at_weights(row: KernelRow, *, corrects: bool) -> bool:
    """Return whether updates begin at the weights: if these decay, and by so much that the dtype holds Adam's direction over it.

    Args:
        row: the row.
        corrects: whether updates are corrected for a cycled beta1; if by a factor each, it is before the decay.
    """
    decay: float = row.group["weight_decay"]
    return decay * torch.finfo(row.tensors[0].dtype).max > ROOM and not (corrects and row.group.get("uneven"))
