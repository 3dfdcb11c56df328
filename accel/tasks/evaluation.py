"""Evaluation of pictures: scores of a batch, and views of each picture."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

__all__ = ["both", "scores", "views"]


def scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Means over a batch: the cross-entropy in nats, and the share of right answers.

    Args:
        logits: (batch, classes), floating point.
        labels: (batch,), int64.
    """
    return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}


def views(model: Any, pictures: Tensor, count: int) -> Tensor:
    """The mean logits over `count` views of each picture.

    Source: Jordan, arXiv 2404.00498, section 3.6.

    Args:
        model: from pictures to logits (batch, classes).
        pictures: (batch, channels, height, width) floats.
        count: 1, as it is; 2, and mirrored; 6, the same of it moved by a pixel up left and down right, weighing as much together.
    """
    if count == 1:
        out: Tensor = model(pictures)
        return out
    seen = both(model, pictures)
    if count == 2:
        return seen
    framed = F.pad(pictures, (1, 1, 1, 1), "reflect")
    moved = both(model, framed[..., 2:, 2:]) + both(model, framed[..., :-2, :-2])
    return seen / 2 + moved / 4


def both(model: Any, pictures: Tensor) -> Tensor:
    """The mean logits of the pictures and their mirror images."""
    out: Tensor = (model(pictures) + model(pictures.flip(3))) / 2
    return out
