"""Parts that shape the model and the machine it runs on: switches of torch, layout, compilation, kept activations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from accel.parts.part import Part

__all__ = ["Activations", "Backend", "Compile", "Layout"]


@dataclass(eq=False)
class Backend(Part):
    """Global switches of torch that belong to no other part; plainest: all as they are."""

    def apply(self, device: torch.device) -> None:
        """Sets every switch, before the model is made."""

    def restore(self) -> None:
        """Puts every switch back, when the run ends."""


@dataclass(eq=False)
class Layout(Part):
    """The memory format of weights and pictures; plainest: contiguous, as they are."""

    def model(self, model: nn.Module) -> nn.Module:
        """The model with its weights laid out."""
        return model


@dataclass(eq=False)
class Compile(Part):
    """Whether the model is compiled; plainest: it runs eagerly."""

    def model(self, model: nn.Module) -> nn.Module:
        """The model to call."""
        return model

    def close(self) -> None:
        """Makes the user's model what it was, when the run ends, however it ends."""


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
