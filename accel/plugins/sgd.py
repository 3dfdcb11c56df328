"""SGD: gradient descent with momentum, in torch's fused kernel.

Helps   convnets: the reference recipes are tuned for it. It keeps one number
        per weight, or none.
Hurts   transformers, and learning rates that were not tuned.
Costs   one pass over weights, gradients and momentum: 20 bytes of memory
        traffic per parameter (12 without momentum).
Source  Sutskever et al., On the importance of initialization and momentum in
        deep learning, 2013; `torch.optim.SGD`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.errors import ConfigError
from accel.optim.kernels.fused_support import has_fused
from accel.parts import Optim
from accel.parts.optim import sgd
from accel.values import Decay, NonNegative, Positive, Share

__all__ = ["SGD"]


@dataclass(eq=False)
class SGD(Optim):
    """SGD with momentum.

    Args:
        lr: learning rate.
        momentum: decay per update of the running sum of the gradients; 0 for none.
        nesterov: look ahead along the momentum (Nesterov's).
        weight_decay: share of each weight added to its gradient.
        exclude: parameters without weight decay: none, as in torch, or norm_and_bias, those of at most one dimension.
        fused: use torch's fused kernel where the device has it; false uses torch's foreach implementation.
        groups: settings for some parameters: dicts of match and lr, lr_scale, weight_decay, ...; the first match counts.
        layer_decay: factor on the learning rate from one layer to the one below it; the top layer has the whole; 1 for none.
    """

    lr: Positive = 0.01
    momentum: Decay = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    exclude: Literal["none", "norm_and_bias"] = "none"
    fused: bool = True
    groups: list[dict[str, Any]] | None = None
    layer_decay: Share = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ConfigError("sgd.nesterov needs momentum; set sgd.momentum=0.9, or leave nesterov out")

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        return sgd(
            params, fused=self.fused and has_fused(params, device), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov,
            weight_decay=self.weight_decay, exclude=self.exclude,
        )  # fmt: skip
