"""LARS: SGD with steps scaled, layer by layer, to the length of the weights.

Helps   convnets with batches of several thousand samples. The gradient of each
        parameter is scaled to its weights, so a learning rate that grew with
        the batch does not throw a layer off.
Hurts   small batches; learning rates taken over from SGD, since those of LARS
        are larger by a factor of 10 to 1000.
Costs   two passes over weights and gradients, one over the momentum: 28 bytes
        of memory traffic per parameter, where SGD has 20.
Source  You et al., Large Batch Training of Convolutional Networks, arXiv
        1708.03888, in the form of timm and apex's `LARC`: the ratio scales the
        gradient, and lr stays out of the momentum. `accel.optim.LARS` is the
        same for a loop of your own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.errors import ConfigError
from accel.optim.lars import LARS as FusedLARS
from accel.parts import Optim
from accel.values import Decay, NonNegative, Positive, Share

__all__ = ["LARS"]


@dataclass(eq=False)
class LARS(Optim):
    """SGD whose step of each parameter is in proportion to the parameter's norm.

    Args:
        lr: learning rate.
        momentum: decay per update of the running sum of the gradients; 0 for none.
        nesterov: look ahead along the momentum (Nesterov's).
        weight_decay: share of each weight added to its gradient.
        trust_coefficient: length of an update over the norm of its weights, at a learning rate of 1.
        eps: number added to the denominator of the ratio of norms.
        exclude: parameters without weight decay and adaptation: none, or norm_and_bias, those of at most one dimension.
        trust_clip: never step further than SGD with this lr (the clipping of LARC).
        groups: settings for some parameters: dicts of match and lr, lr_scale, weight_decay, ...; the first match counts.
        layer_decay: factor on the learning rate from one layer to the one below it; the top layer has the whole; 1 for none.
    """

    lr: Positive = 0.1
    momentum: Decay = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 1e-4
    trust_coefficient: Positive = 1e-3
    eps: NonNegative = 1e-8
    exclude: Literal["none", "norm_and_bias"] = "norm_and_bias"
    trust_clip: bool = False
    groups: list[dict[str, Any]] | None = None
    layer_decay: Share = 1.0

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
