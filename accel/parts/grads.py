"""The gradients of one update, with the factor that travels to whoever applies it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from accel.device.dtensor import is_dtensor, local_shard, placement, total_norm
from accel.optim.aliased_grads import copy_aliased

__all__ = ["Grads", "not_finite"]


@dataclass(slots=True, eq=False)
class Grads:
    """The gradients of one update: what stands in `p.grad` is `scale` times the true gradient.

    Scaling is a value, not an action. Precision starts it (the loss scale), the item count and the clip multiply it, and the
    optimiser divides by it in the one pass over memory that it makes anyway. Nothing here reads a number on the host.
    """

    params: list[Tensor]
    """Those that have a gradient; float32."""
    scale: Tensor | None = None
    """0-dim float32 on the device; None stands for exactly 1."""
    found_inf: Tensor | None = None
    """0-dim float32 on the device: 1 where the update must be skipped, 0 where not; None where nobody asked."""
    _norm: Tensor | None = field(default=None, repr=False)

    def tensors(self) -> list[Tensor]:
        """What stands in `p.grad`, scaled."""
        return [param.grad for param in self.params if param.grad is not None]

    def norm(self) -> Tensor:
        """The 2-norm of the true gradient over all parameters, 0-dim float32. One pass over memory, made once."""
        if self._norm is None:
            tensors = self.tensors()
            if any(map(is_dtensor, tensors)):
                self._norm = total_norm(
                    (placement(param), [local_shard(param.grad, param)]) for param in self.params if param.grad is not None
                )
            else:
                self._norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))) if tensors else torch.zeros(())
        return self._norm if self.scale is None else self._norm / self.scale

    def divide_by(self, by: Tensor) -> None:
        """From now on the true gradient is what it was, divided by `by`."""
        self.scale = by if self.scale is None else self.scale * by

    def need_found_inf(self, *others: Tensor) -> None:
        """Asks for `found_inf`, and takes it from the norm: an infinite or missing number anywhere makes it so.

        `others` are numbers besides the gradients that must be finite too, 0-dim on the device.
        """
        if self.found_inf is None:
            self.norm()
            assert self._norm is not None
            self.found_inf = not_finite(sum(others, self._norm))
        elif others:
            self.found_inf = not_finite(sum(others[1:], others[0])).maximum(self.found_inf)

    def materialise(self) -> list[Tensor]:
        """The true gradients, written into `p.grad` (once: the factor is then 1)."""
        tensors = self.tensors()
        if self.scale is not None:
            owned = tensors if any(map(is_dtensor, tensors)) else copy_aliased(tensors)
            if owned is not tensors:
                tensors = owned
                for param, grad in zip((param for param in self.params if param.grad is not None), tensors, strict=True):
                    param.grad = grad
            torch._foreach_div_(tensors, self.scale)
            self._norm = None if self._norm is None else self._norm / self.scale
            self.scale = None
        return tensors

    def writable(self) -> list[Tensor]:
        """The true gradients in `p.grad`, for one who changes them there: the norm is then taken anew."""
        tensors = self.materialise()
        self._norm = None
        return tensors

    def clear(self) -> None:
        """Frees the gradients: the next backward pass writes new ones."""
        for param in self.params:
            param.grad = None


def not_finite(number: Tensor) -> Tensor:
    """1 where a number is infinite or NaN, else 0; 0-dim float32, in fewer operations than `torch.isfinite` takes."""
    return (number - number).ne_(0).float()  # what is not finite, less itself, is NaN, which is not 0
