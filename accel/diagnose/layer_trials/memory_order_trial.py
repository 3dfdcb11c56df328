"""A model whose weights lie in channels_last, timed beside the model as it is: what the plugin of that name would save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from accel.compare import Limits, interleave
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.model_pass import ModelPass
from accel.diagnose.layers.operator_timer import timed_pass

__all__ = ["can_switch", "channels_last_weights", "saved_share"]

LEAST_ROUNDS, MOST_ROUNDS, WIDTH = 1, 12, 0.04
"""Rounds of the trial, and the distance of its bounds that is narrow enough (`accel.compare.Limits`)."""


def can_switch(table: LayerTable) -> bool:
    """Return whether a model has 2-d convolutions whose weights do not lie in channels_last yet."""
    weights = [one.weight for one in table.forward if one.name == "convolution" and one.weight is not None]
    several = [one for one in weights if len(one.shape) == 4 and one.shape[1] > 1 and one.shape[2] * one.shape[3] > 1]
    return "channels_last" not in table.plugins and any(weight.layout == "contiguous" for weight in several)


@contextmanager
def channels_last_weights(model: nn.Module) -> Iterator[None]:
    """Put copies in channels_last into the places of a model's weights of four dimensions, and take them away again.

    The weights themselves are not touched. One that stands in several places is one copy.
    """
    places = [
        (module, name, param)
        for module in model.modules()
        for name, param in module._parameters.items()
        if param is not None and param.dim() == 4
    ]
    copies = {id(param): _copy(param) for _, _, param in places}
    try:
        for module, name, param in places:
            module._parameters[name] = copies[id(param)]
        yield
    finally:
        for module, name, param in places:
            module._parameters[name] = param


def _copy(param: nn.Parameter) -> nn.Parameter:
    """Return a copy of a parameter in channels_last."""
    laid = param.detach().clone(memory_format=torch.channels_last)
    return nn.Parameter(laid, requires_grad=param.requires_grad)


def saved_share(subject: ModelPass, seconds: float) -> float:
    """Return the share of the time of a pass that weights in channels_last save; negative if it takes longer.

    Args:
        subject: the pass. Its gradients are taken away.
        seconds: for the trial, about.
    """

    def switched() -> float:
        with channels_last_weights(subject.model):  # laid out before the clock starts
            return _pass_seconds(subject)

    switched()  # warm
    limits = Limits(LEAST_ROUNDS, MOST_ROUNDS, WIDTH, seconds, step=1)
    return 1 - 1 / interleave(lambda: _pass_seconds(subject), switched, limits).ratio


def _pass_seconds(subject: ModelPass) -> float:
    """Make a pass, and return its seconds."""
    subject.clear()
    start = timed_pass(subject.device)
    subject.run()
    taken = timed_pass(subject.device) - start
    subject.clear()
    return max(taken, 1e-9)
