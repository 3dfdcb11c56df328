"""When a run evaluates, and on what part of the held-out data."""

from __future__ import annotations

from accel.engine.evaluation.batch_metrics import Metrics
from accel.engine.evaluation.evaluate import evaluate
from accel.engine.length.run_length import RunLength
from accel.errors import ConfigError
from accel.parts.run import UNLIMITED, Progress, Run
from accel.schema.settings import Settings, typed_name
from accel.system.clock import EVALUATION

__all__ = ["Evaluations"]


class Evaluations:
    """The evaluations of a run: every so many updates, at the end of every so many epochs, and at its end.

    An evaluation is made once: not again at the end of an epoch that ends with the same update, nor by a resumed run whose
    checkpoint has it.

    Args:
        settings: of the run.
        metrics: the user's function.
        length: of the run.
    """

    def __init__(self, settings: Settings, metrics: Metrics, length: RunLength) -> None:
        self.length = length
        self.metrics, self.every, self.batches = metrics, settings.evaluate_every, settings.evaluate_batches
        names = ("evaluate_every", "evaluate_epochs", "evaluate_batches")
        self.given = [typed_name(name) for name in names if getattr(settings, name) is not None]
        """The settings that were given, as they are typed."""
        self.epochs = settings.evaluate_epochs or (1 if self.every is None else UNLIMITED)

    def check(self, run: Run) -> None:
        """Raise ConfigError for an interval that is longer than the run, or that nothing is evaluated by."""
        if run.held_out is None:
            if self.given:
                raise ConfigError(f"{self.given[0]} needs data to evaluate on, and there is none; leave it out, or give val")
            return
        if self.every is not None and run.updates is not None and self.every > run.updates:
            raise ConfigError(
                f"evaluate.every={self.every} is longer than the run of {run.updates:,} updates; its end is evaluated anyway"
            )
        if self.epochs != UNLIMITED and self.epochs > run.epochs:
            raise ConfigError(f"evaluate.epochs={self.epochs} is longer than the run of {run.epochs}; its end is evaluated anyway")

    def due(self, run: Run) -> bool:
        """Return whether an evaluation is due after the last update, within an epoch; one that ends waits for its end."""
        if run.progress.batch == run.batches:
            return False
        return self.in_turn(run) or self.length.is_reached(run)

    def epoch_due(self, run: Run) -> bool:
        """Return whether one is due at the end of an epoch."""
        progress = run.progress
        return self.in_turn(run) or progress.epoch % self.epochs == 0 or progress.epoch >= run.epochs or self.length.is_reached(run)

    def in_turn(self, run: Run) -> bool:
        """Return whether it is the turn of the last update."""
        return self.every is not None and run.progress.step % self.every == 0

    @property
    def identity(self) -> dict[str, int | None]:
        """What a resumed run must have in common with this one where the training depends on the evaluations."""
        return {"every": self.every, "epochs": self.epochs, "batches": self.batches}

    def was_interrupted(self, run: Run) -> bool:
        """Return whether a resumed run still owes the evaluation after its last update, within an epoch."""
        return run.progress.batch not in (0, run.batches) and self.in_turn(run) and not run.last_evaluation

    def evaluate(self, run: Run, consumed: Progress | None = None) -> None:
        """Evaluate, keep the metrics and show them to the watches. Do nothing without data for it, or if that has been done.

        A signal that comes meanwhile stops the run here. A run that is resumed evaluates again.

        Args:
            run: the run.
            consumed: the progress that is saved then, if it is another: that before an epoch was counted as done.
        """
        if run.held_out is None or run.dry_run or run.last_evaluation:
            return
        metrics = evaluate(run, self.metrics, self.batches)
        run.stop_if_requested(consumed or run.progress, before_evaluation=consumed is None)
        run.history.append({**run.position, **metrics})
        in_turn = self.in_turn(run) or (run.progress.batch == 0 and run.progress.epoch % self.epochs == 0)
        for part in [*(run.parts.all() if in_turn else ()), *run.watches]:
            part.evaluated(run.position["epoch"], metrics)
        run.is_ending = run.is_ending or run.parts.stop.reason() != ""  # all ranks have the same metrics
        run.clock.lap(EVALUATION)
