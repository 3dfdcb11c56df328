"""BatchNorm's running statistics for other weights than those that are trained, estimated on training data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from accel.data.batches.counted import counted
from accel.device.accelerators.float64 import wide_dtype
from accel.device.rng import mix_seed
from accel.engine.evaluation.evaluate import reading, undisturbed
from accel.engine.evaluation.model_backup import ModelBackup, detached_workers
from accel.errors import ConfigError
from accel.parts import Micro, Parallel, Run, Window
from accel.parts.shared.batch_norms import batch_norms
from accel.parts.shared.ranks.equal_epochs import equal_epochs
from accel.system.clock import EVALUATION

__all__ = ["DRY_BATCHES", "estimated_statistics", "of_first_rank", "training_batches", "unmoved", "with_cumulative_means"]

DRY_BATCHES = 2
"""Batches of each rank in a dry run."""


def estimated_statistics(run: Run, limit: int | None, epoch: int, step: int) -> dict[str, Tensor]:
    """Return the statistics that `torch.optim.swa_utils.update_bn` finds for the weights which the model has now.

    They are a function of the weights and the arguments, whenever it is called. The loss is called on batches of the training,
    which is then where it was, as are weights, buffers, random numbers and what the task remembers. BatchNorms that the model
    keeps in evaluation mode are left out, and so are those that `freeze` held still in update `step`.

    Args:
        run: the run.
        limit: batches of each rank; None for all of the epoch.
        epoch: whose batches they are, from 0.
        step: the last update of the weights, from 1. All random numbers follow from it and the seed: they are others than those of
            the training.

    Returns:
        The buffers by name: those of the first rank on all.

    Raises:
        ConfigError: for a loss that needs gradients.
    """
    model, parts = run.unwrapped_model, run.parts
    with unmoved(run), torch.no_grad(), run.clock.attribute_to(EVALUATION):
        run.train_mode(step - 1)
        run.random.seed_all(mix_seed(run.seed, step, parts.parallel.rank))
        norms = {name: module for name, module in batch_norms(model).items() if module.training}
        with with_cumulative_means(norms.values()):
            losses = parts.update.user_losses()
            for batch, user_loss in ((batch, each) for batch in training_batches(run, limit, epoch) for each in losses):
                try:
                    with parts.parallel.sync(last=False), parts.precision.cast():
                        parts.parallel.call(user_loss, run.model, batch)
                except RuntimeError as error:
                    if "does not require grad" not in str(error):
                        raise
                    raise ConfigError(
                        "average.batch_norm calls the loss without gradients, and it needs some; set average.batch_norm=0, or open "
                        "torch.enable_grad() in the loss"
                    ) from error
        names = [f"{name}.{buffer}".removeprefix(".") for name, norm in norms.items() for buffer in norm._buffers]
        buffers = dict(model.named_buffers())
        return of_first_rank(parts.parallel, {name: buffers[name].clone() for name in names})


def training_batches(run: Run, limit: int | None, epoch: int) -> Iterator[Any]:
    """Yield the first batches of an epoch of training, on the device, augmented as the model sees them there."""
    parts = run.parts
    with reading(run, run.train, epoch) as batches:
        batches = equal_epochs(parts.parallel, run.train, batches, lambda batch: counted(batch).global_samples, "training")
        for number, read in enumerate(islice(batches, limit)):
            one = counted(read)
            micro = Micro(parts.transfer.batch(one.batch), one.samples, 1.0, True)
            for window in parts.augment.windows(iter([Window((micro,), 1, one.global_samples)]), epoch, number):
                yield from (micro.batch for micro in window.micros)


@contextmanager
def unmoved(run: Run) -> Iterator[None]:
    """Put back what a forward pass of the training moves: modes, weights, buffers, random numbers, what the task remembers."""
    model, user_state = run.unwrapped_model, run.user_state
    modes = [(module, module.training) for module in run.model.modules()]
    backup, stop_reason = ModelBackup(model), run.stop_reason
    if user_state is not None:
        user_state.remember()
    try:
        with undisturbed(run), detached_workers(run.train):
            yield
            run.train.set_epoch(run.progress.epoch)
    finally:
        if user_state is not None:
            user_state.undo()
        backup.restore()
        run.stop_reason = stop_reason
        for module, mode in modes:
            module.training = mode


@contextmanager
def with_cumulative_means(norms: Any) -> Iterator[None]:
    """Let BatchNorms begin anew, and keep the means over all batches from here on; afterwards as they were set."""
    momenta: list[tuple[_BatchNorm, Any]] = [(norm, norm.momentum) for norm in norms]
    try:
        for norm, _ in momenta:
            norm.reset_running_stats()
            norm.momentum = None
        yield
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum


def of_first_rank(parallel: Parallel, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of the first rank. Every rank must call it, with tensors of the same names and shapes."""
    if parallel.world_size == 1 or not values:
        return values
    flat = torch.cat([value.reshape(-1).to(wide_dtype(value.device)) for value in values.values()])
    flat = parallel.sum(flat if parallel.rank == 0 else torch.zeros_like(flat))
    pieces = torch.split(flat, [value.numel() for value in values.values()])
    return {name: piece.view_as(value).to(value.dtype) for (name, value), piece in zip(values.items(), pieces, strict=True)}
