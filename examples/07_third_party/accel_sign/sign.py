"""Sign: signSGD, which moves every weight by the same amount, against its gradient's sign.

Helps   noisy gradients of very different sizes; learning how to write a plugin.
Hurts   the last digits of the loss: the step does not shrink with the gradient.
Costs   one pass over weights and gradients.
Source  Bernstein et al., signSGD, arXiv 1802.04434.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.parts import Optim
from accel.values import Positive


class SignSGD(Optimizer):
    """Plain torch optimiser: p -= lr * sign(g)."""

    def __init__(self, params: list[Tensor], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            torch._foreach_add_(params, torch._foreach_sign([param.grad for param in params]), alpha=-group["lr"])


@dataclass(eq=False)
class Sign(Optim):
    """Optimiser signSGD.

    Args:
        lr: distance that each weight moves per update.
    """

    lr: Positive = 1e-3

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        return SignSGD([param for _, param in params], self.lr)
