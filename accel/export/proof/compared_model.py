"""A model and its export side by side: each call is made of both, and their outputs are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.call.structured_values import split_tensors
from accel.export.example import RETURNED
from accel.export.proof.output_differences import OutputDifferences
from accel.export.runtime.exported_model import ExportedModel

__all__ = ["ComparedModel"]


class ComparedModel(nn.Module):
    """Stand-in for a model that returns what its export makes of the inputs, and adds up the differences.

    Args:
        model: the torch model.
        exported: its export.
    """

    def __init__(self, model: nn.Module, exported: ExportedModel) -> None:
        super().__init__()
        self.model, self.exported = model, exported
        self.differences = OutputDifferences()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs of the export."""
        (expected, structure), actual = split_tensors(self.model(*args, **kwargs), RETURNED), self.exported(*args, **kwargs)
        card, before = self.exported.card, self.differences.largest
        if structure != card.structure:
            raise ConfigError(f"{RETURNED} other numbers or texts beside its tensors from call to call; a file has those of one")
        outputs = [one.tensor for one in split_tensors(actual, RETURNED)[0]]
        self.differences.add([one.tensor for one in expected], outputs, [info.name for info in card.outputs])
        if self.differences.misshapen:  # metrics cannot be computed of it
            raise ConfigError(f"target={card.target} gives {self.differences.misshapen}; nothing of it is kept")
        if self.differences.largest > before:
            self.differences.worst = self.exported.given, worst_sample([one.tensor for one in expected], outputs)
        return actual


def worst_sample(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> int:
    """Return the sample with the largest difference of a first output, by its place in the batch; 0 if shapes differ."""
    one, two = expected[0].detach().cpu(), actual[0].detach().cpu() if actual else torch.empty(0)
    if one.shape != two.shape or not one.numel():
        return 0
    return int((one.double() - two.double()).abs().nan_to_num(nan=torch.inf).flatten(1).amax(1).argmax()) if one.dim() > 1 else 0
