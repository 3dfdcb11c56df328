"""LAMB in torch's fused Adam kernel.

The kernel moves scratch memory instead of the weights. At a learning rate of -1 and without decay, it turns zeros into Adam's
direction and updates the moments, in one pass. LAMB's own work (decay, norms, ratio) is done while that is still in the
cache. Weights are read twice and written once, as the definition demands: 48 bytes of traffic per parameter.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from accel.device.dtensor import total_norm
from accel.optim.cycled_betas import WEIGHT, adam_state_names
from accel.optim.fused import Fused, Memory
from accel.optim.kernel_row import KernelRow, host_value
from accel.optim.kernels.lamb_section import LambSection, move_together
from accel.optim.kernels.plain_kernels import Kernel
from accel.optim.tiles import Section, Tile, scale_into, sections, squared_norms

__all__ = ["LAMB"]


class LAMB(Fused):
    """LAMB as NVIDIA defines it (apex `FusedLAMB`), and timm too.

    With c = max(1, ||g|| / max_grad_norm) over the gradients g of all parameters, and for each parameter p

        m = beta1 m + (1 - beta1) g / c              v = beta2 v + (1 - beta2) (g / c)^2
        u = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p
        p = p - lr r u                               r = ||p|| / ||u||, or 1 where either is 0

    The ratio r is 1 in groups without weight decay, unless `always_adapt`, and for excluded parameters. `p.grad` is not changed,
    unless `frees_grads` is set: then it may end up divided, a copy is spared, and the weights are equal to the bit.
    `grad_scale` and `found_inf` (0-dim float32 on the device), as `torch.amp.GradScaler` sets them, divide the gradients
    and skip the step: then nothing moves, not even a counter. No number is read on the host, but on a CPU.

    Args:
        params: tensors, or groups of them, of any floating dtype; the state has the dtype of its parameter.
        lr: the learning rate.
        betas: the decay of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: the share of each weight in its update.
        max_grad_norm: a longer gradient, over all parameters, is shortened to this norm; None leaves it as it is.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay and of adaptation.
        always_adapt: adapt even if the weight decay is 0.
        bias_correction: divide the moments by 1 - beta^t, as Adam does.
        grad_averaging: weigh a gradient with 1 - beta1 in the first moment; else with 1.
        max_weight_norm: ||p|| counts as at most this (the paper's phi); None for no limit.
        trust_clip: r is at most 1 (LAMBC).

    Source: You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, arXiv 1904.00962.
    """

    scaled_norm: Tensor | None = None
    """The norm of `p.grad` as it is, not yet divided, over all parameters, 0-dim, in float32 at least: set by who knows it."""

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_grad_norm: float | None = 1.0,
        exclude: Literal["none", "norm_and_bias"] = "norm_and_bias",
        *,
        always_adapt: bool = False,
        bias_correction: bool = True,
        grad_averaging: bool = True,
        max_weight_norm: float | None = None,
        trust_clip: bool = False,
    ) -> None:
        settings = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "max_grad_norm": max_grad_norm, "exclude": exclude,
            "always_adapt": always_adapt, "bias_correction": bias_correction, "grad_averaging": grad_averaging,
            "max_weight_norm": max_weight_norm, "trust_clip": trust_clip, "fused": True,
        }  # fmt: skip
        super().__init__(params, settings)

    algorithms = ("adam",)
    per_parameter = reads_on_host = joins_excluded = True

    @property
    def divides(self) -> bool:
        """Whether gradients are divided in place, which happens only if they are freed after the step."""
        return self.frees_grads

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of Adam's state, with the weight of the first moment if its beta1 is cycled."""
        return adam_state_names(group)

    def plan(self, row: KernelRow, memory: Memory) -> list[Section] | list[LambSection]:
        """Return the row cut into sections of tiles."""
        parts = sections(row, memory)
        return [LambSection(row, section) for section in parts] if row.on_device else parts

    def update_rows(self, rows: list[tuple[KernelRow, list[Tensor]]]) -> None:
        """Move the parameters of all rows, with one norm of all gradients."""
        self.norm = self.scaled_norm
        self.divisors: dict[tuple[float, bool], Tensor] = {}
        if self.norm is None and any(row.group["max_grad_norm"] is not None for row, _ in rows):
            if self.takes_norm_in_scratch(rows):
                move_together(self, *rows[0], takes_norm=True)
                return
            self.norm = total_norm((row.placement, grads) for row, grads in rows)
        super().update_rows(rows)

    def takes_norm_in_scratch(self, rows: list[tuple[KernelRow, list[Tensor]]]) -> bool:
        """Return whether all that there is moves together on a device, through the memory in which the norm is then taken."""
        row = rows[0][0]
        return row.on_device and len(self.current_rows()) == len(row.plan) == 1 and not self.moves_weights(row)

    def moves_weights(self, row: KernelRow) -> bool:
        """Return whether the kernel can move the weights of a row on a device: if none is adapted, decays or is corrected."""
        group = row.group
        return not (group["weight_decay"] or group["always_adapt"] or WEIGHT in self.state_names(group)) and row.dense

    def divisor(self, max_norm: float | None, *, together: bool = False) -> Tensor | None:
        """Return the divisor of the gradients, 0-dim: scale times clipping; None stands for 1.

        Args:
            max_norm: the norm to which longer gradients are shortened; None for no limit.
            together: whether to take few operations, which may round otherwise.
        """
        if max_norm is None or self.norm is None:
            return self.scale
        if (max_norm, together) not in self.divisors:
            self.divisors[max_norm, together] = limited(self.norm, max_norm, self.scale, together=together)
        return self.divisors[max_norm, together]

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Move the parameters of a row, tile by tile."""
        if row.on_device:
            move_together(self, row, grads, takes_norm=False)
            return
        group, on_host = row.group, row.on_host
        decay = 0.0 if row.excluded else group["weight_decay"]
        adapts = not row.excluded and (decay != 0 or group["always_adapt"])
        divisor, adam = self.divisor(group["max_grad_norm"]), row.kernel("adam", scratch=True)
        if on_host:
            if host_value(self.found_inf, 0.0):
                return
            divisor = None if host_value(divisor, 1.0) == 1.0 else divisor
        self.count(row)
        corrections = self.corrections(row).unbind() if WEIGHT in self.state_names(group) else None
        for section in row.plan:
            is_direct = not adapts and section.dense and corrections is None  # the kernel moves the weights
            weights: list[Tensor] = []
            updates: list[Tensor] = []
            for tile, parts in section.pieces(grads):
                if is_direct:
                    self.move_by_adam(adam, tile, tile.params, parts, group, group["lr"], divisor, self.frees_grads)
                    continue
                if adapts:  # before the decay: no other pass reads memory faster
                    weights += squared_norms(tile.flat[0])
                if decay and corrections is None:
                    scale_into(tile.params, decay, tile.updates)
                else:
                    torch._foreach_zero_(tile.updates)
                self.move_by_adam(adam, tile, tile.updates, parts, group, -1.0, divisor, self.frees_grads)
                if corrections is not None:  # the kernel's update must be corrected before the decay is added
                    torch._foreach_mul_(tile.updates, [corrections[index] for index in section.places])
                    if decay:
                        torch._foreach_add_(tile.updates, tile.params, alpha=decay)
                if adapts:
                    updates += squared_norms(tile.flat[1])
            if not is_direct:
                self.take_steps(section, weights, updates, row, adapts=adapts)
        self.uncount(row)

    def take_steps(self, section: Section, weights: list[Tensor], updates: list[Tensor], row: KernelRow, *, adapts: bool) -> None:
        """Subtract the updates of a section from its parameters, each times the learning rate and its trust ratio.

        Args:
            section: the parameters; `section.updates` holds u.
            weights: the squared norms of the weights of all tiles.
            updates: the squared norms of the updates of all tiles.
            row: the row of the section.
            adapts: whether the trust ratio is used; else it is 1.
        """
        group = row.group
        if row.on_host:
            lengths = section.host_norms(weights, updates) if adapts else [(0.0, 0.0)] * len(section.params)
            for param, update, (weight, length) in zip(section.params, section.updates, lengths, strict=True):
                param.add_(update, alpha=-float(group["lr"]) * self.trust_ratio(weight, length, group))
            return
        ratios = section.ones()
        if adapts:
            norms = section.norms(weights, updates)
            ratios = self.trust_ratios(norms[0], norms[1], group)
        rates = ratios * -group["lr"]
        if self.found_inf is not None:
            rates *= 1 - self.found_inf
        torch._foreach_addcmul_(section.params, section.updates, list(rates.unbind()))

    def move_by_adam(
        self, adam: Kernel, tile: Tile, targets: list[Tensor], grads: list[Tensor], group: dict[str, Any], rate: Any,
        divisor: Tensor | None, consumed: bool,
    ) -> None:  # fmt: skip
        """Subtract `rate` times Adam's direction from `targets`, which are dense, and update the moments."""
        averages, squares_, steps = tile.state[:3]
        beta1, beta2 = group["betas"]
        if not group["bias_correction"]:
            steps = [torch.full_like(steps[0], torch.inf)] * len(steps)  # where 1 - beta^t is 1
        if not group["grad_averaging"]:  # the kernel averages: the moment is shorter by a factor, which the rate brings back
            rate = rate / (1.0 - beta1)
        grads, scale = tile.divide_grads(grads, divisor, consumed)
        adam(
            targets, grads, averages, squares_, [], steps, lr=rate, beta1=beta1, beta2=beta2, weight_decay=0.0, eps=group["eps"],
            amsgrad=False, maximize=False, grad_scale=scale, found_inf=self.found_inf,
        )  # fmt: skip

    def trust_ratio(self, weight: float, update: float, group: dict[str, Any]) -> float:
        """Return r of a parameter, from the norms of weight and update."""
        if group["max_weight_norm"] is not None:
            weight = min(weight, group["max_weight_norm"])
        ratio = weight / update if weight > 0 and update > 0 else 1.0
        return min(ratio, 1.0) if group["trust_clip"] else ratio

    def trust_ratios(self, weights: Tensor, updates: Tensor, group: dict[str, Any]) -> Tensor:
        """Return r of several parameters, (n,), from the norms of weights and updates, (n,) on the device."""
        if group["max_weight_norm"] is not None:
            weights = weights.clamp(max=group["max_weight_norm"])
        ratios = torch.where((weights > 0) & (updates > 0), weights / updates, 1.0)
        return ratios.clamp(max=1.0) if group["trust_clip"] else ratios


def limited(norm: Tensor, max_norm: float, scale: Tensor | None, *, together: bool) -> Tensor:
    """Return scale times clipping, 0-dim; the arguments are those of `LAMB.divisor`, and the norm of the gradients as they are."""
    if scale is not None and together:  # max(1, norm / scale / max_norm) scale
        return torch.maximum(norm if max_norm == 1 else norm / max_norm, scale)
    norm = norm if scale is None else norm / scale
    clip = (norm if max_norm == 1 else norm.div(max_norm)).clamp(min=1.0)
    return clip if scale is None else clip.mul_(scale)
