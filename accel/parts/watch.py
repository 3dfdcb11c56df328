"""Parts that look on: watches during the run, and a probe before its first update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from accel.parts.part import Part
from accel.parts.window import Window

if TYPE_CHECKING:
    from accel.errors import Interrupted
    from accel.parts.run import Run

__all__ = ["Probe", "Trial", "Watch"]


@dataclass(eq=False)
class Watch(Part):
    """Sees every update and changes nothing. The one part of which a run may have many."""

    def identity(self) -> None:
        """Nothing."""

    def begin(self, run: Run) -> None:
        """Before the first update, with everything set up and, when resuming, loaded."""

    def after(self, step: int, loss: Tensor) -> None:
        """After update number `step`, from 1. `loss` is on the device; reading it is the watch's own cost.

        `accel.device.async_readback` reads it without waiting.
        """

    def evaluated(self, epoch: int, metrics: dict[str, float]) -> None:
        """After the evaluation that ends `epoch`, from 1."""

    def sync(self) -> None:
        """Waits until what a checkpoint relies on is on the disk. The thread that writes one calls it, beside the training."""

    def stopped(self, why: Interrupted) -> None:
        """When a signal has stopped the run, with everything saved; `end` is not called then."""

    def end(self, result: Any) -> None:
        """When the run is over, with its Result; its times and files, of which a watch may add some, are filled in after."""

    def close(self) -> None:
        """Always called last, with everything written, and also after an error: ends threads and closes files."""


Trial = Callable[[], AbstractContextManager[Iterator[Window]]]
"""Opens a trial: inside, the windows of the training data, without end, may go through `run.parts.update`; afterwards all that
moved is back where it was, bit for bit: weights, buffers, the state of every part, random numbers, the position in the data."""


@dataclass(eq=False)
class Probe(Part):
    """What is tried out before the first update; plainest: nothing. It leaves the run as it was."""

    def identity(self) -> None:
        """Nothing."""

    def explore(self, run: Run, trial: Trial) -> None:
        """Called once, when the run is set up, or resumed, and before any watch has begun; not in a dry run."""

    def suggestions(self) -> dict[str, float]:
        """What came of it: settings by the name that they are set by, such as `onecycle.max_lr`, each with its value."""
        return {}
