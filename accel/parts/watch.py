"""Observers: watches during the run, a probe before its first update, and what ends it early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from accel.parts.part import Part
from accel.parts.window import Window

if TYPE_CHECKING:
    from accel.errors import Interrupted
    from accel.parts.run import Run

__all__ = ["Probe", "Stop", "Trial", "Watch"]


@dataclass(eq=False)
class Watch(Part):
    """Observer of a run: sees every update and changes nothing. A run may have many of them."""

    def identity(self) -> None:
        """Return None: it changes nothing of what is computed."""

    def begin(self, run: Run) -> None:
        """Prepare, before the first update. Everything is set up and, if the run is resumed, loaded."""

    def after(self, step: int, loss: Tensor) -> None:
        """See update number `step`, from 1, and its mean loss, 0-dim on the device.

        Reading the loss waits for the device, at the watch's own cost; `accel.device.async_readback` reads without waiting.
        """

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        """See the metrics of every evaluation, which ends `epoch`, from 1; within an epoch, a fraction of it is done."""

    def sync(self) -> None:
        """Wait until files that a checkpoint relies on are on the disk. Called by the thread that writes checkpoints."""

    def saved(self, state: Mapping[str, Any]) -> None:
        """See that a checkpoint is on the disk, whole. Called by the thread that writes checkpoints.

        Args:
            state: what `state_dict` returned for it.
        """

    def stopped(self, interruption: Interrupted) -> None:
        """See that a signal stopped the run, with everything saved. `end` is not called then."""

    def end(self, result: Any) -> None:
        """See the Result when the run is over. Its times and files are filled in afterwards: a watch may add files."""

    def completed(self, result: Any) -> None:
        """See the Result with its times, when all is written but the summary, which lists the files."""

    def close(self) -> None:
        """End threads and close files. Always called, last, with everything written, and also after an error."""


Trial = Callable[[], AbstractContextManager[Iterator[Window]]]
"""Opener of a trial. Inside, windows of the training data, without end, may go through `run.parts.update`.

Afterwards everything is back where it was, bit for bit: weights, buffers, state of every part, random numbers, data position."""


@dataclass(eq=False)
class Probe(Part):
    """Trial before the first update; plainest: none. It leaves the run as it was."""

    def identity(self) -> None:
        """Return None: it changes nothing of what is computed."""

    def explore(self, run: Run, trial: Trial) -> None:
        """Make the trial. Called once, when the run is set up or resumed, before any watch begins; not in a dry run."""

    def suggestions(self) -> dict[str, float]:
        """Return suggested settings by name, such as `onecycle.max_lr`."""
        return {}


@dataclass(eq=False)
class Stop(Part):
    """Decision to end the run early, by the metrics of its evaluations; plainest: it ends where its length says."""

    def identity(self) -> None:
        """Return None: it changes no update, only how many there are. So a resumed run may have other settings."""

    def reason(self) -> str:
        """Return why the run is to end with its last update, in words; empty if it is not. Every rank gets the same answer.

        Asked after each evaluation, and by a resumed run before its first update.
        """
        return ""

    def capture_blocker(self) -> str:
        return ""  # it acts between the updates
