"""The loop, top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from os import PathLike
from time import perf_counter
from typing import Any, Self

from torch import nn

from accel.checkpoints.code import task_code
from accel.checkpoints.identity import arguments
from accel.data.batches.bad_samples import BadSamplePolicy
from accel.data.batches.structure import count_classes
from accel.engine.build import build
from accel.engine.chained_runs.generations import Generations
from accel.engine.checks.preflight import check_trainer
from accel.engine.evaluation.evaluation_trial import try_evaluation
from accel.engine.finish import finish
from accel.engine.request import RunRequest
from accel.engine.sandbox import make_trials
from accel.engine.task import Task
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError, Interrupted
from accel.parts import Part, Window
from accel.parts.shared.trained_parameters import follow_parameters
from accel.report.result import Result
from accel.schema.settings import Settings
from accel.system.call_stack import warnings_of_run
from accel.system.calls.call_arguments import with_checked_method_arguments
from accel.system.clock import CHECKPOINT, DATA, OTHER
from accel.system.stop_signals import StopSignals

__all__ = ["Trainer", "loop", "running"]


class Trainer(Task):
    """Training of a model on data. Subclass it and define `model`, `data` and `loss`, or pass the three; plugins do the rest.

    Args:
        model: module to train.
        data: training data: a map-style or iterable data set, a DataLoader, or any re-iterable of ready batches.
        val: data to evaluate on at the end of each epoch, or several by name, `{"val": ..., "test": ...}`; None for no evaluation.
        loss: `loss(model, batch)`, a scalar tensor that is a mean over the batch; or `(scalar, n_items)`, a mean over
            `n_items` items (tokens, say), which gives it their weight. A dict after them, `{name: number}`, is logged.
        metrics: `metrics(model, batch)`, a dict of means over the batch, `(sum, count)` or metric objects. Default: the loss.
        collate: `collate(samples)` makes a batch of a list of samples. Default: the data set's own `collate`, or torch's.
        collate_fn: the same, by the name that it has in torch's DataLoader.
        count_samples: `count_samples(batch)`, the number of samples in a batch. Default: `accel.data.batches.sample_count`.
        plugins: instances (`AMP()`), or names of plugins with their default settings (`"amp"`), in any order.
        watch: watches that are on without being asked for; `()` for a silent run.
        epochs: passes over the training data, or a fraction of one. Default 1, or no limit where another length is given.
        batch_size: samples per micro-batch, if batches are made from a data set. Default 32.
        updates: number of updates; of several lengths (also `max_samples`, `max_tokens`, `max_seconds`), the first ends the run.
        max_samples: number of samples to train on, those of repeated epochs counted again.
        max_tokens: the same in tokens, of data that has an attribute `tokens_per_sample`.
        max_seconds: seconds of training, those before a resume included; the run then ends as after its last update.
        evaluate_every: updates between two evaluations; the end is always evaluated.
        evaluate_epochs: epochs between two evaluations. Default 1, or none where `evaluate_every` is given.
        evaluate_batches: batches of each rank that an evaluation looks at; None for all.
        drop_last: leave out the last micro-batch of an epoch of training, if it is short over all ranks.
        seed: seed of the model's initialisation, of the order of the data and of everything random.
        device: `"auto"` (CUDA, or else the CPU), `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"` or `"xpu"`.
        out: run directory; None writes nothing.
        checkpoint_every: updates between two checkpoints, besides those at the end of epochs.
        checkpoint_epochs: epochs between two checkpoints at the end of one; the last is always saved, and each best so far.
        checkpoint_minutes: minutes between two checkpoints.
        checkpoint_keep: newest checkpoints that are kept, besides the newest that is known to be finite.
        checkpoint_best: metric whose best checkpoint is kept as well: `"accuracy"`, or `"min:NAME"` and `"max:NAME"`.
        init: weights to begin with: a file of them, a checkpoint, a run directory, a state dict or a module.
        init_strict: refuse weights of which a name or a shape does not fit; False takes what fits.
        init_rename: new names for them, by patterns of the old: `{"backbone.*": "encoder.*"}`.
        freeze: patterns of the parameters that are not trained, or `{"match": pattern, "until": update}` to thaw them.
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

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        trainer = super().__new__(cls)
        trainer.made_with = arguments(cls, Trainer, args, kwargs)
        trainer.called_with = arguments(cls, Trainer, args, kwargs, shared=True)
        return trainer

    @with_checked_method_arguments
    def __init__(
        self,
        model: nn.Module | None = None,
        data: Any = None,
        val: Any = None,
        loss: Callable[[nn.Module, Any], Any] | None = None,
        metrics: Callable[[nn.Module, Any], Any] | None = None,
        *,
        collate: Callable[[list[Any]], Any] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        count_samples: Callable[[Any], int | None] | None = None,
        plugins: Sequence[Part | str] = (),
        watch: Sequence[Part | str] = ("progress", "metrics"),
        epochs: float | None = None, updates: int | None = None, max_samples: int | None = None, max_tokens: int | None = None,
        max_seconds: float | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
        device: str = "auto",
        out: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None, checkpoint_epochs: int = 1, checkpoint_minutes: float | None = 10.0,
        checkpoint_keep: int = 2, checkpoint_best: str | None = None,
        evaluate_every: int | None = None, evaluate_epochs: int | None = None, evaluate_batches: int | None = None,
        init: Any = None, init_strict: bool = True, init_rename: Any = None, freeze: Sequence[Any] | None = None,
        resume: str | PathLike[str] | None = None, allow: Sequence[str] = (),
        bad_data: BadSamplePolicy = "raise", bad_limit: float = 0.01,
        dry_run: bool = False,
        skipped: dict[str, str] | None = None, bundled: Sequence[str] = (), command: str = "", config: str = "",
    ) -> None:  # fmt: skip
        self.given = {"model": model, "data": data, "val": val, "loss": loss, "metrics": metrics}
        if collate is not None and collate_fn is not None:
            raise ConfigError("collate and collate_fn are two names of one function; give one of them")
        self.given |= {"collate": collate or collate_fn, "count_samples": count_samples}
        self.plugins, self.watch = plugins, watch
        self.settings = Settings(
            epochs, batch_size, seed, device, _text(out), checkpoint_every, checkpoint_minutes, checkpoint_epochs, checkpoint_keep,
            checkpoint_best, _text(resume), _list(allow), bad_data, bad_limit, dry_run, drop_last, updates, max_samples, max_tokens,
            max_seconds, evaluate_every, evaluate_epochs, evaluate_batches, init if isinstance(init, str) else None,
            init_strict, init_rename, _list(freeze),
        )  # fmt: skip
        self.initial_weights = init
        self.skipped, self.bundled, self.command, self.config = dict(skipped or {}), bundled, command, config

    @with_checked_method_arguments
    def fit(self) -> Result:
        """Train, and return the result.

        Raises:
            ConfigError: if something that the user asked for cannot work.
            TrainingError: if the run cannot go on.
            Interrupted: if SIGTERM or SIGINT came, a SystemExit with code 75: the run is saved after its update. A second
                SIGINT raises KeyboardInterrupt at once. Only the main thread receives signals.
        """
        check_trainer(self, "fit")
        if (generations := Generations.of(self)) is not None:  # several trainings, each taught by the one before
            return generations.fit()
        with running(self._request()) as run:
            for window in loop(run):
                run.last_loss = run.parts.update(window)
            return finish(run, run.last_loss)

    def _request(self) -> RunRequest:
        return RunRequest(
            self.settings, model=self.model, data=self.data, loss=self.loss, metrics=self.metrics, task_identity=self.identity,
            task=self, code=task_code(self, Trainer, self.given), task_settings=frozenset({"made_with", *vars(Trainer(watch=()))}),
            num_classes=lambda: count_classes(self), count_samples=self.count_samples, evaluated=self.evaluated,
            collate=self.given["collate"] or self.collate or self.collate_fn, initial_weights=self.initial_weights,
            plugins=self.plugins, watches=self.watch, objectives=self.objectives, evaluation_split=self.evaluates,
            skipped=self.skipped, bundled=self.bundled, command=self.command, config=self.config,
        )  # fmt: skip


