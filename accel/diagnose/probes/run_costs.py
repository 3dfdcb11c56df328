"""What a run does beside its updates, evaluations and checkpoints, as seconds of an update."""

from __future__ import annotations

import io
from math import inf
from time import perf_counter

import torch

from accel.checkpoints.snapshot import Snapshot
from accel.engine.evaluation.evaluate import evaluate
from accel.engine.training_run import TrainingRun
from accel.parts.run import UNLIMITED
from accel.schema.settings import Settings

__all__ = ["EVALUATED", "checkpoint_interval", "evaluation_interval", "seconds_of_checkpoints", "seconds_of_evaluations"]

EVALUATED = 2
"""Batches of each set that are evaluated."""


def seconds_of_evaluations(run: TrainingRun) -> float:
    """Return the seconds of evaluations, spread over the updates between two; 0 where nobody knows how many there are.

    Called in a sandbox. Every rank must call it.
    """
    counts = [batches.count for batches in run.held_out_sets.values()]
    interval = evaluation_interval(run)
    if not counts or None in counts or interval == inf:
        return 0.0
    metrics, limit = run.evaluations.metrics, run.evaluations.batches or UNLIMITED
    evaluate(run, metrics, 1)
    started = perf_counter()
    evaluate(run, metrics, EVALUATED)
    looked_at = sum(min(EVALUATED, count) for count in counts if count is not None)
    batches = sum(min(limit, count) for count in counts if count is not None)
    return (perf_counter() - started) / max(1, looked_at) * batches / interval


def evaluation_interval(run: TrainingRun) -> float:
    """Return the updates between two evaluations; infinite where nobody knows."""
    every, per_epoch = run.evaluations.every, run.updates_per_epoch
    intervals = [every if every is not None else inf]
    if run.evaluations.epochs != UNLIMITED and per_epoch is not None:
        intervals.append(run.evaluations.epochs * per_epoch)
    return min([*intervals, *([run.updates] if run.updates else [])])


def seconds_of_checkpoints(run: TrainingRun, settings: Settings, step: float) -> float:
    """Return the seconds that the loop waits for checkpoints, spread over the updates between two.

    It waits for a copy of the state. A thread writes it, for which the next one waits if it comes too soon: that is taken to last
    as long as writing into memory. Called in a sandbox.

    Args:
        run: the run.
        settings: its settings.
        step: seconds of an update.
    """
    interval = checkpoint_interval(run, settings, step)
    if interval == inf:
        return 0.0
    state = {"model": run.unwrapped_model.state_dict(), "parts": {part.name: part.state_dict() for part in run.parts.all()}}
    snapshot = Snapshot(run.device)
    snapshot.take(state)
    started = perf_counter()
    copied = snapshot.take(state)
    copying, started = perf_counter() - started, perf_counter()
    torch.save(copied, io.BytesIO())
    writing = perf_counter() - started
    return (copying + max(0.0, writing - interval * step)) / interval


def checkpoint_interval(run: TrainingRun, settings: Settings, step: float) -> float:
    """Return the updates between two checkpoints; infinite where nobody knows. The arguments are those of the seconds."""
    intervals = [settings.checkpoint_every or inf]
    if run.updates_per_epoch is not None and settings.checkpoint_epochs:
        intervals.append(settings.checkpoint_epochs * run.updates_per_epoch)
    if settings.checkpoint_minutes is not None:
        intervals.append(60 * settings.checkpoint_minutes / step)
    return max(1.0, min(intervals))
