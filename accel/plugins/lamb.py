"""LAMB: Adam whose steps are as long, layer by layer, as the weights allow.

Helps   large batches: the update of each parameter is scaled to its weights, so
        a learning rate that grew with the batch throws no layer out.
Hurts   small batches, where AdamW is as good and costs less; and when a norm of
        0 (weights that start at zero) keeps a layer from being adapted.
Costs   five passes of the weights' size more than AdamW: 48 bytes of traffic
        per parameter; with clip or float16 the norm of the gradients is shared
        and 4 of them are saved. The gradients are scaled where they are: the
        trainer frees them after the step.
Source  You et al., Large Batch Optimization for Deep Learning: Training BERT in
        76 minutes, arXiv 1904.00962, as NVIDIA defines it (apex `FusedLAMB`):
        gradients of all parameters clipped together, moments corrected for
        their start, no limit to the ratio. The variants that differ are
        settings. `accel.optim.LAMB` is the same for a loop of your own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.errors import ConfigError
from accel.optim.lamb import LAMB as FusedLAMB
from accel.parts import Grads, Optim
from accel.values import Decay, NonNegative, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["LAMB"]


@dataclass(eq=False)
class LAMB(Optim):
    """LAMB.

    Args:
        lr: the learning rate.
        beta1: how slowly the first moment forgets.
        beta2: how slowly the second moment forgets.
        eps: added to the root of the second moment.
        weight_decay: the share of each weight in its update.
        max_grad_norm: a longer gradient, over all parameters, is shortened to this norm; null leaves it as it is.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay and of adaptation.
        always_adapt: adapt to the weights where the weight decay is 0 as well.
        bias_correction: divide the moments by 1 - beta^t, as Adam does.
        grad_averaging: weigh a gradient with 1 - beta1 in the first moment; else with 1.
        max_weight_norm: no parameter's norm counts as more than this (the paper's phi); null for no limit.
        trust_clip: no update is lengthened: the ratio of the norms is at most 1.
    """

    lr: Positive = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-6
    weight_decay: NonNegative = 0.01
    max_grad_norm: Positive | None = 1.0
    exclude: Literal["none", "norm_and_bias"] = "norm_and_bias"
    always_adapt: bool = False
    bias_correction: bool = True
    grad_averaging: bool = True
    max_weight_norm: Positive | None = None
    trust_clip: bool = False

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        self.lamb = FusedLAMB(
            [param for _, param in params], lr=self.lr, betas=(self.beta1, self.beta2), eps=self.eps,
            weight_decay=self.weight_decay, max_grad_norm=self.max_grad_norm, exclude=self.exclude,
            always_adapt=self.always_adapt, bias_correction=self.bias_correction, grad_averaging=self.grad_averaging,
            max_weight_norm=self.max_weight_norm, trust_clip=self.trust_clip,
        )  # fmt: skip
        return self.lamb

    def cycle_momentum(self) -> None:
        if not self.grad_averaging:
            raise ConfigError(
                "lamb.grad_averaging=false keeps a sum in which beta1 cannot move; set cycle_momentum=false, or grad_averaging=true"
            )
        super().cycle_momentum()

    def step(self, grads: Grads) -> None:
        if self.max_grad_norm is not None:
            self.lamb.grad_norm = grads.norm()  # found once for the clip, the overflow and this
        super().step(grads)

    def why_not_per_parameter(self) -> str:
        if self.max_grad_norm is None:
            return super().why_not_per_parameter()
        return "lamb.max_grad_norm limits the norm over all parameters; set plugins.lamb.max_grad_norm=null"

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.weight_decay != 0 or self.always_adapt:
            return []
        only = self.changed("max_weight_norm", "trust_clip")
        return [f"lamb.{name} has no effect with lamb.weight_decay=0 and without lamb.always_adapt=true" for name in only]
