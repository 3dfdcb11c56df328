"""Gradients of one update, with the factor still to be applied to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from accel.device.dtensor import is_dtensor, local_shard, norms, placement, total_norm
from accel.errors import ConfigError
from accel.optim.memory_layout import copy_aliased
from accel.system.deprecation.old_attributes import MovedAttribute

__all__ = ["GradientObservers", "Grads", "SparseGradients", "not_finite"]


@dataclass(slots=True, eq=False)
class Grads:
    """Gradients of one update: `p.grad` is `scale` times the true gradient.

    Scaling is a value, not an action. Precision starts it (the loss scale), the item count and the clip multiply it, and the
    optimiser divides by it in the one pass over memory that it makes anyway. Nothing here reads a number on the host.
    """

    params: list[Tensor]
    """Parameters that have a gradient."""
    scale: Tensor | None = None
    """0-dim float32 on the device; None stands for exactly 1."""
    found_inf: Tensor | None = None
    """0-dim float32 on the device: 1 if the update must be skipped, else 0; None if nothing asked for it."""
    empty: Tensor | None = None
    """0-dim float32 on the device: 1 if the window has no items, so that the update is skipped, else 0; None if it has some."""
    _norm: Tensor | None = field(default=None, repr=False)
    device: torch.device | None = None
    """Device of the parameters, for an update in which none of them has a gradient."""

    grow = MovedAttribute("divide_by")
    check = MovedAttribute("need_found_inf")
    rewritten = MovedAttribute("writable")

    def tensors(self) -> list[Tensor]:
        """Return the tensors in `p.grad`, scaled."""
        return [param.grad for param in self.params if param.grad is not None]

    def norm(self) -> Tensor:
        """Return the 2-norm of the true gradient over all parameters, 0-dim, in float32 at least, also of 16-bit gradients.

        It takes one pass over memory, once.
        """
        scaled = self.scaled_norm()
        return scaled if self.scale is None else scaled / self.scale

    @property
    def has_norm(self) -> bool:
        """Whether the norm has been taken already."""
        return self._norm is not None

    def scaled_norm(self) -> Tensor:
        """Return the 2-norm of `p.grad` as it is, `scale` times that of the true gradient: see `norm`."""
        if self._norm is None:
            tensors = self.tensors()
            if any(map(is_dtensor, tensors)):
                self._norm = total_norm(
                    (placement(param), [local_shard(param.grad, param)]) for param in self.params if param.grad is not None
                )
            else:
                self._norm = torch.linalg.vector_norm(torch.stack(norms(tensors))) if tensors else self._nothing()
        return self._norm

    def _nothing(self) -> Tensor:
        """Return the norm of no gradient at all, on the device of those that there could be."""
        known = next((tensor.device for tensor in (*self.params, self.scale, self.found_inf) if tensor is not None), self.device)
        return torch.zeros((), device=known)

    def divide_by(self, factor: Tensor) -> None:
        """Divide the true gradient by `factor`, a 0-dim float32 on the device, without touching the gradients."""
        self.scale = factor if self.scale is None else self.scale * factor

    def need_found_inf(self, *scalars: Tensor) -> None:
        """Set `found_inf`, from the norm: an infinity or NaN anywhere makes it 1.

        Args:
            scalars: numbers besides the gradients that must be finite too, 0-dim on the device.
        """
        if self.found_inf is None:
            self.found_inf = not_finite(sum(scalars, self.scaled_norm()))
        elif scalars:
            self.found_inf = not_finite(sum(scalars[1:], scalars[0])).maximum(self.found_inf)

    def is_skipped(self) -> Tensor | None:
        """Return whether the update must be skipped, for want of items too: `found_inf`, or 1 if the window is empty."""
        if self.empty is None or self.found_inf is None:
            return self.found_inf if self.empty is None else self.empty
        return torch.maximum(self.found_inf, self.empty)

    def materialise(self) -> list[Tensor]:
        """Divide the gradients by `scale`, in place, and return them. The factor is 1 from then on."""
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

    def materialise_wide(self) -> None:
        """Divide the gradients by a `scale` that is no float32, which is all that fused kernels read: of float64 weights."""
        if self.scale is not None and self.scale.dtype != torch.float32:
            self.materialise()

    def writable(self) -> list[Tensor]:
        """Return the true gradients in `p.grad`, for a caller that changes them: the norm is computed anew afterwards."""
        tensors = self.materialise()
        self._norm = None
        return tensors

    def clear(self) -> None:
        """Free the gradients: the next backward pass writes new ones."""
        for param in self.params:
            param.grad = None


def not_finite(number: Tensor) -> Tensor:
    """Return 1 if a number is infinite or NaN, else 0; 0-dim float32, in fewer operations than `torch.isfinite` takes."""
    return (number - number).ne_(0).float()  # infinity or NaN, less itself, is NaN, which is not 0


class GradientObservers:
    """Watches that look at the gradients and the weights within an update: those with `before_step` and `after_step`.

    Args:
        watches: all watches of the run.
    """

    def __init__(self, watches: Iterable[Any]) -> None:
        self.watches = [watch for watch in watches if hasattr(watch, "before_step")]

    def before_step(self, grads: Grads) -> None:
        """Show the watches the gradients of the window, with everything applied but the clip."""
        for watch in self.watches:
            watch.before_step(grads)

    def after_step(self, logged: dict[str, Any]) -> dict[str, Any]:
        """Return the numbers that are logged for the update, with those of the watches.

        Args:
            logged: numbers of the loss, by name.

        Raises:
            ConfigError: if the loss logs a number under the name of a watch's.
        """
        for watch in self.watches:
            numbers = watch.after_step()
            if shared := sorted(logged.keys() & numbers.keys()):
                raise ConfigError(f"loss(model, batch) logs {shared[0]!r}, and so does {watch.name}; call it something else")
            logged = logged | numbers
        return logged


class SparseGradients:
    """Trained tensors whose gradients are sparse. The first update finds them, and those alone are looked at again."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] | None = None
        """Those that are made dense; None until a backward pass has shown them."""

    def make_dense(self, params: Sequence[tuple[str, Tensor]], keep: bool) -> list[str]:
        """Make sparse gradients dense: no norm, scale or kernel takes them sparse.

        Args:
            params: trained tensors by name.
            keep: leave them, because torch's own SGD is all that reads them.

        Returns:
            Names of those that the first call has made dense; empty in every other.
        """
        names = []
        if self.tensors is None:
            sparse = {} if keep else {name: param for name, param in params if param.grad is not None and param.grad.is_sparse}
            self.tensors, names = list(sparse.values()), list(sparse)
        for param in self.tensors:
            if param.grad is not None and param.grad.is_sparse:
                param.grad = param.grad.to_dense()
        return names
