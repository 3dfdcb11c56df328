"""Parts that shape the model and the machine it runs on: switches of torch, layout, compilation, kept activations, the average."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from accel.device.cpu.waiting_threads import WaitingThreads
from accel.parts.grads import Grads
from accel.parts.parallel import NOTHING
from accel.parts.part import Part
from accel.system.cpu.kept_memory import settle_thresholds

if TYPE_CHECKING:
    from accel.parts.run import Run
    from accel.parts.watch import Trial

__all__ = ["Activations", "Average", "Backend", "Compile", "Layout"]


@dataclass(eq=False)
class Backend(Part):
    """Global switches of torch that belong to no other part; plainest: all as they are, but for CPU threads that wait.

    glibc's thresholds for memory that is freed are the same in every run (`settle_thresholds`).
    """

    waiting: ClassVar[WaitingThreads | None] = None
    """CPU threads that wait for one another, and sleep at once while others need the cores."""
    leaves_allocator: ClassVar[bool] = False
    """Whether the thresholds of the C library stay as they are."""

    def apply(self, device: torch.device) -> None:
        """Set every switch, before the model is made."""
        if not self.leaves_allocator:
            settle_thresholds()
        self.waiting = WaitingThreads(device)  # type: ignore[misc]

    def explore(self, run: Run, trial: Trial) -> None:
        """Choose by a trial what a setting leaves to it. Called once, when the run is set up or resumed; not in a dry run."""

    def check_machine(self, step: int) -> None:
        """Look after the cores and the memory of the machine. Called after some updates, each later one after more."""
        if self.waiting is not None:
            self.waiting.check()

    def restore(self) -> None:
        """Put every switch back, when the run ends."""
        if self.waiting is not None:
            self.waiting.lengthen()

    def summary_notes(self) -> list[str]:
        return self.waiting.notes() if self.waiting is not None else []


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


@dataclass(eq=False)
class Average(Part):
    """Average of the weights over the updates; plainest: none."""

    follows_length = False
    """Whether it depends on the number of updates of the whole run, so that a resumed run must have as many."""

    def update(self, grads: Grads) -> None:
        """Update the average, after the optimiser's step; not at all if that was skipped (`grads.found_inf`)."""

    def end_epoch(self) -> None:
        """See that an epoch has ended, before it is evaluated. A resumed run may call it a second time after the same update."""

    def weights(self, model: nn.Module) -> AbstractContextManager[None]:
        """Give `model` the weights to evaluate and to hand out; afterwards its own, bit for bit."""
        return NOTHING
