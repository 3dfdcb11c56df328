"""Dicts of losses by name, as models return them that compute their losses themselves: the sum is what is minimised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from accel.errors import ConfigError, describe

__all__ = ["split_returned"]


def split_returned(out: Any, origin: str, trains: bool = True) -> tuple[Any, list[Any]]:
    """Return the loss of what `loss(model, batch)` returned, and what stands beside it; of a dict of losses the sum beside it.

    Args:
        out: a loss, or a tuple of it and of its items, of numbers to log, or both.
        origin: says in errors where it is from.
        trains: whether each loss of a dict must have a gradient.

    Raises:
        ConfigError: for what cannot be added up in a dict of losses.
    """
    loss, *rest = out if isinstance(out, tuple) and len(out) in (2, 3) else (out,)
    if is_loss_dict(loss) and len(rest) < 2 and not any(isinstance(part, Mapping) for part in rest):
        return sum_of_losses(loss, origin, trains), [*rest, loss]
    return loss, rest


def is_loss_dict(value: Any) -> bool:
    """Return whether a value is a dict of losses by name; one that has `loss` among them has their sum already."""
    return isinstance(value, Mapping) and bool(value) and "loss" not in value


def sum_of_losses(losses: Mapping[Any, Any], origin: str, trains: bool = True) -> Tensor:
    """Return the sum of a dict of losses, 0-dim.

    Args:
        losses: scalar tensors by name.
        origin: says in errors where they are from.
        trains: whether each must have a gradient.

    Raises:
        ConfigError: for anything else among them.
    """
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
            raise ConfigError(
                f"{origin} a dict with {describe(loss)} as {name!r}; the sum of a dict of scalar tensors is minimised; return "
                "(loss, {name: number}) to log others"
            )
        if trains and not loss.requires_grad:
            raise ConfigError(
                f"{origin} a dict of losses with {name!r} among them, which has no gradient; add up what is minimised, and return "
                "(loss, {name: number}) to log the rest"
            )
    first, *others = losses.values()
    total: Tensor = sum(others, first)
    return total