@contextmanager
def running(request: RunRequest) -> Iterator[TrainingRun]:
    """Give a run that is ready for its loop, and close it at the end, however it ends. Signals are heard meanwhile.

    Raises:
        ConfigError: if something that was asked for cannot work; a run directory that was made for the run is gone again.
    """
    with StopSignals(at_once=True) as signals, warnings_of_run(), ExitStack() as cleanup:
        run = build(request, cleanup, signals)
        try:
            with run.parts.parallel.share_errors(lambda: signals.requested is not None):
                run.clock.since, run.samples_at_start = perf_counter(), run.progress.samples
                try_evaluation(run, request.settings.checkpoint_best)
                make_trials(run)  # undone to the last bit, and seen by no watch
                run.begin()
                yield run
        except (ConfigError, Interrupted):  # found by the first update: a loss that is no scalar, a picture that is none
            run.discard()
            raise


def loop(run: TrainingRun) -> Iterator[Window]:
    """Yield each window of the run, for an update that leaves its mean loss in `run.last_loss`; do whatever else is due.

    It is the loop of `fit` and that of `accel.pieces`: they differ in who makes the update.
    """
    progress, lap = run.progress, run.clock.lap
    schedule, pace = run.parts.schedule, run.pace_meter
    run.train_mode()
    run.catch_up()
    for epoch in run.epochs_left():
        for window in run.windows(epoch, start=progress.batch):
            lap(DATA)
            schedule.apply(progress.step)  # a pure function of the step
            yield window  # the update
            assert run.last_loss is not None
            progress.step += 1
            progress.batch += window.batches
            progress.samples += window.samples
            for watch in run.watches:
                watch.after(progress.step, run.last_loss)  # a tensor: reading it is the watch's cost
            if progress.step >= pace.next:
                pace.close_block(progress.step, progress.samples, epoch)
                run.parts.backend.check_machine(progress.step)
            lap(OTHER)
            if run.evaluations.due(run):
                run.evaluations.evaluate(run)
            if run.saver.due(progress):
                run.saver.save(progress, run.last_loss)
                lap(CHECKPOINT)
            run.stop_if_requested(progress)  # SIGTERM or Ctrl-C: saves, and ends the run here
        if run.ended_within_epoch:
            break
        if progress.batch == 0:
            raise ConfigError(f"epoch {epoch + 1} found no training data; it must begin anew whenever it is iterated over")
        consumed = replace(progress)
        progress.epoch, progress.batch = epoch + 1, 0
        run.parts.average.end_epoch()
        lap(DATA)
        if run.evaluations.epoch_due(run):
            run.evaluations.evaluate(run, consumed)
        if epoch + 1 < run.epochs:
            follow_parameters(run)  # before the checkpoint is made, which has the state of what is trained from here on
        if run.saver.epoch_due(progress):
            run.saver.save(progress, run.last_loss)
            lap(CHECKPOINT)
        run.stop_if_requested(progress)
    run.evaluations.evaluate(run)  # where the run ends otherwise than planned
    run.saver.save(progress, run.last_loss)


def _text(path: Any) -> Any:
    return str(path) if isinstance(path, PathLike) else path


def _list(names: Any) -> Any:
    return list(names) if isinstance(names, tuple) else names
