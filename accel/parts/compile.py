from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from accel.parts.part import Part


@dataclass(eq=False)
class Compile(Part):
    """Whether the model is compiled; plainest: it runs eagerly."""

    def model(self, model: nn.Module) -> nn.Module:
        """The model to call."""
        return model

    def close(self) -> None:
        """Makes the user's model what it was, when the run ends, however it ends."""
