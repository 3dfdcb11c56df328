"""Clip: gradient clipping, a limit on the gradient before each step.

mode=norm shortens the whole gradient, and mode=value limits each number.
mode=adaptive shortens the gradient of each unit whose gradient is long compared
with the unit's own weights. A unit is the weights that make one output: a row
of a Linear, a filter of a convolution. A parameter of at most one dimension is
one unit.

Helps   recurrent nets and transformers, large learning rates, noisy batches:
        one bad batch no longer throws the weights away. adaptive: large batches
        and convnets without BatchNorm.
Hurts   with max_norm below the usual norm: then every gradient is normalised,
        and lr means something else.
Costs   norm: one read of the gradients; the factor is applied inside the fused
        optimiser's own pass. value: one more pass. adaptive: one read of the
        weights and two passes over the gradients. On a GPU both are copied to
        scratch memory, so that units are clipped together: up to 256 MB.
Source  Pascanu et al., On the difficulty of training recurrent neural networks,
        arXiv 1211.5063. The formula is that of
        `torch.nn.utils.clip_grad_norm_`: g * min(1, max_norm / (norm + 1e-6)).
        adaptive: Brock et al., High-Performance Large-Scale Image Recognition
        Without Normalization, arXiv 2102.06171, and timm's
        `adaptive_clip_grad`: g * min(1, clipping * max(||w||, eps) / ||g||) for
        each unit.
Exact   adaptive leaves out the last layer, as the paper does (`skip`), and the
        plan names it. Name it yourself where weights are tied, or where the
        model's modules are not defined in the order in which they compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from accel.device.dtensor import Placement, is_dtensor, local_shard, norms, placement, real_shard
from accel.errors import ConfigError, nearest
from accel.optim.kernel_row import moves_together
from accel.optim.kernels.unit_clip import UnitBlock, clip_together, has_rows, unit_blocks
from accel.parts import Clip as ClipPart
from accel.parts import Grads
from accel.values import Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["SETTINGS", "UNSHARDED", "Clip", "clip_units", "find_skipped", "norm_dtype", "unit_norms"]

UNSHARDED = Placement()

SETTINGS = {"norm": ("max_norm",), "value": ("max_value",), "adaptive": ("clipping", "eps", "skip")}
"""The settings of each mode."""


@dataclass(eq=False)
class Clip(ClipPart):
    """Gradient clipping of the whole window's unscaled, synchronised gradient.

    Args:
        mode: norm shortens the whole gradient to max_norm; value limits each number to +-max_value; adaptive each unit's gradient.
        max_norm: longest 2-norm of the gradient over all parameters (mode=norm).
        max_value: largest absolute value of a number of the gradient; of a complex one, of each part (mode=value).
        clipping: longest 2-norm of a unit's gradient, as a share of the norm of its weights (mode=adaptive).
        eps: least norm that the weights of a unit count with, so that units that start at zero can move (mode=adaptive).
        skip: layers that mode=adaptive leaves out: auto for the last one, none, or names of modules and parameters, with commas.
    """

    mode: Literal["norm", "value", "adaptive"] = "norm"
    max_norm: Positive = 1.0
    max_value: Positive = 1.0
    clipping: Positive = 0.01
    eps: Positive = 1e-3
    skip: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.skipped_ids: frozenset[int] = frozenset()
        """The `id` of each parameter whose gradient is not clipped."""
        self.block_key: list[Any] = []
        """The parameters on a device for which `blocks` were made, and the layouts of their gradients."""
        self.blocks: list[tuple[list[Tensor], list[Tensor], list[UnitBlock]]] = []
        self.others: list[Tensor] = []

    def setup(self, run: Run) -> None:
        if self.mode == "adaptive":
            params = run.parts.precision.params
            self.skipped_names = find_skipped(params, self.skip)
            self.skipped_ids = frozenset(id(param) for name, param in params if name in self.skipped_names)
            self.skips_all = len(self.skipped_ids) == len(params)

    def follow_parameters(self, run: Run) -> None:
        self.setup(run)

    def limit(self, grads: Grads) -> Grads:
        if self.mode == "norm":
            grads.divide_by(grads.norm().add(1e-6).div_(self.max_norm).clamp_(min=1.0))
        elif self.mode == "value":
            tensors = list(map(real_shard, grads.writable()))
            torch._foreach_clamp_min_(tensors, -self.max_value)
            torch._foreach_clamp_max_(tensors, self.max_value)
        else:
            grads.writable()
            params = [param for param in grads.params if id(param) not in self.skipped_ids]
            clip_units(self.clip_on_device(params), self.clipping, self.eps)
        return grads

    def clip_on_device(self, params: list[Tensor]) -> list[Tensor]:
        """Clip those gradients that are on a device and whose units lie there in order, together; return the other parameters."""
        if not params or not moves_together(params[0]):
            return params
        key = [(id(param), param.data_ptr(), None if param.grad is None else param.grad.stride()) for param in params]
        if key != self.block_key:
            rows: dict[Any, list[Tensor]] = {}
            self.others = []
            for param in params:
                together = param.grad is not None and not is_dtensor(param) and has_rows(param, param.grad)
                (rows.setdefault((param.device, param.dtype), []) if together else self.others).append(param)
            weights = {kind: [param.detach() for param in row] for kind, row in rows.items()}
            self.blocks = [(row, weights[kind], list(unit_blocks(weights[kind], self.eps))) for kind, row in rows.items()]
            self.block_key = key
        for row, weights_of_row, blocks in self.blocks:
            gradients = [param.grad for param in row if param.grad is not None]
            clip_together(blocks, weights_of_row, gradients, self.clipping)
        return self.others

    def plan_notes(self) -> Mapping[str, str]:
        if self.mode != "adaptive":
            return {}
        return {"adaptive clipping": f"all but {', '.join(self.skipped_names)}" if self.skipped_names else "all parameters"}

    def capture_blocker(self) -> str:
        return ""

    def ineffective_settings(self, run: Run) -> list[str]:
        unused = [name for mode, names in SETTINGS.items() if mode != self.mode for name in names]
        messages = [f"clip.{name} has no effect with clip.mode={self.mode}" for name in self.changed(*unused)]
        if self.mode == "adaptive" and self.skips_all:
            messages.append(f"clip has no effect: clip.skip={self.skip} leaves out every parameter; set clip.skip=none")
        return messages


def clip_units(params: list[Tensor], clipping: float, eps: float) -> None:
    """Shorten, in place, the gradient of each unit to `clipping` times the norm of its weights, which count as `eps` at least."""
    if not params:
        return
    # of sharded weights, the shards of this process: shards are cut between units
    grads = [local_shard(param.grad, param) for param in params if param.grad is not None]
    placements = {placement(param) for param in params if param.dim() <= 1}
    sharding = placements.pop() if len(placements) == 1 else UNSHARDED
    limits, lengths = unit_norms([local_shard(param.detach()) for param in params], sharding), unit_norms(grads, sharding)
    torch._foreach_clamp_min_(limits, eps)
    torch._foreach_mul_(limits, clipping)
    torch._foreach_clamp_min_(lengths, 1e-6)
    torch._foreach_div_(limits, lengths)
    torch._foreach_clamp_max_(limits, 1.0)
    torch._foreach_mul_(grads, limits)


def unit_norms(tensors: list[Tensor], sharding: Placement = UNSHARDED) -> list[Tensor]:
    """Return the 2-norm of each unit, a tensor for each of `tensors`, float32 at least.

    A tensor of two dimensions or more gives (units, 1, ...). One of fewer is one unit and gives a 0-dim tensor; `sharding` is how
    such tensors are spread over processes.
    """
    small = [tensor for tensor in tensors if tensor.dim() <= 1]
    lengths = norms(small) if small else []
    if small and sharding.mesh is not None:
        lengths = list(sharding.all_reduce(torch.stack(lengths).square_()).sqrt_().unbind())
    flat = iter(lengths)
    return [
        torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.dim())), keepdim=True, dtype=norm_dtype(tensor))
        if tensor.dim() > 1
        else next(flat)
        for tensor in tensors
    ]


def norm_dtype(tensor: Tensor) -> torch.dtype | None:
    """Return the dtype in which to take a tensor's norm: float32 for a 16-bit one; None, its own, for any other."""
    return torch.float32 if tensor.element_size() < 4 else None


def find_skipped(params: list[tuple[str, Tensor]], skip: str) -> list[str]:
    """Return the names of the parameters that `skip` leaves out, in the order of `params`.

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
    skipped = []
    for word in wanted:
        matches = [name for name in names if name == word or name.startswith(f"{word}.")]
        if not matches and word:
            owners = sorted({name.rpartition(".")[0] for name in names} - {""})
            near = nearest(word, [*names, *owners]) or f"; its last is {(owners or names)[-1]!r}"
            raise ConfigError(f"clip.skip={skip}: the model trains no {word!r}{near}")
        skipped += matches
    return [name for name in names if name in skipped]
