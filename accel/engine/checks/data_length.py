"""Length of the training data, compared at the end of each epoch with what it was said to be."""

from __future__ import annotations

from accel.data.batches.base import length_of
from accel.data.batches.mapped import MapBatches
from accel.parts import Run, Schedule
from accel.system.call_stack import warn_user

__all__ = ["length_warning", "warn_of_length"]


def warn_of_length(run: Run, epoch: int) -> bool:
    """Warn if the epoch that ends was not as long as the data says. Return whether it was not.

    Args:
        run: the run, whose progress stands at the end of the epoch.
        epoch: from 0.
    """
    message = length_warning(run, epoch)
    if message and run.parts.parallel.rank == 0:
        warn_user(message)
    return bool(message)


def length_warning(run: Run, epoch: int) -> str:
    """Return the sentence for an epoch that was not as long as the data says; empty if it was."""
    batches, expected, train = run.progress.batch, run.batches, run.train
    if expected is not None and batches != expected:
        size = run.parts.group.size
        updates = run.progress.step + (run.epochs - epoch - 1) * -(-batches // size)
        planned = "" if run.updates is None else f"; the run makes about {updates:,} updates so, and {run.updates:,} are planned"
        if type(run.parts.schedule) is not Schedule and updates != run.updates:
            end = "ends before its curve does" if updates < (run.updates or 0) else "goes on after its curve has ended"
            planned += f": the learning rate {end}"
        return f"epoch {epoch + 1} had {batches:,} batches, and the data's len() gives {expected:,}{planned}; mend __len__"
    if isinstance(train, MapBatches) and (now := length_of(train.data)) not in (None, train.samples):
        return (
            f"the data had {train.samples:,} samples when it was opened, and has {now:,} after epoch {epoch + 1}; epochs keep to "
            f"the first {train.samples:,}"
        )
    return ""
