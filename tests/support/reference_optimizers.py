"""LAMB and LARS as their definitions stand, in float64, one parameter after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def lamb(
    params: list[Tensor], steps: list[list[Tensor]], *, lr: float = 0.01, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6, weight_decay: float = 0.01, max_grad_norm: float | None = 1.0, exclude: str = "norm_and_bias",
    always_adapt: bool = False, bias_correction: bool = True, grad_averaging: bool = True, max_weight_norm: float | None = None,
    trust_clip: bool = False,
) -> list[Tensor]:  # fmt: skip
    """The weights after a step with each list of gradients."""
    actual = [param.detach().double() for param in params]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in actual]
    for t, grads in enumerate(steps, start=1):
        norm = sum(float(g.double().square().sum()) for g in grads) ** 0.5
        c = 1.0 if max_grad_norm is None else max(1.0, norm / max_grad_norm)
        for i, (p, grad) in enumerate(zip(actual, grads, strict=True)):
            apart = exclude == "norm_and_bias" and p.dim() <= 1
            decay = 0.0 if apart else weight_decay
            g, (m, v) = grad.double() / c, moments[i]
            m = betas[0] * m + (1 - betas[0] if grad_averaging else 1.0) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            moments[i] = m, v
            first, second = (1 - betas[0] ** t, 1 - betas[1] ** t) if bias_correction else (1.0, 1.0)
            u = (m / first) / ((v / second).sqrt() + eps) + decay * p
            r = 1.0
            if not apart and (decay != 0 or always_adapt):
                w, n = float(p.norm()), float(u.norm())
                w = w if max_weight_norm is None else min(w, max_weight_norm)
                r = w / n if w > 0 and n > 0 else 1.0
                r = min(r, 1.0) if trust_clip else r
            actual[i] = p - lr * r * u
    return actual


def lars(
    params: list[Tensor], steps: list[list[Tensor]], *, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 1e-4,
    trust_coefficient: float = 1e-3, eps: float = 1e-8, nesterov: bool = False, exclude: str = "norm_and_bias",
    trust_clip: bool = False,
) -> list[Tensor]:  # fmt: skip
    """The weights after a step with each list of gradients."""
    actual = [param.detach().double() for param in params]
    buffers = [torch.zeros_like(p) for p in actual]
    for grads in steps:
        for i, (p, grad) in enumerate(zip(actual, grads, strict=True)):
            apart = exclude == "norm_and_bias" and p.dim() <= 1
            decay, r, g = 0.0 if apart else weight_decay, 1.0, grad.double()
            w, n = float(p.norm()), float(g.norm())
            if not apart and w > 0 and n > 0:
                r = trust_coefficient * w / (n + decay * w + eps)
                r = min(r / lr, 1.0) if trust_clip else r
            elif not apart and trust_clip:
                r = min(1.0 / lr, 1.0)
            g = r * (g + decay * p)
            buffers[i] = momentum * buffers[i] + g
            actual[i] = p - lr * (g + momentum * buffers[i] if nesterov else buffers[i])
    return actual


def distances(actual: list[Any], wanted: list[Tensor], start: list[Tensor] | None = None) -> list[float]:
    """How far each parameter is from where it should be, as a share of its norm, or of its way from `start`."""
    lengths = [float((want if start is None else want - start[i].double()).norm()) for i, want in enumerate(wanted)]
    gaps = [float((p.detach().double() - want).norm()) for p, want in zip(actual, wanted, strict=True)]
    return [gap / max(length, 1e-30) for gap, length in zip(gaps, lengths, strict=True)]
