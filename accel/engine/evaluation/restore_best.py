"""best.safetensors of a run that goes on: written again where it is not of the best checkpoint."""

from __future__ import annotations

from accel.checkpoints import FoundCheckpoint, capture, load, restore
from accel.checkpoints.manifest import Damaged
from accel.checkpoints.weights import evaluated_weights
from accel.engine.resume import gather_shards, load_state, warn_in_plan
from accel.engine.sandbox import cloned
from accel.engine.training_run import TrainingRun

__all__ = ["restore_best", "write_from_state"]


def restore_best(run: TrainingRun, checkpoint: FoundCheckpoint) -> None:
    """Make best.safetensors that of the best checkpoint which the run keeps as it goes on. Every rank must call it.

    It is another one if the process was killed between the two, if the run goes back, if the metric is a new one, or if an accel
    wrote the checkpoint that kept no such file. The weights are those of the best checkpoint, evaluated as they were then.

    Args:
        run: the run, its state loaded, and with its saver.
        checkpoint: the checkpoint that it goes on from.
    """
    name = run.parts.parallel.gather(run.saver.outdated_best(checkpoint.file.stem))[0]
    if not name:
        return
    if name == checkpoint.file.stem:
        write_from_state(run, checkpoint)
        return
    try:
        best = load(checkpoint.file.with_name(f"{name}.pt"))
    except (Damaged, OSError) as error:
        warn_in_plan(run, f"best.safetensors cannot be written again: {name} {error}")
        return
    now = cloned(capture(run, run.progress))
    try:
        restore(run, gather_shards(best, load_state(f"best.safetensors of {name}", best, run.parts.parallel), run.parts.parallel))
        write_from_state(run, best)
    finally:
        restore(run, now)


def write_from_state(run: TrainingRun, checkpoint: FoundCheckpoint) -> None:
    """Write best.safetensors from the state that the run has now, which is that of `checkpoint`."""
    with evaluated_weights(run) as weights:
        if run.parts.parallel.rank == 0:
            run.saver.write_best(weights, checkpoint.manifest)
