"""Parts that shape the model and the machine it runs on: switches of torch, layout, compilation, kept activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run
    from accel.parts.watch import Trial

__all__ = ["Activations", "Backend", "Compile", "Layout"]


@dataclass(eq=False)
class Backend(Part):
    """Global switches of torch that belong to no other part; plainest: all as they are."""

    def apply(self, device: torch.device) -> None:
        """Set every switch, before the model is made."""

    def explore(self, run: Run, trial: Trial) -> None:
        """Choose by a trial what a setting leaves to it. Called once, when the run is set up or resumed; not in a dry run."""

    def check_memory(self, step: int) -> None:
        """Look after the memory of the machine. Called after some updates, each later one after more."""

    def restore(self) -> None:
        """Put every switch back, when the run ends."""


@dataclass(eq=False)
class Layout(Part):
    """Memory format of weights and pictures; plainest: as they are."""

    def model(self, model: nn.Module) -> nn.Module:
        """Return the model, its weights in this memory format."""
        return model


@dataclass(eq=False)
class Compile(Part):
    """Compilation of the model; plainest: none, it runs eagerly."""

    def model(self, model: nn.Module) -> nn.Module:
        """Return the model to call."""
        return model

    def close(self) -> None:
        """Undo all changes to the user's model, when the run ends, however it ends."""


@dataclass(eq=False)
class Activations(Part):
    """Activations that are kept for the backward pass; plainest: all that it needs.

    It comes after Compile, so that compiled code is what runs a second time.
    """

    def model(self, model: nn.Module) -> nn.Module:
        """Return the model to call."""
        return model

    def close(self) -> None:
        """Undo all changes to the user's model, when the run ends, however it ends."""
