"""Trial of the evaluation before the first update: a metric that there is not, or a bug in `metrics`, costs no epoch."""

from __future__ import annotations

from accel.checkpoints.weights import BestMetric
from accel.engine.evaluation.batch_metrics import Metrics
from accel.engine.evaluation.evaluate import evaluate
from accel.engine.evaluation.model_backup import ModelBackup, detached_workers
from accel.engine.sandbox import sandbox
from accel.engine.training_run import TrainingRun
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Part
from accel.parts.run import metrics_of
from accel.system.clock import OTHER

__all__ = ["BATCHES", "check_metrics", "evaluate_after_an_update", "needs_trial", "try_evaluation"]

BATCHES = 2
"""Batches that are evaluated, of each rank."""


def try_evaluation(run: TrainingRun, best: str | None) -> None:
    """Evaluate the first batches of a run, and put everything back. Every rank must call it.

    Back are buffers, random numbers, workers of a DataLoader, and what the task, its loss and its metrics remember as far as a
    checkpoint would keep it. What else they remember (an iterator, a file) cannot be put back. In a dry run it is the only
    evaluation. Where it fails on any rank, all try it a second time, after one update: a model may need to be trained first.

    A resumed run has made the trial, unless it has settings that name another metric.

    Args:
        run: the run.
        best: the setting `checkpoint.best`.

    Raises:
        ConfigError: for metrics that are no dict of numbers, or without the one that a setting names.
    """
    metrics = run.evaluations.metrics
    if run.held_out is None or not needs_trial(run):
        return
    backup = ModelBackup(run.unwrapped_model, buffers_only=True)
    if run.user_state is not None:
        run.user_state.remember()
    stop_reason = run.stop_reason
    try:
        with run.clock.attribute_to(OTHER), detached_workers(*run.held_out_sets.values()), run.parts.parallel.lockstep():
            values = evaluate(run, metrics, BATCHES)
    except (AccelWarning, ConfigError, TrainingError):
        raise
    except Exception:  # of this rank or of another
        values = evaluate_after_an_update(run, metrics)
    finally:
        run.stop_reason = stop_reason  # a trial stops no run
        backup.restore()
        if run.user_state is not None:
            run.user_state.undo()
    if best is not None and (problem := BestMetric.read(best).missing(values)):
        raise ConfigError(problem)
    check_metrics(run, values)


def needs_trial(run: TrainingRun) -> bool:
    """Return whether a run begins, or is resumed and its evaluations so far do not show that they give what its parts need."""
    parts = [part for part in [*run.parts.all(), *run.watches] if type(part).check_metrics is not Part.check_metrics]
    if run.progress.step == 0 or (parts and not run.history):
        return True
    try:
        for part in parts:
            part.check_metrics(metrics_of(run.history[-1]))
    except ConfigError:
        return True
    return False


def check_metrics(run: TrainingRun, values: dict[str, float]) -> None:
    """Let every part look at the metrics of an evaluation. Raise ConfigError if one needs another."""
    for part in [*run.parts.all(), *run.watches]:
        part.check_metrics(values)


def evaluate_after_an_update(run: TrainingRun, metrics: Metrics) -> dict[str, float]:
    """Return what `evaluate` does after one update on trial: a model may need to be trained before it can be evaluated.

    Raises:
        Exception: whatever the metrics raise then too.
    """
    with sandbox(run) as windows:
        run.parts.schedule.apply(0)
        run.parts.update(next(windows))
        return evaluate(run, metrics, BATCHES)
