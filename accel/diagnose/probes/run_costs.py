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

EVALUATED = 3
"""Batches of each set that are evaluated, at least."""


def seconds_of_evaluations(run: TrainingRun, seconds: float = 1.0) -> float:
    """Return the seconds of evaluations, spread over the updates between two; 0 where nobody knows how many there are.

    One batch is evaluated, and then as many as there is time for: a line through both tells what an evaluation takes whatever the
    batches, and what each of them. Called in a sandbox. Every rank must call it.

    Args:
        run: the run.
        seconds: of measuring, about.
    """
    counts = [count for batches in run.held_out_sets.values() if (count := batches.count) is not None]
    interval = evaluation_interval(run)
    if not counts or len(counts) < len(run.held_out_sets) or interval == inf:
        return 0.0
    limit, metrics = run.evaluations.batches or UNLIMITED, run.evaluations.metrics
    evaluate(run, metrics, 1)
    one = _timed_evaluation(run, 1)
    most = run.parts.parallel.highest([max(EVALUATED, min(int(seconds / max(one, 1e-3)), limit, *counts))])[0]
    several = _timed_evaluation(run, most)
    first, looked_at, batches = (sum(min(number, count) for count in counts) for number in (1, most, limit))
    if looked_at >= batches or looked_at == first:
        return several / interval
    return max(several, several + (several - one) * (batches - looked_at) / (looked_at - first)) / interval


def _timed_evaluation(run: TrainingRun, batches: int) -> float:
    """Return the seconds of an evaluation of so many batches of each set."""
    started = perf_counter()
    evaluate(run, run.evaluations.metrics, batches)
    return perf_counter() - started


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
