"""The micro-batches of one update, whose forward pass is the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Micro, Window
from accel.parts.loss_output import LoggedMeans, split_loss
from accel.parts.mean import WindowMean
from accel.parts.parallel import NOTHING

__all__ = ["HandedLoss", "OwnWindow"]


class HandedLoss:
    """Loss of a run whose loop has made the forward pass already: what the loop hands over. A trial of updates asks the task's.

    Args:
        task_loss: the loss of the task, `loss(model, batch)`.
    """

    def __init__(self, task_loss: Callable[[nn.Module, Any], Any]) -> None:
        self.task_loss = task_loss
        self.output: Any = None
        """What `loss(model, batch)` would return; None while the loop has handed over nothing."""

    def __call__(self, model: nn.Module, batch: Any) -> Any:
        """Return what was handed over, once, or else the task's loss."""
        output, self.output = self.output, None
        return self.task_loss(model, batch) if output is None else output


class OwnWindow:
    """Window: the micro-batches of one update, on the device. Iterate over it once; each is a batch as the data gives it.

    Args:
        run: the run.
        window: the micro-batches, with their weights.
        handed: the loss of the run.
    """

    def __init__(self, run: TrainingRun, window: Window, handed: HandedLoss) -> None:
        self.run, self.window, self.handed = run, window, handed
        self.update, self.number = run.parts.update, run.progress.step + 1
        self.mean, self.logged = WindowMean(run.parts.parallel), LoggedMeans()
        self.micro: Micro | None = None
        """The micro-batch that was read last, while it has had no backward pass."""
        self.sync = ExitStack()
        """Context of its forward and backward pass, in which ranks send their gradients, or do not."""
        self.is_begun = self.is_cast = self.is_done = False
        self.passes = 0
        """Backward passes so far."""

    def __len__(self) -> int:
        return self.window.batches

    def __iter__(self) -> Iterator[Any]:
        if self.is_begun:
            raise ConfigError(f"the batches of update {self.number} were asked for twice; read a window once")
        self.is_begun = True
        for micro in self.window.micros:
            if self.micro is not None:
                raise ConfigError(
                    f"a batch of update {self.number} was left without run.backward(loss); call it for each, with n_items=0 for "
                    "one that is not to count"
                )
            self.micro, self.is_cast = micro, False
            self.sync.enter_context(self.run.parts.parallel.sync(last=micro.last))
            yield micro.batch

    def backward(self, loss: Tensor, n_items: Any, logged: Mapping[str, Any]) -> None:
        """Run the backward pass of the batch at hand (`OwnLoop.backward`)."""
        micro = self.micro
        if micro is None:
            raise ConfigError("run.backward(loss) was called without a batch; call it once for each `batch in window`")
        if not self.is_cast and self.run.parts.precision.cast() is not NOTHING:
            raise ConfigError("the forward pass was made in float32; make it inside `with run.cast():`, which amp needs")
        if not self.run.updated and not self.passes and any(param.grad is not None for param in self.run.model.parameters()):
            raise ConfigError(
                "there are gradients before run.backward(loss), so that they would count twice; leave loss.backward() out"
            )
        if n_items is not None and self.update.counts_first and len(self) > 1 and self.run.parts.parallel.reference is None:
            raise ConfigError(
                "float16 needs the items of all batches of a window before its first backward pass, and this loop tells them one "
                "by one; leave n_items out, or set amp.dtype=bfloat16"
            )
        output = (loss, logged) if n_items is None else (loss, n_items, logged)
        split_loss(output, "run.backward was given")
        self.handed.output = output
        with self.sync:
            checked, items = self.update.objective(self.run.model, micro.batch)
            self.update.backward_micro(checked, items, micro, self.mean, self.logged)
        self.micro, self.passes = None, self.passes + 1

    def step(self) -> Tensor:
        """Move everything that moves by the gradients (`OwnLoop.step`)."""
        if self.is_done:
            raise ConfigError(f"run.step() was called twice in update {self.number}; call it once for each `window in run`")
        if self.passes < len(self):
            raise ConfigError(
                f"run.step() was called after {self.passes} of {len(self)} backward passes; call run.backward(loss) for each "
                "`batch in window`, and run.step() after them"
            )
        self.update.complete(self.mean, self.logged)
        self.is_done, self.window = True, self.window._replace(micros=())  # its batches are memory that the next ones are read into
        return self.update.move(self.mean)
