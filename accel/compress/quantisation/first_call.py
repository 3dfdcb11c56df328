"""The layers of a model that a loss calls, in the order of use: by the graph of its first forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from accel.compress.quantisation.captured_graph import capture, layer_calls
from accel.device.rng import seeded
from accel.errors import ConfigError

__all__ = ["called_layers", "first_call"]


def called_layers(model: nn.Module, loss: Callable[[nn.Module, Any], Any], batch: Any) -> dict[str, int]:
    """Return how often a forward pass calls each convolution and Linear, by name. The arguments are those of `first_call`.

    Raises:
        ConfigError: if the model cannot be captured.
    """
    return {name: len(nodes) for name, nodes in layer_calls(capture(model, *first_call(model, loss, batch))).items()}


def first_call(model: nn.Module, loss: Callable[[nn.Module, Any], Any], batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs of the first forward pass of a model that a loss makes, by place and by name.

    Args:
        model: a copy of the model, in evaluation mode.
        loss: the user's loss(model, batch).
        batch: of the training data.

    Raises:
        ConfigError: if it calls parts of the model alone.
    """
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = model.register_forward_pre_hook(lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    try:
        with seeded(0), torch.no_grad():
            loss(model, batch)
    finally:
        handle.remove()
    if not calls:
        raise ConfigError(
            "the loss calls parts of the model alone, and the whole of it has to be captured; give the model a forward that does so"
        )
    return calls[0]
