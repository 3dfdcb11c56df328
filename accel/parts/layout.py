from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from accel.parts.part import Part


@dataclass(eq=False)
class Layout(Part):
    """The memory format of weights and pictures; plainest: contiguous, as they are."""

    def model(self, model: nn.Module) -> nn.Module:
        """The model with its weights laid out."""
        return model
