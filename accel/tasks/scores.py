"""What is reported of a classifier."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Means over a batch: the cross-entropy in nats, and the share of right answers.

    Args:
        logits: (batch, classes), floating point.
        labels: (batch,), int64.
    """
    return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}
