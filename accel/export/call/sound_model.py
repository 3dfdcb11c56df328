"""Whether a trained model can be exported at all: its weights are numbers, and it computes the same whenever it is asked."""

from __future__ import annotations

import torch
from torch import nn

from accel.errors import ConfigError, listed
from accel.export.call.structured_values import split_tensors
from accel.export.example import RETURNED, ModelCall
from accel.export.proof.output_differences import OutputDifferences

__all__ = ["require_sound"]

UNEQUAL = 1e-5
"""Difference of two calls, as a share of the largest output, from which on they are no repetition: threads add up to 1e-7."""


def require_sound(model: nn.Module, call: ModelCall) -> None:
    """Raise ConfigError for a model with weights that are no numbers, or with other outputs when it is called again.

    Args:
        model: the model, in evaluation mode. What its forward moves stays moved.
        call: a call of it.
    """
    broken = [name for name, param in model.named_parameters() if not bool(param.isfinite().all())]
    if broken:
        raise ConfigError(f"the weights are not finite ({listed(broken, 2)} has NaN or infinity), so nothing is exported of them")
    differences = OutputDifferences()
    with torch.no_grad():
        first, second = (split_tensors(model(*call.args, **call.kwargs), RETURNED)[0] for _ in range(2))
    names = [str(place) for place in range(len(first))]
    differences.add([one.tensor for one in first], [one.tensor for one in second], names)
    if differences.share > UNEQUAL:
        raise ConfigError(
            f"called twice with the same inputs, the model's outputs differ by {differences.share:.2g} of the largest: it draws "
            "random numbers (a dropout that is always on), or its forward changes what it computes with; let it do so in training "
            "alone (self.training)"
        )
