"""LARS: SGD whose steps are as long, layer by layer, as the weights allow.

Helps   convnets with batches of several thousand: the gradient of each
        parameter is scaled to its weights, so a learning rate that grew with
        the batch throws no layer out.
Hurts   small batches, and learning rates taken over from SGD: with LARS they
        are larger by a factor of 10 to 1000.
Costs   two passes over weights and gradients, one over the momentum: 28 bytes
        of traffic per parameter, where SGD has 20.
Source  You et al., Large Batch Training of Convolutional Networks, arXiv
        1708.03888, in the form of timm and apex's `LARC`: the ratio scales the
        gradient, lr stays out of the momentum. `accel.optim.LARS` is the same
        for a loop of your own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.errors import ConfigError
from accel.optim.lars import LARS as FusedLARS
from accel.parts import Optim
from accel.values import Decay, NonNegative, Positive

__all__ = ["LARS"]


@dataclass(eq=False)
class LARS(Optim):
    """LARS.

    Args:
        lr: the learning rate.
        momentum: how slowly the mean of the updates forgets; 0 for none.
        nesterov: look ahead along the momentum.
        weight_decay: the share of each weight added to its gradient.
        trust_coefficient: how long an update is beside its weights, at a learning rate of 1.
        eps: added to the norms below the line.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay and of adaptation.
        trust_clip: no step is longer than that of SGD with this lr (the clipping of LARC).
    """

    lr: Positive = 0.1
    momentum: Decay = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 1e-4
    trust_coefficient: Positive = 1e-3
    eps: NonNegative = 1e-8
    exclude: Literal["none", "norm_and_bias"] = "norm_and_bias"
    trust_clip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ConfigError("lars.nesterov needs momentum; set lars.momentum=0.9, or leave nesterov out")

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        return FusedLARS(
            [param for _, param in params], lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay,
            trust_coefficient=self.trust_coefficient, eps=self.eps, nesterov=self.nesterov, exclude=self.exclude,
            trust_clip=self.trust_clip,
        )  # fmt: skip
