"""A run in a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, ParamSpec, Self

import torch
from torch import Tensor, nn

from accel.engine.chained_runs.generations import Generations
from accel.engine.checks.preflight import check_trainer
from accel.engine.finish import finish
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Objective, Part, Update, Window
from accel.pieces.own_window import HandedLoss, OwnWindow
from accel.report.result import Result
from accel.trainer import Trainer, loop, running

__all__ = ["OwnLoop", "begin"]

P = ParamSpec("P")


class OwnLoop:
    """A run whose forward pass stands in a loop of the user's. All else is what `Trainer.fit` does, by the same objects.

    `with OwnLoop(trainer) as run` builds the run, or goes on with it, and hears SIGTERM and SIGINT. `for window in run` gives the
    windows of its updates; between two of them it evaluates, saves, tells the watches, and ends the run if a signal came. When
    the loop ends, the model has its final weights (the average, if one is kept), and `result` is there. `break` after `step`
    ends the run like `stop`, if it is one process.

    With `ddp` or `fsdp` every rank that torchrun starts runs the same loop, over its own part of each window.

    Args:
        trainer: what is trained, with plugins and settings. It needs a `loss` only for evaluation by the loss, and for what
            tries updates out (`lr_range`).

    Raises:
        ConfigError: for what cannot work, such as a plugin that makes whole updates (`oom`, `cuda_graph`).
    """

    def __init__(self, trainer: Trainer) -> None:
        check_trainer(trainer, "OwnLoop")
        if Generations.of(trainer) is not None:
            raise ConfigError("distill.teacher=self trains several runs, and a loop of your own is one; call fit()")
        self.trainer, self.handed = trainer, HandedLoss(trainer.loss)
        self.stack = ExitStack()
        self.run: TrainingRun | None = None
        self.windows: Iterator[Window] | None = None
        self.window: OwnWindow | None = None
        self.outcome: Result | None = None
        self.was_entered = False

    def __enter__(self) -> Self:
        if self.was_entered:
            raise ConfigError("this run was entered before; begin another")
        self.was_entered = True
        with ExitStack() as stack:
            run = stack.enter_context(running(replace(self.trainer._request(), loss=self.handed)))
            check_parts(run)
            self.run, self.stack = run, stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        run, self.run = self._opened(), None
        if error is not None:
            self.stack.__exit__(kind, error, trace)
            return
        with self.stack:
            self._leave(run)

    def __iter__(self) -> Self:
        if self.windows is not None:
            raise ConfigError("`for window in run` was begun twice; a run has one loop over all of its epochs")
        self.windows = loop(self._opened())
        return self

    def __next__(self) -> OwnWindow:
        run = self._opened()
        if self.window is not None and not self.window.is_done:
            raise ConfigError(f"update {self.window.number} was left without run.step(); call it once for each `window in run`")
        assert self.windows is not None
        window = None if self.outcome is not None else next(self.windows, None)
        if window is None:
            self._complete(run)
            raise StopIteration
        if not run.unwrapped_model.training:  # the loop has evaluated by itself
            run.train_mode()
        self.window = OwnWindow(run, window, self.handed)
        return self.window

    @property
    def model(self) -> nn.Module:
        """The model to call in the forward pass: the user's, compiled or wrapped as plugins ask for it."""
        return self._opened().model

    @property
    def device(self) -> torch.device:
        """The device of the run."""
        return self._opened().device

    @property
    def updates(self) -> int:
        """Updates that are done, those before a resume included; that of the window at hand is not."""
        return self._opened().progress.step

    @property
    def result(self) -> Result:
        """What `Trainer.fit` returns, when the loop has ended."""
        if self.outcome is None:
            raise ConfigError("the result is there when the loop has ended; ask for it after `for window in run`")
        return self.outcome

    def cast(self) -> AbstractContextManager[None]:
        """Return a context for the forward pass and the loss: torch.autocast with `amp`, and nothing without."""
        if self.window is not None:
            self.window.is_cast = True
        return self._opened().parts.precision.cast()

    def backward(self, loss: Tensor, n_items: Any = None, log: Mapping[str, Any] | None = None) -> None:
        """Run the backward pass of the batch at hand, with its weight in the window and the loss scale, if there is one.

        Args:
            loss: mean loss of the batch, 0-dim.
            n_items: number of items that it is a mean over (tokens, say), int or 0-dim tensor; None for the samples.
            log: numbers to log, by name, each a float or a 0-dim tensor.

        Raises:
            ConfigError: for a loss that is no scalar with a gradient, and where no batch waits for its backward pass.
        """
        self._at_hand("backward(loss)").backward(loss, n_items, log or {})

    def step(self) -> Tensor:
        """Make the update: guard, clip, optimiser, average, loss scale. Return the mean loss of the window, 0-dim on the device.

        The gradients are cleared afterwards. What plugins skip moves nothing, and is an update all the same.

        Raises:
            ConfigError: if a batch of the window had no backward pass, or the update was made before.
        """
        loss = self._at_hand("step()").step()
        self._opened().last_loss = loss
        return loss

    def stop(self, reason: str) -> None:
        """End the run after the update at hand; `reason`, in words, stands in the summary.

        Of several ranks one is enough. The others hear of it during the next update, after which the run ends on all.
        """
        self._opened().stop(reason)

    @contextmanager
    def weights(self) -> Iterator[nn.Module]:
        """Give the model the weights to evaluate (an average, if one is kept), in evaluation mode; afterwards those to train on."""
        run = self._opened()
        with run.weights():
            run.model.eval()
            try:
                yield run.model
            finally:
                run.train_mode()

    def _opened(self) -> TrainingRun:
        if self.run is None:
            raise ConfigError("the run is not open; write `with accel.pieces.begin(...) as run:`, and use it inside")
        return self.run

    def _at_hand(self, call: str) -> OwnWindow:
        self._opened()
        if self.window is None or self.outcome is not None:
            raise ConfigError(f"run.{call} was called outside of the loop; call it inside of `for window in run`")
        return self.window

    def _complete(self, run: TrainingRun) -> None:
        if self.outcome is None:
            self.outcome = finish(run, run.last_loss)

    def _leave(self, run: TrainingRun) -> None:
        """Complete a run whose loop was left by `break`. Raise ConfigError if it has nothing to end with."""
        if self.outcome is not None:
            return
        if self.window is None or self.windows is None:
            raise ConfigError("the run was left without a loop; write `for window in run:`")
        if not self.window.is_done:
            raise ConfigError(
                f"the loop was left in update {self.window.number}, before run.step(); leave it after that, or by run.stop(reason)"
            )
        if run.updates != self.window.number:
            if run.parts.parallel.world_size > 1:
                raise ConfigError(
                    f"the loop was left after update {self.window.number}, and the other ranks would wait in theirs; end it by "
                    "run.stop(reason), of which all of them hear"
                )
            run.stop(f"the loop was left after update {self.window.number}")
        for window in self.windows:
            raise AssertionError(f"a window of {window.samples} samples follows the end of the run")
        self._complete(run)


def check_parts(run: TrainingRun) -> None:
    """Raise ConfigError for a part that makes the forward pass itself, which is the user's here."""
    for part, plainest in ((run.parts.update, Update), (run.parts.objective, Objective)):
        if type(part) is not plainest:
            name = part.name if isinstance(part, Part) else str(part)
            raise ConfigError(f"{name} makes the forward pass itself, and here it is yours; leave {name} out, or call fit()")


def _like(make: Callable[P, Trainer]) -> Callable[P, OwnLoop]:
    """Return a function with the arguments of `make`, which begins a loop of one's own."""

    def begin(*args: P.args, **kwargs: P.kwargs) -> OwnLoop:
        return OwnLoop(make(*args, **kwargs))

    return begin


begin = _like(Trainer)
"""Return `OwnLoop(Trainer(...))`, to be used in a `with` statement. The arguments are those of `Trainer`; the loss is optional."""
