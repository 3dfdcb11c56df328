"""Start of a run: state from a checkpoint, run directory, saver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from accel.checkpoints import FOLDER, FoundCheckpoint, Saver
from accel.checkpoints.finite_check import FiniteCheck
from accel.checkpoints.weights import BestMetric
from accel.engine import run_directory
from accel.engine.checks.resumed_run import NONFINITE
from accel.engine.evaluation.restore_best import restore_best
from accel.engine.resume import resume
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.schema.settings import Settings
from accel.system.call_stack import warn_user

__all__ = ["check_checkpoint_settings", "directory_of", "start"]


def start(
    run: TrainingRun,
    settings: Settings,
    checkpoint: FoundCheckpoint | None,
    identity: dict[str, Any],
    records: Callable[[], dict[str, str]],
    lock: run_directory.RunLock,
    outline: nn.Module | None,
) -> None:
    """Load the checkpoint, make the run directory and give the run its saver.

    Args:
        run: the run, set up.
        settings: its settings.
        checkpoint: the checkpoint to go on from; None if the run begins.
        identity: what a resumed run must have in common with this one.
        records: returns the content of the files that say what the run is, by name (`RunRequest.records`).
        lock: the lock of the run directory, still to be acquired.
        outline: of the model as its user made it; None if no best weights are kept, or nothing is resumed.

    Raises:
        ConfigError: if the checkpoint is of another run, or the directory cannot be written to.
    """
    finite_check = FiniteCheck(run.unwrapped_model)
    run.infinite_at_start, run.accepts_nonfinite = finite_check.exempt, NONFINITE in settings.allow
    resume(run, settings, checkpoint, identity, finite_check)
    run.first_step = run.progress.step
    if settings.dry_run:
        run.max_windows, run.epochs = 1, 1
        return
    out = directory_of(settings, checkpoint)
    check_checkpoint_settings(run, settings, out)
    if out is None:
        return
    goes_on = checkpoint is not None and checkpoint.file.parent.resolve() == (out / FOLDER).resolve()
    parallel = run.parts.parallel
    lock.patience = run_directory.LEASE if run_directory.was_restarted(parallel.attempt) else 0.0
    if parallel.rank == 0:  # the first rank writes for all; the others hand it what only they have
        run.created_folders = run_directory.create(out, records(), lock, goes_on)
        run.out = out
    if run.user_state is not None and run.user_state.iterators:
        names = ", ".join(sorted(run.user_state.iterators))
        run.plan.facts["not in checkpoints"] = f"the position of {names}, an iterator: a resumed run begins it anew"
    run.saver = Saver(run, out, settings, identity, finite_check)
    if checkpoint is not None and goes_on:
        run.saver.last_saved = run.saver.last_tried = checkpoint.file.stem
        restore_best(run, checkpoint, outline)


def directory_of(settings: Settings, checkpoint: FoundCheckpoint | None) -> Path | None:
    """Return the run directory: the one named, or that of the checkpoint; None if nothing is written."""
    if settings.out is not None:
        return Path(settings.out)
    return None if checkpoint is None else checkpoint.file.parent.parent


def longer_than_the_run(run: TrainingRun, settings: Settings) -> str:
    """Return which intervals of checkpoints the run ends before, in words; an empty text if there is none."""
    every, epochs = settings.checkpoint_every, settings.checkpoint_epochs
    longer = []
    if every is not None and run.updates is not None and every > run.updates:
        longer.append(f"checkpoint.every={every} is longer than the run of {run.updates:,} updates")
    if epochs > run.epochs:
        longer.append(f"checkpoint.epochs={epochs} is longer than the run of {run.epochs}")
    return " and ".join(longer)


def check_checkpoint_settings(run: TrainingRun, settings: Settings, out: Path | None) -> None:
    """Warn of checkpoint settings without effect, and tell the plan of others, and which end of a metric is the best.

    Raises:
        ConfigError: if `checkpoint.best` has nothing to go by.
    """
    if out is None and settings.checkpoint_every is not None:
        warn_user("checkpoint_every has no effect: nothing is written without out=DIR")
    if out is not None and (longer := longer_than_the_run(run, settings)):
        run.plan.facts["checkpoints"] = f"{longer}; its end is saved anyway"
    if settings.checkpoint_best is not None and run.held_out is None:
        raise ConfigError("checkpoint.best needs data to evaluate on, and there is none; leave it out, or give val")
    if settings.checkpoint_best is None:
        return
    if out is None:
        warn_user("checkpoint_best has no effect: nothing is written without out=DIR")
        return
    best = BestMetric.read(settings.checkpoint_best)
    other = "max" if best.lower else "min"
    guessed = f", by its name; {other}:NAME for the other end" if best.metric == settings.checkpoint_best else ""
    run.plan.facts["best checkpoint"] = f"of {best.described}{guessed}"
