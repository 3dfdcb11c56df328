from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from accel.parts.mean import Mean
from accel.parts.part import Part
from accel.parts.window import Micro, Window
from accel.system.clock import BACKWARD, FORWARD, UPDATE

if TYPE_CHECKING:
    from accel.parts.run import Run

Measured = TypeVar("Measured")


@dataclass(eq=False)
class Update(Part):
    """The whole of one update: the sentence that everything hangs on."""

    def setup(self, run: Run) -> None:
        parts = run.parts
        self.model, self.lap = run.model, run.clock.lap
        self.parallel, self.precision, self.objective = parts.parallel, parts.precision, parts.objective
        self.guard, self.clip, self.optim, self.average = parts.guard, parts.clip, parts.optim, parts.average

    def __call__(self, window: Window) -> Tensor:
        """Moves the weights by one window; returns its mean loss, a 0-dim tensor on the device."""
        mean = Mean(self.parallel)
        self.collect(window.micros, mean)
        return self.move(mean)

    def collect(self, micros: Iterable[Micro], mean: Mean) -> None:
        """The first half: gradients, and the mean loss. Of weights, state and averages nothing moves."""
        for micro in micros:
            with self.parallel.sync(last=micro.last):
                with self.precision.cast():
                    loss, items = self.objective(self.model, micro.batch)
                self.lap(FORWARD)
                self.precision.backward(loss, mean.weight(loss, items, micro))
                self.lap(BACKWARD)

    def move(self, mean: Mean) -> Tensor:
        """The second half: whatever moves by these gradients. Returns the mean loss."""
        grads = mean.undo(self.precision.gradients())  # with a factor still to be applied, on the device
        grads = self.guard.check(grads, mean.loss)  # marks what must not move anything
        grads = self.clip.limit(grads)  # multiplies the factor
        self.optim.step(grads)  # applies it, inside the fused kernel where there is one
        self.average.update(grads)  # moves only where the step did
        self.precision.adapt(grads)  # the loss scale follows the overflow
        grads.clear()
        self.lap(UPDATE)
        return mean.loss

    def measured(self, measure: Callable[[Any], Measured], batch: Any) -> list[Measured]:
        """What `measure` says of a batch in evaluation: one result, or several, of pieces that are the batch together."""
        return [measure(batch)]

    def close(self) -> None:
        """Takes back whatever it put into the model or keeps on the device, when the run ends, however it ends."""
