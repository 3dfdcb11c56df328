"""The loop, top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from time import perf_counter
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from accel.checkpoints.code import task_code
from accel.checkpoints.identity import arguments
from accel.data.batches.bad_samples import BadSamplePolicy
from accel.data.batches.structure import count_classes
from accel.engine.build import build
from accel.engine.evaluation.evaluate import evaluate
from accel.engine.evaluation.evaluation_trial import try_evaluation
from accel.engine.finish import finish
from accel.engine.request import RunRequest
from accel.engine.sandbox import make_trials
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError, Interrupted
from accel.parts import Part
from accel.parts.loss_output import loss_metrics
from accel.parts.shared.trained_parameters import follow_parameters
from accel.report.result import Result
from accel.schema.settings import Settings
from accel.system.call_stack import warnings_of_run
from accel.system.clock import CHECKPOINT, DATA, EVALUATION, OTHER
from accel.system.stop_signals import StopSignals

__all__ = ["Trainer"]


class Trainer:
    """Training of a model on data. Subclass it and define `model`, `data` and `loss`, or pass the three; plugins do the rest.

    Args:
        model: module to train.
        data: training data: a map-style or iterable data set, a DataLoader, or any re-iterable of ready batches.
        val: data to evaluate on at the end of each epoch; None for no evaluation.
        loss: `loss(model, batch)`, a scalar tensor that is a mean over the batch; or `(scalar, n_items)`, a mean over
            `n_items` items (tokens, say), which gives it their weight. A dict after them, `{name: number}`, is logged.
        metrics: `metrics(model, batch)`, a dict of means over the batch, `(sum, count)` or metric objects. Default: the loss.
        collate: `collate(samples)` makes a batch of a list of samples. Default: the data set's own `collate`, or torch's.
        count_samples: `count_samples(batch)`, the number of samples in a batch. Default: `accel.data.batches.sample_count`.
        plugins: instances (`AMP()`), or names of plugins with their default settings (`"amp"`), in any order.
        watch: watches that are on without being asked for; `()` for a silent run.
        epochs: passes over the training data.
        batch_size: samples per micro-batch, if batches are made from a data set. Default 32.
        drop_last: leave out the last micro-batch of an epoch of training, if it is short over all ranks.
        seed: seed of the model's initialisation, of the order of the data and of everything random.
        device: `"auto"`, `"cpu"`, `"cuda"` or `"cuda:1"`.
        out: run directory; None writes nothing.
        checkpoint_every: updates between two checkpoints, besides those at the end of epochs.
        checkpoint_epochs: epochs between two checkpoints at the end of one; the last is always saved, and each best so far.
        checkpoint_minutes: minutes between two checkpoints.
        checkpoint_keep: newest checkpoints that are kept, besides the newest that is known to be finite.
        checkpoint_best: metric whose best checkpoint is kept as well: `"accuracy"`, or `"min:NAME"` and `"max:NAME"`.
        resume: checkpoint, or run directory, whose newest whole one is taken; `"auto"`: that of `out`, or a new run.
        allow: differences from the resumed run that are accepted, by their names or how those begin: `("task",)`.
        bad_data: rule for samples of a map-style data set that cannot be read. `"raise"` ends the run; `"skip"` leaves the
            sample out of its batch; `"substitute"` reads another (`accel.data.batches.bad_samples`). Evaluation leaves it out.
        bad_limit: largest share of a data set that may be unreadable, from 0 to 1; above it the run ends with a TrainingError.
        dry_run: build everything, make one update, write nothing.
        skipped: plugins that only a bundle asked for and that were left out, each with the reason.
        bundled: plugins that only a bundle asked for: one that cannot work in this run is left out, with the reason.
        command: command that started this run, for the line that says how to resume it.
        config: resolved configuration as YAML, kept in the run directory.
    """

    evaluates = "val"
    """Split that `data(split)` is asked for in evaluation. Results are named after it."""
    aside: ClassVar[tuple[str, ...]] = ("root", "path")
    """Arguments of a subclass that do not change what is computed, such as where data lies: a resumed run may have others."""
    collate: Callable[[list[Any]], Any] | None = None
    """Function or method that makes a batch of a list of samples."""
    evaluated: Callable[[dict[str, float]], Any] | None = None
    """Function or method that is given the metrics of each evaluation, all batches together, and may return a dict to add."""
    made_with: dict[str, Any]
    """Arguments of a subclass, by name."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        trainer = super().__new__(cls)
        trainer.made_with = arguments(cls, Trainer, args, kwargs)
        return trainer

    def __init__(
        self,
        model: nn.Module | None = None,
        data: Any = None,
        val: Any = None,
        loss: Callable[[nn.Module, Any], Any] | None = None,
        metrics: Callable[[nn.Module, Any], Any] | None = None,
        *,
        collate: Callable[[list[Any]], Any] | None = None,
        count_samples: Callable[[Any], int | None] | None = None,
        plugins: Sequence[Part | str] = (),
        watch: Sequence[Part | str] = ("progress", "metrics"),
        epochs: int = 1,
        batch_size: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
        device: str = "auto",
        out: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        checkpoint_epochs: int = 1,
        checkpoint_minutes: float | None = 10.0,
        checkpoint_keep: int = 2,
        checkpoint_best: str | None = None,
        resume: str | PathLike[str] | None = None,
        allow: Sequence[str] = (),
        bad_data: BadSamplePolicy = "raise",
        bad_limit: float = 0.01,
        dry_run: bool = False,
        skipped: dict[str, str] | None = None,
        bundled: Sequence[str] = (),
        command: str = "",
        config: str = "",
    ) -> None:
        self.given = {"model": model, "data": data, "val": val, "loss": loss, "metrics": metrics}
        self.given |= {"collate": collate, "count_samples": count_samples}
        self.plugins, self.watch = plugins, watch
        self.settings = Settings(
            epochs, batch_size, seed, device, _text(out), checkpoint_every, checkpoint_minutes, checkpoint_epochs, checkpoint_keep,
            checkpoint_best, _text(resume), _list(allow), bad_data, bad_limit, dry_run, drop_last,
        )  # fmt: skip
        self.skipped, self.bundled, self.command, self.config = dict(skipped or {}), bundled, command, config

    def model(self) -> nn.Module:
        """Return the module to train, freshly initialised. Called once, after seeding."""
        model: nn.Module = self._given("model")
        return model

    def data(self, split: str) -> Any:
        """Return the data of `split`: `"train"`, or the name in `evaluates` (None for no evaluation)."""
        return self._given("data") if split == "train" else self.given["val"]

    def loss(self, model: nn.Module, batch: Any) -> Any:
        """Return the loss of one batch: a mean over it, or `(mean, n_items)`; a dict after them, `{name: number}`, is logged."""
        return self._given("loss")(model, batch)

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        """Return the metrics of one batch in evaluation: a dict of means over the batch, `(sum, count)` or metric objects."""
        return loss_metrics(self.loss(model, batch)) if self.given["metrics"] is None else self.given["metrics"](model, batch)

    def count_samples(self, batch: Any) -> Any:
        """Return the number of samples in a batch, by which windows, ranks and evaluation weigh it; None lets accel count."""
        return self.given["count_samples"] and self.given["count_samples"](batch)

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with this one beside its plugins: the subclass's arguments, by name."""
        return {name: value for name, value in self.made_with.items() if name not in self.aside}

    def get_extra_state(self) -> Any:
        """Return what a resumed run needs of this task beside attributes and modules that are kept anyway, as plain values."""

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` returned; tensors are on the CPU. Not called if that was None."""

    def fit(self) -> Result:
        """Train, and return the result.

        Raises:
            ConfigError: if something that the user asked for cannot work.
            TrainingError: if the run cannot go on.
            Interrupted: if SIGTERM or SIGINT came, a SystemExit with code 75: the run is saved after its update. A second
                SIGINT raises KeyboardInterrupt at once. Only the main thread receives signals.
        """
        if not hasattr(self, "settings"):
            raise ConfigError(f"{type(self).__name__}.__init__ must call super().__init__(**run)")
        with StopSignals(at_once=True) as signals, warnings_of_run(), ExitStack() as cleanup:
            run = build(self._request(), cleanup, signals)
            try:
                with run.parts.parallel.share_errors(lambda: signals.requested is not None):
                    run.clock.since, run.samples_at_start = perf_counter(), run.progress.samples
                    try_evaluation(run, self.metrics, self.settings.checkpoint_best)
                    make_trials(run)  # undone to the last bit, and seen by no watch
                    run.begin()
                    return self._loop(run)
            except (ConfigError, Interrupted):  # found by the first update: a loss that is no scalar, a picture that is none
                run.discard()
                raise

    def _loop(self, run: TrainingRun) -> Result:
        progress, lap = run.progress, run.clock.lap
        schedule, update, pace = run.parts.schedule, run.parts.update, run.pace_meter
        loss: Tensor | None = None
        run.model.train()
        for epoch in range(progress.epoch, run.epochs):
            for window in run.windows(epoch, start=progress.batch):
                lap(DATA)
                schedule.apply(progress.step)  # a pure function of the step
                loss = update(window)
                progress.step += 1
                progress.batch += window.batches
                progress.samples += window.samples
                for watch in run.watches:
                    watch.after(progress.step, loss)  # a tensor: reading it is the watch's cost
                if progress.step >= pace.next:
                    pace.close_block(progress.step, progress.samples, epoch)
                    run.parts.backend.check_memory(progress.step)
                lap(OTHER)
                if run.saver.due(progress):
                    run.saver.save(progress, loss)
                    lap(CHECKPOINT)
                run.stop_if_requested(progress)  # SIGTERM or Ctrl-C: saves, and ends the run here
            if progress.batch == 0:
                raise ConfigError(f"epoch {epoch + 1} found no training data; it must begin anew whenever it is iterated over")
            consumed = replace(progress)
            progress.epoch, progress.batch = epoch + 1, 0
            lap(DATA)
            if run.held_out is not None and run.max_windows is None:
                metrics = evaluate(run, run.held_out, self.metrics)
                run.stop_if_requested(consumed)  # resumed, it evaluates again
                run.history.append({"epoch": epoch + 1, **metrics})
                for watch in run.watches:
                    watch.evaluated(epoch + 1, metrics)
                lap(EVALUATION)
            if epoch + 1 < run.epochs:
                follow_parameters(run)  # before the checkpoint is made, which has the state of what is trained from here on
            if run.saver.epoch_due(progress):
                run.saver.save(progress, loss)
                lap(CHECKPOINT)
        return finish(run, loss)

    def _request(self) -> RunRequest:
        return RunRequest(
            self.settings, model=self.model, data=self.data, loss=self.loss, task_identity=self.identity,
            code=task_code(self, Trainer, self.given), task=self, task_settings=frozenset({"made_with", *vars(Trainer(watch=()))}),
            num_classes=lambda: count_classes(self), count_samples=self.count_samples, evaluated=self.evaluated,
            collate=self.given["collate"] or self.collate, plugins=self.plugins, watches=self.watch,
            evaluation_split=self.evaluates, skipped=self.skipped, bundled=self.bundled, command=self.command, config=self.config,
        )  # fmt: skip

    def _given(self, name: str) -> Any:
        if self.given[name] is None:
            raise ConfigError(f"{type(self).__name__} has no {name}: pass {name}=..., or define {name}() in a subclass")
        return self.given[name]


def _text(path: str | PathLike[str] | None) -> str | None:
    return None if path is None else str(path)


def _list(names: Any) -> Any:
    return list(names) if isinstance(names, tuple) else names
