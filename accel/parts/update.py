"""One update, and the small parts that it names: Objective, Guard, Clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import ref

import torch
from torch import Tensor, nn

from accel.device.step_snapshot import StepSnapshot
from accel.parts.grads import GradientObservers, Grads, SparseGradients
from accel.parts.loss_output import LoggedMeans, refuse_single_sample, split_loss
from accel.parts.mean import WindowMean
from accel.parts.parallel import Outcome
from accel.parts.part import Part
from accel.parts.run import Run
from accel.parts.shared.gradient_mask import GradientMask
from accel.parts.shared.item_counts import ItemCounts
from accel.parts.shared.model_output import unpack_output
from accel.parts.window import Micro, Window
from accel.system.call_stack import warn_user
from accel.system.clock import BACKWARD, FORWARD, UPDATE

__all__ = ["OWN_BACKWARD", "Clip", "Guard", "Objective", "Update"]

OWN_BACKWARD = (
    "loss(model, batch) calls backward() itself, and the update calls it too, so that gradients would count twice; return the "
    "loss, and leave backward() out"
)


@dataclass(eq=False)
class Guard(Part):
    """Guard that decides which updates may move the weights; plainest: all that the precision lets through."""

    def setup(self, run: Run) -> None:
        self.skipped: Tensor | None = run.parts.precision.skipped
        """Number of updates that moved nothing, a 0-dim float32 on the device; None if none can be skipped."""

    def check(self, grads: Grads, loss: Tensor) -> Grads:
        """Return the gradients of the window, with `found_inf` set if they must not move anything. `loss` is its mean loss."""
        return grads


@dataclass(eq=False)
class Clip(Part):
    """Gradient clipping; plainest: none."""

    def limit(self, grads: Grads) -> Grads:
        """Return the gradients of the whole window, limited."""
        return grads


@dataclass(eq=False)
class Objective(Part):
    """Objective that is minimised; plainest: the user's loss."""

    item_counts: ClassVar[ItemCounts]
    logged: ClassVar[dict[str, Any]] = {}
    """Numbers that the last loss logs, by name, each a float or a 0-dim tensor without a gradient."""

    def prepare(self, run: Run) -> None:
        """Make what the loss needs beside the model, and add what it trains. Called before all set-ups, in a run that trains."""

    def setup(self, run: Run) -> None:
        self.loss = run.loss

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
        """Return the scalar loss, a mean over its items, and their number (int or 0-dim tensor; None for one per sample).

        Raises:
            ConfigError: for a loss that is no scalar, or that no trained weight has a part in, and for what is no number of items.
        """
        try:
            output = split_loss(unpack_output(self.loss(model, batch), model, batch))
        except ValueError as error:
            refuse_single_sample(error)
            raise
        self.logged = output.logged  # type: ignore[misc]
        return output.loss, self.item_counts.clean(output.items) if isinstance(output.items, Tensor) else output.items

    def to_device_scalars(self) -> None:
        self.item_counts.replayed = True

    def before_replay(self) -> None:
        self.item_counts.exchange()  # no Python runs in a replay: what the last update sent is seen before the next

    def close(self) -> None:
        """Undo its changes to the model, when the run ends, however it ends."""

    def summary_notes(self) -> list[str]:
        return self.item_counts.summary_notes()

    def state_dict(self) -> dict[str, Any]:
        return self.item_counts.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.item_counts.load_state_dict(state)


