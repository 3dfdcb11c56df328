"""A model and its export side by side: each call is made of both, and their outputs are compared."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils._pytree import tree_leaves

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
        expected, actual = self.model(*args, **kwargs), self.exported(*args, **kwargs)
        names = [info.name for info in self.exported.card.outputs]
        self.differences.add(tree_leaves(expected), tree_leaves(actual), names)
        return actual
