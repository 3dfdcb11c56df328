"""best.safetensors of a run that goes on: written again where it is not of the best checkpoint."""

from __future__ import annotations

import torch
from torch import nn

from accel.checkpoints import FoundCheckpoint, capture, load, restore
from accel.checkpoints.manifest import Damaged
from accel.checkpoints.weights import evaluated_weights
from accel.checkpoints.weights.find_weights import FoundWeights
from accel.checkpoints.weights.rebuilt_model import rebuild
from accel.checkpoints.weights.saved_weights import read_weights
from accel.compress.conv_norm_pairs import copy_without_memory
from accel.engine.resume import gather_shards, load_state, warn_in_plan
from accel.engine.sandbox import cloned
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts.model_shape.model_structure import kinds_of_run, structure_of

__all__ = ["outline_of", "restore_best", "write_from_state"]


def outline_of(model: nn.Module) -> nn.Module | None:
    """Return a copy of the user's model without memory, to be given the shape of an earlier checkpoint; None if it has no copy."""
    try:
        return copy_without_memory(model)
    except Exception:  # of the user's own objects: a lock, an open file
        return None


def restore_best(run: TrainingRun, checkpoint: FoundCheckpoint, outline: nn.Module | None) -> None:
    """Make best.safetensors that of the best checkpoint which the run keeps as it goes on. Every rank must call it.

    It is another one if the process was killed between the two, if the run goes back, if the metric is a new one, or if an accel
    wrote the checkpoint that kept no such file. The weights are those of the best checkpoint, evaluated as they were then, in the
    shape that the model had then.

    Args:
        run: the run, its state loaded, and with its saver.
        checkpoint: the checkpoint that it goes on from.
        outline: of the model as its user made it (`outline_of`).
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
    if best.manifest.structure != structure_of(run):
        write_in_its_shape(run, best, outline)
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


def write_in_its_shape(run: TrainingRun, checkpoint: FoundCheckpoint, outline: nn.Module | None) -> None:
    """Write best.safetensors of a checkpoint whose model had another shape than the run's has now, which is left alone."""
    name, reason = checkpoint.file.stem, ""
    if run.parts.parallel.rank == 0:
        try:
            if outline is None:
                raise ConfigError("the model had another shape then, and cannot be copied to be given it again")
            with torch.random.fork_rng(devices=[]):  # layers that are made anew draw their weights
                empty = outline.to_empty(device="cpu")
                model = rebuild(empty, checkpoint.manifest.structure, kinds_of_run(run))
            weights = read_weights(FoundWeights(checkpoint.file, name, checkpoint), model)
            run.saver.write_best(weights.state, checkpoint.manifest)
        except ConfigError as error:
            reason = str(error)
    if reason := run.parts.parallel.gather(reason)[0]:
        warn_in_plan(run, f"best.safetensors cannot be written again: {name}: {reason}")