@dataclass(eq=False)
class Update(Part):
    """One whole update: forward and backward of a window, then everything that moves by its gradients."""

    logged: ClassVar[dict[str, Any]] = {}
    """Numbers that the loss logs, by name: means over this rank's part of the last window, floats or 0-dim tensors."""
    count_warned: ClassVar[bool] = False
    """Whether the user knows that samples are counted by a guess."""

    def setup(self, run: Run) -> None:
        parts, self.run = run.parts, ref(run)  # the run holds its parts: what it holds is freed as soon as it ends
        self.model, self.lap = run.model, run.clock.lap
        self.parallel, self.precision, self.objective = parts.parallel, parts.precision, parts.objective
        self.guard, self.clip, self.pruning, self.quantisation = parts.guard, parts.clip, parts.pruning, parts.quantisation
        self.optim, self.average = parts.optim, parts.average
        self.objective.item_counts = ItemCounts(run.device, run.progress)  # type: ignore[misc]  # whatever its own `setup` is
        self.counts_first = self.precision.is_narrow
        """Whether the items of a window of several micro-batches are counted before its first backward pass, once."""
        self.window_snapshot = StepSnapshot(run.unwrapped_model, run.device) if self.counts_first else None
        self.gradient_mask = GradientMask(run.unwrapped_model, self.parallel.gradient_leaves)
        self.observers = GradientObservers(run.watches)
        self.sparse = SparseGradients()
        plain = type(self.guard) is Guard and type(self.clip) is Clip and self.precision.skipped is None
        self.keeps_sparse = plain and type(self.optim.optimizer) is torch.optim.SGD and self.parallel.world_size == 1

    def follow_parameters(self, run: Run) -> None:
        self.model, self.sparse = run.model, SparseGradients()
        self.gradient_mask.remove()
        if self.counts_first:
            self.window_snapshot = StepSnapshot(run.unwrapped_model, run.device)

    def __call__(self, window: Window) -> Tensor:
        """Move the weights by one window, and return its mean loss, a 0-dim tensor on the device."""
        mean = WindowMean(self.parallel)
        self.collect(window.micros, mean)
        return self.move(mean)

    def collect(self, micros: Iterable[Micro], mean: WindowMean) -> None:
        """Compute gradients and mean loss, the first half of an update. Neither weights nor state nor averages move."""
        logged, begun = LoggedMeans(), None
        if self.counts_first and self.parallel.reference is None and not mean.defer:
            micros = tuple(micros)
            begun = self.agree_on_reference(micros) if len(micros) > 1 else None
        for micro in micros:
            with self.parallel.sync(last=micro.last):
                if begun is None:
                    with self.precision.cast():
                        loss, items = self.parallel.call(self.objective, self.model, micro.batch)
                else:
                    loss, items, begun = *begun, None
                self.backward_micro(loss, items, micro, mean, logged)
        self.complete(mean, logged)

    def backward_micro(self, loss: Tensor, items: Any, micro: Micro, mean: WindowMean, logged: LoggedMeans) -> None:
        """Run the backward pass of a micro-batch, and add it to the means of its window.

        Args:
            loss: its loss, 0-dim.
            items: number of items that the loss is a mean over, as the objective returns it.
            micro: the micro-batch.
            mean: mean loss of the window, which weighs the micro-batch.
            logged: means of what the losses of the window log.
        """
        self.lap(FORWARD)
        if micro.doubt and items is None:
            self.warn_of_count(micro.doubt, micro.samples)
        weight = mean.add(loss := self.pruning.penalised(loss), items, micro)
        logged.add(self.objective.logged, weight, micro.weight == 1.0 and mean.empty is False)
        with self.gradient_mask(mean.to_clear):
            self.precision.backward(loss, weight)
        self.lap(BACKWARD)

    def complete(self, mean: WindowMean, logged: LoggedMeans) -> None:
        """Complete the gradients of a window, after its last backward pass."""
        self.logged = logged.means(mean.total)  # type: ignore[misc]
        if names := self.sparse.make_dense(self.precision.params, self.keeps_sparse):
            self.optim.later.append(f"sparse gradients ({', '.join(names)}) were made dense")

    def warn_of_count(self, doubt: str, samples: int) -> None:
        """Warn, once a run and on the first rank, that `samples` of a batch are a guess, for `doubt`, a reason in words."""
        if not self.count_warned and self.parallel.rank == 0:
            self.count_warned = True  # type: ignore[misc]
            warn_user(
                f"batches are weighed by their samples, and {doubt}; {samples} are counted, which may be wrong: define "
                "count_samples(batch), let batches have a batch_size, or return (loss, n_items)"
            )

    def agree_on_reference(self, micros: tuple[Micro, ...]) -> tuple[Tensor, Any] | None:
        """Count the items of a window, if the loss tells them, and keep their number as the reference of all windows.

        The forward passes run once more for it, in the first window of a run, and leave no trace in what a checkpoint keeps.

        Returns:
            Loss and items of the first micro-batch, to go on from, if the loss tells no items; else None.
        """
        assert self.window_snapshot is not None
        self.window_snapshot.take()
        user_state = getattr(self.run(), "user_state", None)
        if user_state is not None:
            user_state.remember()
        total: Any = 0.0
        for micro in micros:
            with self.parallel.sync(last=False), self.precision.cast():
                loss, items = self.parallel.call(self.objective, self.model, micro.batch)
            if items is None:
                self.counts_first = False  # samples are counted, and known
                return loss, items
            total = total + (items if micro.samples else 0)
        self.window_snapshot.restore()
        if user_state is not None:
            user_state.undo()
        count = self.parallel.sum(torch.as_tensor(total, dtype=torch.float32, device=self.parallel.device))
        self.parallel.keep_reference((count / self.parallel.world_size).clamp(min=1.0))
        return None

    def move(self, mean: WindowMean) -> Tensor:
        """Move everything that moves by these gradients, the second half of an update. Return the mean loss."""
        self.quantisation.after_backward()  # before it is known whether buffers are put back
        grads = mean.normalise(self.precision.gradients())  # with a factor still to be applied, on the device
        grads = self.guard.check(grads, mean.loss)  # sets found_inf if they must not move anything
        self.pruning.before_step(grads)  # what is pruned has no gradient
        self.observers.before_step(grads)  # watches, which see the true gradients
        grads = self.clip.limit(grads)  # multiplies the factor
        self.objective.item_counts.count_empty(grads.empty)
        grads.found_inf = grads.is_skipped()  # without any items nothing moves either
        self.optim.step(grads)  # applies it, inside the fused kernel where there is one
        self.pruning.after_step()
        self.logged = self.observers.after_step(self.logged)  # type: ignore[misc]
        self.average.update(grads)  # moves only where the step did
        self.precision.adapt(grads)  # the loss scale follows the overflow
        grads.clear()
        self.lap(UPDATE)
        return mean.loss

    def measured(self, measure: Callable[[Any], Outcome], batch: Any) -> list[Outcome]:
        """Return `measure(batch)` in evaluation, in a list: one result, or one for each piece of the batch."""
        return [measure(batch)]

    def user_losses(self) -> list[Callable[[nn.Module, Any], Any]]:
        """Return the losses that it minimises, as the user wrote them: several where the task has objectives."""
        return [self.objective.loss]

    def close(self) -> None:
        """Undo its changes to the model and free its memory, when the run ends, however it ends."""
        if hasattr(self, "gradient_mask"):
            self.gradient_mask.remove()
