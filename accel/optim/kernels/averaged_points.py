"""The points of Schedule-Free on a device, moved in place in a few launches for all parameters of a section.

With v = y - (1 - beta1) z, which is beta1 x, an update is z = z - lr u, then x = (1 - c) x + c z, then y from both. So no direction
is kept, and each step is a fused kernel that moves nothing if the update is skipped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from accel.device.dtensor import local_shard
from accel.optim.kernel_row import KernelRow
from accel.optim.kernels.multi_tensor import interpolate, subtract
from accel.optim.tiles import Section

__all__ = ["PointsPlan", "follow_together", "move_points_together"]


class PointsPlan(NamedTuple):
    """The sections of a row on a device, and memory for the numbers of an update."""

    sections: list[Section]
    advanced: Tensor
    """The clock after the update: (3,) float32."""
    one: Tensor
    """1, 0-dim float32."""

    def scalars(self, group: dict[str, Any], clock: Tensor, skip: Tensor | None) -> tuple[Tensor, float | Tensor, Tensor]:
        """Return the number of the update, its learning rate and its weight in the average; count it unless it is skipped.

        Args:
            group: the settings.
            clock: (3,) float32, the state `step` of `ScheduleFree.initial_state`, updated in place.
            skip: 0-dim float32: 1 if the update is skipped; None stands for 0.
        """
        count, highest, length = clock.unbind()
        step, peak, total = self.advanced.unbind()
        torch.add(count, 1, out=step)
        lr = group["lr"]
        if group["warmup"] and isinstance(lr, Tensor):
            lr = (step / group["warmup"]).clamp_(max=1.0).mul_(lr)
        elif group["warmup"]:
            lr = (step * (lr / group["warmup"])).clamp_(max=lr)
        torch.clamp(highest, min=lr, out=peak)
        shrink = highest / peak
        if isinstance(group["lr"], Tensor) or not group["lr"]:
            shrink.nan_to_num_(nan=1.0)
        if group["weight_lr_power"] != 1:
            shrink.pow_(group["weight_lr_power"])
        if group["r"]:
            shrink.mul_((count / step).pow_(group["r"]))
        torch.addcmul(self.one, length, shrink, out=total)
        weight = total.reciprocal()
        if skip is None:
            clock.copy_(self.advanced)
        else:  # the numbers themselves at 0 and at 1, to the bit
            torch.lerp(self.advanced, clock, skip, out=clock)
        return step, lr, weight


def move_points_together(
    row: KernelRow, grads: list[Tensor], skip: Tensor | None, scale: Tensor | None, *, decay: float, consumes: bool
) -> None:
    """Move y (the tensors of a row) and z by one update.

    Args:
        row: the row, with a `PointsPlan`.
        grads: one for each of its parameters.
        skip: 0-dim float32: nothing moves if it is 1; None stands for 0.
        scale: the divisor of the gradients, 0-dim float32; None stands for 1.
        decay: the share of y in the update.
        consumes: whether the gradients may be written over.
    """
    group, plan, sgd = row.group, row.plan, row.kernel("sgd")
    step, lr, weight = plan.scalars(group, row.state[-1][0], skip)
    rest = 1 - group["betas"][0]
    for section in plan.sections:
        tile, y, z = section.tiles[0], section.params, section.tiles[0].state[0]
        parts = [grads[place] for place in section.places]
        pairs = zip(parts, tile.grads, strict=True)
        same = all(part.stride() == scratch.stride() and part.dtype == scratch.dtype for part, scratch in pairs)
        if not (consumes and same):
            torch._foreach_copy_(tile.grads, parts)
            parts = tile.grads
        subtract(sgd, y, z, rest, skip)
        if decay:
            subtract(sgd, z, y, lr * decay, skip, decay=rest)
        if group["base"] == "adamw":
            # with a beta of 0 the first moment is the gradient, and may be written over it
            row.kernel("adam", scratch=True)(
                z, parts, parts, tile.state[1], [], [step] * len(z), lr=lr, beta1=0.0, beta2=group["betas"][1], weight_decay=0.0,
                eps=group["eps"], amsgrad=False, maximize=False, grad_scale=scale, found_inf=skip,
            )  # fmt: skip
        else:
            row.kernel("sgd", scratch=True)(
                z, parts, [], lr=lr, weight_decay=0.0, momentum=0.0, dampening=0.0, nesterov=False, maximize=False,
                is_first_step=False, grad_scale=scale, found_inf=skip,
            )  # fmt: skip
        subtract(sgd, y, z, -rest, skip)
        interpolate(sgd, y, z, weight, skip)


def follow_together(row: KernelRow) -> None:
    """Take over what somebody else has written to 16-bit parameters of a row on a device, as `follow_weights` does.

    A number that was written is taken over to within half of its last bit.
    """
    params = [local_shard(param.detach()) for param in row.params]
    rounded, old, new = (
        [torch.empty_like(tensor, dtype=dtype) for tensor in row.tensors] for dtype in (params[0].dtype, None, None)
    )
    torch._foreach_copy_(rounded, row.tensors)
    torch._foreach_copy_(old + new, rounded + params)
    torch._foreach_sub_(new, old)
    torch._foreach_add_(row.tensors, new)
