"""Outputs of models that compute their loss themselves, as those of transformers do: that loss, and the tokens it is over."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn import functional as F

from accel.data.batches.containers import members
from accel.errors import ConfigError, describe

__all__ = ["IGNORED", "computes_loss", "unpack_output"]

IGNORED = -100
"""Label of a token that does not count, as of `F.cross_entropy`."""
CLOSE = 1e-3
"""Largest difference, over the loss, of a cross-entropy that is taken for it."""
_shifts: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""By how many places models move their labels: 1 where each token is predicted from those before it."""


def computes_loss(model: nn.Module, batch: Any) -> bool:
    """Return whether a model, without wrappers around it, takes the labels that a batch has, and so may return a loss."""
    if not isinstance(batch, Mapping) or "labels" not in batch:
        return False
    arguments = signature(model.forward).parameters
    return "labels" in arguments or any(one.kind is one.VAR_KEYWORD for one in arguments.values())


def unpack_output(out: Any, model: nn.Module, batch: Any) -> Any:
    """Return what a loss returned, with the loss in place of an output of the model.

    An output has its loss as an attribute or by that key. If its labels are tokens, the number of those that count stands beside
    it, so that micro-batches and ranks weigh as much as they have. Anything else is returned as it is.

    Args:
        out: an output, a loss, or either with the number of its items and a dict of numbers to log.
        model: the model that was called.
        batch: the batch.

    Raises:
        ConfigError: for an output without a loss.
    """
    is_several = type(out) is tuple and len(out) in (2, 3)
    output, rest = (out[0], out[1:]) if is_several else (out, ())
    if isinstance(output, Tensor | tuple) or not _is_output(output):
        return out
    loss = _member(output, "loss")
    if not isinstance(loss, Tensor):
        raise ConfigError(
            f"loss(model, batch) returned {describe(output)} without a loss; give the model labels=..., or compute the loss of "
            "its logits"
        )
    if rest and not isinstance(rest[0], Mapping):
        return (loss, *rest)
    items = _counted_tokens(model, output, loss, batch)
    return loss if items is None and not rest else (loss, *rest) if items is None else (loss, items, *rest)


def _member(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def _is_output(value: Any) -> bool:
    """Return whether a value has a loss, or logits from which one could have been computed."""
    return any(name in value if isinstance(value, Mapping) else hasattr(value, name) for name in ("loss", "logits"))


def _counted_tokens(model: nn.Module, output: Any, loss: Tensor, batch: Any) -> Tensor | None:
    """Return how many labels the loss of an output is a mean over, 0-dim; None if they are not those of tokens."""
    labels, logits = (members(batch) or {}).get("labels"), _member(output, "logits")
    if not isinstance(labels, Tensor) or labels.dim() < 2 or labels.is_floating_point():
        return None
    if isinstance(logits, Tensor) and logits.shape[:-1] != labels.shape:
        return None
    if model not in _shifts:
        _shifts[model] = _shift(output, logits, labels, loss)
    return (labels[..., _shifts[model] :] != IGNORED).sum()


def _shift(output: Any, logits: Any, labels: Tensor, loss: Tensor) -> int:
    """Return by how many places a model moves its labels: as its loss shows, else as the name of its output says.

    It reads numbers of the device, for the first batch of a model.
    """
    if isinstance(logits, Tensor) and loss.dim() == 0:
        flat = logits.detach().float().flatten(0, -2)
        moved = (labels, F.pad(labels[..., 1:], (0, 1), value=IGNORED))
        means = [F.cross_entropy(flat, one.flatten(), ignore_index=IGNORED) for one in moved]
        distances = [float((mean - loss.detach()).abs() / loss.detach().abs().clamp(min=1e-12)) for mean in means]
        closest = distances.index(min(distances))
        if distances[closest] < CLOSE:
            return closest
    return int("CausalLM" in type(output).__name__)
