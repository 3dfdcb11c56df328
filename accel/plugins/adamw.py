"""AdamW: Adam with decoupled weight decay, in torch's fused kernel.

Helps   almost every model that is not a plain convnet: transformers, small
        data, first tries.
Hurts   memory: two float32 numbers per parameter.
Costs   one pass over weights, gradients and moments: 28 bytes of memory traffic
        per parameter.
Source  Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv
        1711.05101; `torch.optim.AdamW`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.optim.adamw import FusedAdamW
from accel.optim.kernels.fused_support import has_fused
from accel.parts import Optim
from accel.parts.shared.groups.parameter_groups import decayed
from accel.values import Decay, NonNegative, Positive, Share

__all__ = ["AdamW"]


@dataclass(eq=False)
class AdamW(Optim):
    """Adam with decoupled weight decay.

    Args:
        lr: learning rate.
        beta1: decay per update of the first moment, the mean of the gradients.
        beta2: decay per update of the second moment, the mean of their squares.
        eps: number added to the root of the second moment.
        weight_decay: share of each weight taken off per update, times lr.
        exclude: parameters without weight decay: none, as in torch, or norm_and_bias, those of at most one dimension.
        fused: use torch's fused kernel where the device has it; false uses torch's foreach implementation.
        groups: settings for some parameters: dicts of match and lr, lr_scale, weight_decay, ...; the first match counts.
        layer_decay: factor on the learning rate from one layer to the one below it; the top layer has the whole; 1 for none.
    """

    lr: Positive = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    exclude: Literal["none", "norm_and_bias"] = "none"
    fused: bool = True
    groups: list[dict[str, Any]] | None = None
    layer_decay: Share = 1.0
    is_adam = True

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        groups = decayed(params, self.exclude)
        settings: dict[str, Any] = {
            "lr": self.lr, "betas": (self.beta1, self.beta2), "eps": self.eps, "weight_decay": self.weight_decay
        }  # fmt: skip
        if self.fused and has_fused(params, device):
            return FusedAdamW(groups, **settings)
        return torch.optim.AdamW(groups, foreach=True, **settings)
