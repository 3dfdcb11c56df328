"""A model and its export side by side: each call is made of both, and their outputs are compared."""

from __future__ import annotations

from typing import Any

from torch import nn

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
        card = self.exported.card
        if structure != card.structure:
            raise ConfigError(f"{RETURNED} other numbers or texts beside its tensors from call to call; a file has those of one")
        outputs = [one.tensor for one in split_tensors(actual, RETURNED)[0]]
        self.differences.add([one.tensor for one in expected], outputs, [info.name for info in card.outputs])
        if self.differences.misshapen:  # metrics cannot be computed of it
            raise ConfigError(f"target={card.target} gives {self.differences.misshapen}; nothing of it is kept")
        return actual
