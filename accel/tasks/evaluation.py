"""Evaluation of pictures: scores of a batch, and logits averaged over views of each picture."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

__all__ = ["average_mirrored", "average_views", "scores"]


def scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return means over a batch: `loss`, the cross-entropy in nats, and `accuracy`, the share of right answers.

    Args:
        logits: (batch, classes) floating point.
        labels: (batch,) int64.
    """
    return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}


def average_views(model: Any, pictures: Tensor, count: int) -> Tensor:
    """Return the mean logits, (batch, classes), over `count` views of each picture.

    Source: Jordan, arXiv 2404.00498, section 3.6.

    Args:
        model: Function from pictures to logits, (batch, classes).
        pictures: (batch, channels, height, width) floating point.
        count: 1: the picture as it is. 2: also mirrored. 6: also both, moved by a pixel up left and down right; these four weigh
            as much together as the first two.
    """
    if count == 1:
        out: Tensor = model(pictures)
        return out
    centred = average_mirrored(model, pictures)
    if count == 2:
        return centred
    framed = F.pad(pictures, (1, 1, 1, 1), "reflect")
    moved = average_mirrored(model, framed[..., 2:, 2:]) + average_mirrored(model, framed[..., :-2, :-2])
    return centred / 2 + moved / 4


def average_mirrored(model: Any, pictures: Tensor) -> Tensor:
    """Return the mean logits of pictures and their mirror images, (batch, classes)."""
    out: Tensor = (model(pictures) + model(pictures.flip(3))) / 2
    return out
