"""Soft targets: what a teacher gives each class, and how far a student is from it.

Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["entropy", "soft_loss", "soft_targets"]


def soft_targets(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Return the probabilities that teachers give each class, softmax(z / T), and of several teachers their mean.

    Args:
        logits: of each teacher, (..., classes), of any floating dtype.
        temperature: T, above 0; the larger, the closer to equal they are.

    Returns:
        (..., classes), float32, or float64 where the logits are.
    """
    first, *others = (F.softmax(widened(each) / temperature, -1) for each in logits)
    for probabilities in others:
        first = first + probabilities
    return first / len(logits) if others else first


def soft_loss(student: Tensor, targets: Tensor, temperature: float, counted: Tensor | None = None) -> Tensor:
    """Return T^2 KL(targets || softmax(student / T)), a mean over all positions, 0-dim, float32 or float64.

    The factor keeps its gradient as large as that of hard targets, whatever the temperature (section 2 of the paper).

    Args:
        student: logits, (..., classes), of any floating dtype.
        targets: probabilities of the same shape.
        temperature: T, above 0.
        counted: (...) bool, the positions that the mean is over; None for all. The mean of none is NaN.
    """
    logs = F.log_softmax(widened(student) / temperature, -1)
    divergences = F.kl_div(logs, targets, reduction="none").sum(-1)
    if counted is None:
        return divergences.mean() * temperature**2
    total = torch.where(counted, divergences, 0.0).sum()
    return total / counted.sum() * temperature**2


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of probabilities in nats: (..., classes) to (...)."""
    entropies: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropies


def widened(values: Tensor) -> Tensor:
    """Return values in float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
