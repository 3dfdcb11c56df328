"""Gradient clipping: limits the gradient before the step.

norm shortens the whole gradient, value limits each number, adaptive shortens
the gradient of each unit that is long beside the unit's own weights. A unit is
what makes one output: a row of a Linear, a filter of a convolution; a parameter
of at most one dimension is one as a whole.

Helps   recurrent nets and transformers, large learning rates, noisy batches:
        one bad batch no longer throws the weights away. adaptive: large batches
        and convnets without BatchNorm.
Hurts   when max_norm is below the usual norm: then it is a normalised-gradient
        method, and lr means something else.
Costs   norm: one read of the gradients; the factor is applied inside the fused
        optimiser's own pass. value: a pass more. adaptive: a read of the
        weights and two passes over the gradients.
Source  Pascanu et al., On the difficulty of training recurrent neural networks,
        arXiv 1211.5063; the formula is that of
        `torch.nn.utils.clip_grad_norm_`: g * min(1, max_norm / (norm + 1e-6)).
        adaptive: Brock et al., High-Performance Large-Scale Image Recognition
        Without Normalization, arXiv 2102.06171, and timm's `adaptive_clip_grad`:
        g * min(1, clipping * max(||w||, eps) / ||g||) for each unit.
Exact   adaptive leaves out the last layer, as the paper does (`skip`); the plan
        says which that is. Where weights are tied or a model is not written
        down in the order in which it computes, name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from accel.device.dtensor import Placement, local_shard, placement
from accel.errors import ConfigError, nearest
from accel.parts import Clip as ClipPart
from accel.parts import Grads
from accel.values import Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["ALONE", "SETTINGS", "Clip", "limit_units", "skipped", "unit_norms", "wide"]

ALONE = Placement()

SETTINGS = {"norm": ("max_norm",), "value": ("max_value",), "adaptive": ("clipping", "eps", "skip")}
"""Which settings each mode has."""


@dataclass(eq=False)
class Clip(ClipPart):
    """Gradient clipping of the whole window's unscaled, synchronised gradient.

    Args:
        mode: norm shortens the whole gradient to max_norm; value limits each number to +-max_value; adaptive each unit's gradient.
        max_norm: the longest 2-norm over all parameters.
        max_value: the largest absolute value.
        clipping: the longest 2-norm of a unit's gradient, as a share of the norm of its weights.
        eps: shorter weights count as so long, so that units that start at zero can move.
        skip: what adaptive leaves as it is: auto for the last layer, none, or names of modules and parameters, with commas.
    """

    mode: Literal["norm", "value", "adaptive"] = "norm"
    max_norm: Positive = 1.0
    max_value: Positive = 1.0
    clipping: Positive = 0.01
    eps: Positive = 1e-3
    skip: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.left: frozenset[int] = frozenset()
        """The `id` of each parameter that is left as it is."""

    def setup(self, run: Run) -> None:
        if self.mode == "adaptive":
            params = run.parts.precision.params
            self.names = skipped(params, self.skip)
            self.left = frozenset(id(param) for name, param in params if name in self.names)
            self.all = len(self.left) == len(params)

    def limit(self, grads: Grads) -> Grads:
        if self.mode == "norm":
            grads.divide_by(grads.norm().add(1e-6).div_(self.max_norm).clamp_(min=1.0))
        elif self.mode == "value":
            tensors = grads.writable()
            torch._foreach_clamp_min_(tensors, -self.max_value)
            torch._foreach_clamp_max_(tensors, self.max_value)
        else:
            grads.writable()
            limit_units([param for param in grads.params if id(param) not in self.left], self.clipping, self.eps)
        return grads

    def plan_notes(self) -> Mapping[str, str]:
        if self.mode != "adaptive":
            return {}
        return {"adaptive clipping": f"all but {', '.join(self.names)}" if self.names else "all parameters"}

    def capture_blocker(self) -> str:
        return ""

    def ineffective_settings(self, run: Run) -> list[str]:
        others = [name for mode, names in SETTINGS.items() if mode != self.mode for name in names]
        found = [f"clip.{name} has no effect with clip.mode={self.mode}" for name in self.changed(*others)]
        if self.mode == "adaptive" and self.all:
            found.append(f"clip has no effect: clip.skip={self.skip} leaves out every parameter; set clip.skip=none")
        return found


def limit_units(params: list[Tensor], clipping: float, eps: float) -> None:
    """Shortens, in place, the gradient of each unit to `clipping` times the norm of its weights, which count as `eps` at least."""
    if not params:
        return
    # of weights that are spread over several processes, the pieces that are here: they are cut between units
    grads = [local_shard(param.grad, param) for param in params if param.grad is not None]
    kinds = {placement(param) for param in params if param.dim() <= 1}
    over = kinds.pop() if len(kinds) == 1 else ALONE
    limits, lengths = unit_norms([local_shard(param.detach()) for param in params], over), unit_norms(grads, over)
    torch._foreach_clamp_min_(limits, eps)
    torch._foreach_mul_(limits, clipping)
    torch._foreach_clamp_min_(lengths, 1e-6)
    torch._foreach_div_(limits, lengths)
    torch._foreach_clamp_max_(limits, 1.0)
    torch._foreach_mul_(grads, limits)


def unit_norms(tensors: list[Tensor], over: Placement = ALONE) -> list[Tensor]:
    """The 2-norm of each unit: (units, 1, ...) of a tensor of two dimensions or more, else 0-dim; float32 at least.

    `over` is how those of at most one dimension, which are units as a whole, are spread over processes.
    """
    small = [tensor for tensor in tensors if tensor.dim() <= 1]
    lengths = list(torch._foreach_norm(small, 2, wide(small[0]))) if small else []
    if small and over.mesh is not None:
        lengths = list(over.all_reduce(torch.stack(lengths).square_()).sqrt_().unbind())
    flat = iter(lengths)
    return [
        torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.dim())), keepdim=True, dtype=wide(tensor))
        if tensor.dim() > 1
        else next(flat)
        for tensor in tensors
    ]


def wide(tensor: Tensor) -> torch.dtype | None:
    """In what to take a norm: float32 for a 16-bit tensor, else what it has itself."""
    return torch.float32 if tensor.element_size() < 4 else None


def skipped(params: list[tuple[str, Tensor]], skip: str) -> list[str]:
    """The names of the parameters that `skip` leaves out.

    Raises:
        ConfigError: for a name that neither a parameter nor a module with parameters has.
    """
    names = [name for name, _ in params]
    if skip == "none":
        return []
    if skip == "auto":
        last = next((name for name, param in reversed(params) if param.dim() > 1), "")
        wanted = [last.rpartition(".")[0] or last]
    else:
        wanted = [word.strip() for word in skip.split(",")]
    found = []
    for word in wanted:
        mine = [name for name in names if name == word or name.startswith(f"{word}.")]
        if not mine and word:
            owners = sorted({name.rpartition(".")[0] for name in names} - {""})
            near = nearest(word, [*names, *owners]) or f"; its last is {(owners or names)[-1]!r}"
            raise ConfigError(f"clip.skip={skip}: the model trains no {word!r}{near}")
        found += mine
    return [name for name in names if name in found]
