"""Labels of tokens and of texts: which count, and how well logits meet them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from accel.tasks.language.pretrained import Kind
from accel.tasks.language.token_rows import IGNORED

__all__ = ["Measured", "class_metrics", "counted_labels", "token_metrics"]

Measured = dict[str, Tensor]
"""Means by name, each 0-dim."""


def counted_labels(labels: Tensor, kind: Kind) -> Tensor:
    """Return which labels count, (batch, length) bool: of a causal model those of the tokens before them, and so none for the last.

    Args:
        labels: (batch, length) int64.
        kind: what the model is for.
    """
    return targets_of(labels, kind) != IGNORED


def targets_of(labels: Tensor, kind: Kind) -> Tensor:
    """Return what the logits of each token are to say, (batch, length) int64: of a causal model the label of the next token."""
    return F.pad(labels[:, 1:], (0, 1), value=IGNORED) if kind == "causal" else labels


def token_metrics(logits: Tensor, labels: Tensor, kind: Kind) -> tuple[Measured, Tensor]:
    """Return means over the tokens that count, and their number, 0-dim.

    `loss` is the cross-entropy in nats, of the same arithmetic as in transformers; `accuracy`, of masked models, the share of the
    hidden tokens that are likeliest.

    Args:
        logits: (batch, length, tokens) floating point.
        labels: (batch, length) int64.
        kind: what the model is for.
    """
    flat, targets = logits.float().flatten(0, 1), targets_of(labels, kind).flatten()
    counted = targets != IGNORED
    measured = {"loss": F.cross_entropy(flat, targets, ignore_index=IGNORED)}
    if kind == "masked":
        measured["accuracy"] = ((flat.argmax(1) == targets) & counted).sum() / counted.sum()
    return measured, counted.sum()


def class_metrics(logits: Tensor, labels: Tensor) -> Measured:
    """Return means over texts: `loss`, the cross-entropy in nats, and `accuracy`, the share of right answers.

    Args:
        logits: (batch, classes) floating point.
        labels: (batch,) int64.
    """
    return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}
