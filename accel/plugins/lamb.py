"""LAMB: Adam with steps scaled, layer by layer, to the length of the weights.

Helps   large batches. The update of each parameter is scaled to its weights, so
        a learning rate that grew with the batch does not throw a layer off.
Hurts   small batches, where AdamW is as good and costs less. Layers whose
        weights start at zero: a norm of 0 keeps them from being adapted.
Costs   five passes of the weights' size more than AdamW: 48 bytes of memory
        traffic per parameter. clip and float16 take the same norm of the
        gradients, which then saves 4 bytes. The gradients are scaled in place,
        because the trainer frees them after the step.
Source  You et al., Large Batch Optimization for Deep Learning: Training BERT in
        76 minutes, arXiv 1904.00962, as NVIDIA defines it (apex `FusedLAMB`).
        The gradients of all parameters are clipped together, the moments are
        corrected for their start, and the ratio has no limit. Variants are
        settings. `accel.optim.LAMB` is the same for a loop of your own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.errors import ConfigError
from accel.optim.kernel_row import moves_together
from accel.optim.lamb import LAMB as FusedLAMB
from accel.parts import Grads, Optim
from accel.values import Decay, NonNegative, Positive, Share

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["LAMB"]


@dataclass(eq=False)
class LAMB(Optim):
    """Adam whose update of each parameter is as long as the parameter's norm.

    Args:
        lr: learning rate.
        beta1: decay per update of the first moment, the mean of the gradients.
        beta2: decay per update of the second moment, the mean of their squares.
        eps: number added to the root of the second moment.
        weight_decay: share of each weight in its update.
        max_grad_norm: longest 2-norm of the gradient over all parameters; a longer one is shortened; null for no limit.
        exclude: parameters without weight decay and adaptation: none, or norm_and_bias, those of at most one dimension.
        always_adapt: adapt parameters whose weight decay is 0 as well.
        bias_correction: divide the moments by 1 - beta^t, as Adam does.
        grad_averaging: weigh a gradient with 1 - beta1 in the first moment; false weighs it with 1.
        max_weight_norm: largest norm that a parameter counts with (the paper's phi); null for no limit.
        trust_clip: never lengthen an update: the ratio of the norms is at most 1.
        groups: settings for some parameters: dicts of match and lr, lr_scale, weight_decay, ...; the first match counts.
        layer_decay: factor on the learning rate from one layer to the one below it; the top layer has the whole; 1 for none.
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
    groups: list[dict[str, Any]] | None = None
    layer_decay: Share = 1.0

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
        if self.max_grad_norm is not None:  # the norm is taken once for clipping, the check for overflow and this optimiser
            if not grads.has_norm and not any(map(moves_together, grads.params[:1])):  # else the optimiser needs fewer launches
                grads.scaled_norm()
            grads.materialise_wide()
            self.lamb.scaled_norm = grads.scaled_norm() if grads.has_norm else None
        super().step(grads)

    def why_not_per_parameter(self) -> str:
        if self.max_grad_norm is None:
            return super().why_not_per_parameter()
        return "lamb.max_grad_norm limits the norm over all parameters; set plugins.lamb.max_grad_norm=null"

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.weight_decay != 0 or self.always_adapt:
            return super().ineffective_settings(run)
        names = self.changed("max_weight_norm", "trust_clip")
        return super().ineffective_settings(run) + [
            f"lamb.{name} has no effect with lamb.weight_decay=0 and without lamb.always_adapt=true" for name in names
        ]
