"""One update: the sentence that everything hangs on, and the parts it names that need no file of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from accel.errors import ConfigError, describe
from accel.parts.grads import Grads
from accel.parts.mean import WindowMean
from accel.parts.parallel import NOTHING
from accel.parts.part import Part
from accel.parts.window import Micro, Window
from accel.system.clock import BACKWARD, FORWARD, UPDATE

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["Average", "Clip", "Guard", "Measured", "Objective", "Update"]


@dataclass(eq=False)
class Guard(Part):
    """Which updates may move the weights; plainest: every one that the precision lets through."""

    def setup(self, run: Run) -> None:
        self.skipped: Tensor | None = run.parts.precision.skipped
        """How many updates moved nothing, a 0-dim float32 on the device; None where none can be skipped."""

    def check(self, grads: Grads, loss: Tensor) -> Grads:
        """The gradients of the whole window, marked (`found_inf`) where they must not move anything. `loss` is its mean loss."""
        return grads


@dataclass(eq=False)
class Clip(Part):
    """How long a gradient may be; plainest: as long as it is."""

    def limit(self, grads: Grads) -> Grads:
        """The gradients of the whole window, limited."""
        return grads


@dataclass(eq=False)
class Objective(Part):
    """What is minimised; plainest: the user's loss."""

    def setup(self, run: Run) -> None:
        self.loss = run.loss

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
        """The scalar loss, a mean over its items, and how many those are (int or 0-dim tensor; None for one per sample)."""
        out = self.loss(model, batch)
        loss, items = out if isinstance(out, tuple) and len(out) == 2 else (out, None)
        if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
            raise ConfigError(f"loss(model, batch) returned {describe(loss)}; return a scalar tensor, the mean over the batch")
        if not loss.requires_grad:
            raise ConfigError("loss(model, batch) returned a tensor without a gradient: no trained weight has a part in it")
        if isinstance(items, Tensor) and items.dim():
            raise ConfigError(f"loss(model, batch) returned {describe(items)} for n_items; return a number or a 0-dim tensor")
        return loss, items


@dataclass(eq=False)
class Average(Part):
    """An average of the weights over the updates; plainest: none."""

    def setup(self, run: Run) -> None: ...

    def update(self, grads: Grads) -> None:
        """After the optimiser's step; moves only where that did (`grads.found_inf`)."""

    def weights(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, `model` has the weights to evaluate and to hand out; afterwards its own, bit for bit."""
        return NOTHING


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
        mean = WindowMean(self.parallel)
        self.collect(window.micros, mean)
        return self.move(mean)

    def collect(self, micros: Iterable[Micro], mean: WindowMean) -> None:
        """The first half: gradients, and the mean loss. Of weights, state and averages nothing moves."""
        for micro in micros:
            with self.parallel.sync(last=micro.last):
                with self.precision.cast():
                    loss, items = self.objective(self.model, micro.batch)
                self.lap(FORWARD)
                self.precision.backward(loss, mean.add(loss, items, micro))
                self.lap(BACKWARD)

    def move(self, mean: WindowMean) -> Tensor:
        """The second half: whatever moves by these gradients. Returns the mean loss."""
        grads = mean.normalise(self.precision.gradients())  # with a factor still to be applied, on the device
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
