from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from accel.parts.part import Part


@dataclass(eq=False)
class Activations(Part):
    """What of the forward pass is kept for the backward pass; plainest: all that it needs.

    It comes after Compile: what is run a second time is then what was compiled.
    """

    def model(self, model: nn.Module) -> nn.Module:
        """The model to call."""
        return model

    def close(self) -> None:
        """Makes the user's model what it was, when the run ends, however it ends."""
