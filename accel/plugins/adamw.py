"""AdamW: Adam with decoupled weight decay, in torch's fused kernel.

Helps   almost everything that is not a plain convnet: transformers, small data,
        first tries.
Hurts   memory: two float32 numbers per parameter.
Costs   one pass over weights, gradients and moments; 28 bytes of traffic per
        parameter.
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
from accel.parts import Optim
from accel.parts.optim import decayed, has_fused
from accel.values import Decay, NonNegative, Positive

__all__ = ["AdamW"]


@dataclass(eq=False)
class AdamW(Optim):
    """AdamW.

    Args:
        lr: the learning rate.
        beta1: how slowly the first moment forgets.
        beta2: how slowly the second moment forgets.
        eps: added to the root of the second moment.
        weight_decay: the share of each weight taken off per update, times lr.
        exclude: none decays everything, as torch does; norm_and_bias leaves out parameters of at most one dimension.
        fused: false uses torch's foreach implementation.
    """

    lr: Positive = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    exclude: Literal["none", "norm_and_bias"] = "none"
    fused: bool = True

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        groups = decayed(params, self.exclude)
        settings: dict[str, Any] = {
            "lr": self.lr, "betas": (self.beta1, self.beta2), "eps": self.eps, "weight_decay": self.weight_decay
        }  # fmt: skip
        if self.fused and has_fused(params, device):
            return FusedAdamW(groups, **settings)
        return torch.optim.AdamW(groups, foreach=True, **settings)
