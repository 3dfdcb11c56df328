"""The input pipeline: from the samples of an epoch to windows of micro-batches on the device."""

from __future__ import annotations

from collections.abc import Iterator

from accel.parts import Run, Window
from accel.parts.shared.ranks.rank_identity import compare_first_batch

__all__ = ["input_pipeline"]


def input_pipeline(run: Run, epoch: int, start: int) -> Iterator[Window]:
    """Yield the windows of an epoch. Read the last two statements from the inside out: each part takes what the one before gives.

    Args:
        run: the run; `run.epoch_rng_state` is where its generators stood when the epoch began.
        epoch: number of the epoch, from 0.
        start: number of the first micro-batch; those before were consumed, by this process or by one that was resumed.
    """
    parts = run.parts
    if start:  # batches consumed before are passed over with the random numbers that they were read with
        # the loaders' own generators stay where that leaves them: the saved ones may be further on, if batches are read ahead
        with run.random.preserved(loaders=False):
            run.random.restore(run.epoch_rng_state)
            batches = parts.loader.epoch(run.train, epoch, start)
    else:
        run.epoch_rng_state = run.random.state()
        batches = parts.loader.epoch(run.train, epoch, start)
    compare_first_batch(run, run.train)
    windows = parts.transfer.windows(parts.group.windows(parts.prefetch.ahead(run.train.counted(batches, start))))
    yield from parts.augment.windows(windows, epoch, start)
