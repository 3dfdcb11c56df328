"""LAMB in torch's fused Adam kernel.

The kernel moves scratch memory instead of the weights: at a learning rate of -1 and without decay it leaves there, from zero,
Adam's direction, and the moments where they belong, in one pass. What LAMB adds (decay, norms, ratio) is done while that is still
in the cache. Weights are read twice and written once, as the definition demands: 48 bytes of traffic per parameter.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from accel.optim.cycled import WEIGHT
from accel.optim.fused import Fused, Row
from accel.optim.tiles import Section, norms, scaled, sections, squares, whole


class LAMB(Fused):
    """LAMB as NVIDIA defines it (apex `FusedLAMB`), which is timm's too.

    With c = max(1, ||g|| / max_grad_norm) over the gradients g of all parameters, and for each parameter p

        m = beta1 m + (1 - beta1) g / c              v = beta2 v + (1 - beta2) (g / c)^2
        u = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p
        p = p - lr r u                               r = ||p|| / ||u||, or 1 where either is 0

    The ratio r is 1 in groups without weight decay, unless `always_adapt`, and for what is excluded. `p.grad` stays as it was
    found. `grad_scale` and `found_inf` (0-dim float32 on the device), as `torch.amp.GradScaler` sets them, divide the gradients
    and skip the step: then nothing moves, no counter either. Nothing is read on the host.

    Args:
        params: tensors, or groups of them, of any floating dtype; the state has the dtype of its parameter.
        lr: the learning rate.
        betas: how slowly the first and the second moment forget.
        eps: added to the root of the second moment.
        weight_decay: the share of each weight in its update.
        max_grad_norm: a longer gradient, over all parameters, is shortened to this norm; None leaves it as it is.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay and of adaptation.
        always_adapt: adapt where the weight decay is 0 as well.
        bias_correction: divide the moments by 1 - beta^t, as Adam does.
        grad_averaging: weigh a gradient with 1 - beta1 in the first moment; else with 1.
        max_weight_norm: ||p|| counts as at most this (the paper's phi); None for no limit.
        trust_clip: r is at most 1 (LAMBC).

    Source: You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, arXiv 1904.00962.
    """

    grad_norm: Tensor | None = None
    """The norm of the true gradient over all parameters, 0-dim float32, from one who knows it: else it takes a pass to find."""

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

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        cycled = group.get("cycled") and group["bias_correction"]
        return ("exp_avg", "exp_avg_sq", "step", WEIGHT) if cycled else ("exp_avg", "exp_avg_sq", "step")

    def plan(self, row: Row) -> list[Section]:
        return sections(row)

    def move(self, rows: list[tuple[Row, list[Tensor]]]) -> None:
        norm = self.grad_norm
        if norm is None and any(row.group["max_grad_norm"] is not None for row, _ in rows):
            norm = torch.linalg.vector_norm(torch.cat([whole(torch.stack(norms(grads))) for _, grads in rows]))
            norm = norm if self.scale is None else norm / self.scale
        self.norm = norm
        super().move(rows)

    def divisor(self, longest: float | None) -> Tensor | None:
        """What to divide the gradients by."""
        if longest is None or self.norm is None:
            return self.scale
        clip = self.norm.div(longest).clamp_(min=1.0)
        return clip if self.scale is None else clip.mul_(self.scale)

    def kernel(self, row: Row, grads: list[Any]) -> None:
        group = row.group
        decay = 0.0 if row.excluded else group["weight_decay"]
        adapts = not row.excluded and (decay != 0 or group["always_adapt"])
        beta1, beta2 = group["betas"]
        # the kernel averages: without averaging the moment is longer by a factor, which the rate brings back
        rate = -1.0 if group["grad_averaging"] else -1.0 / (1.0 - beta1)
        divisor = self.divisor(group["max_grad_norm"])
        factor = row.params[0].new_ones(()) if divisor is None else divisor.reciprocal()
        self.count(row)
        cycled = self.corrections(row).unbind() if WEIGHT in self.keeps(group) else None
        for section in row.plan:
            weights: list[Tensor] = []
            updates: list[Tensor] = []
            for tile, pieces in section.pieces(grads):
                averages, squares_, steps = tile.state[:3]
                if not group["bias_correction"]:
                    steps = [torch.full_like(steps[0], torch.inf)] * len(steps)  # where 1 - beta^t is 1
                scaled(pieces, [factor] * len(pieces), tile.grads)
                if adapts:  # first, because nothing reads memory faster
                    weights += squares(tile.lines[0])
                if decay and cycled is None:
                    scaled(tile.params, decay, tile.updates)
                else:
                    torch._foreach_zero_(tile.updates)
                torch._fused_adam_(
                    tile.updates, tile.grads, averages, squares_, [], steps, lr=rate, beta1=beta1, beta2=beta2, weight_decay=0.0,
                    eps=group["eps"], amsgrad=False, maximize=False, found_inf=self.found_inf,
                )  # fmt: skip
                if cycled is not None:  # what is in the kernel's update must be corrected before the decay joins it
                    torch._foreach_mul_(tile.updates, [cycled[place] for place in section.places])
                    if decay:
                        torch._foreach_add_(tile.updates, tile.params, alpha=decay)
                if adapts:
                    updates += squares(tile.lines[1])
            if adapts:
                ratios = self.ratios(section.norms(weights), section.norms(updates), group)
            else:
                ratios = torch.ones_like(factor).unsqueeze(0)
            rates = ratios * -group["lr"]
            if self.found_inf is not None:
                rates *= 1 - self.found_inf
            torch._foreach_addcmul_(section.params, section.updates, list(rates.expand(len(section.params)).unbind()))
        self.uncount(row)

    def ratios(self, weights: Tensor, updates: Tensor, group: dict[str, Any]) -> Tensor:
        """r for each parameter, from the norms of weights and updates."""
        if group["max_weight_norm"] is not None:
            weights = weights.clamp(max=group["max_weight_norm"])
        found = torch.where((weights > 0) & (updates > 0), weights / updates, 1.0)
        return found.clamp(max=1.0) if group["trust_clip"] else found
