"""How the samples of an update come about, and how they stay the same where the number of ranks changes."""

from __future__ import annotations

from dataclasses import dataclass

from accel.errors import ConfigError
from accel.parts import Run

__all__ = ["BatchSizes", "fit_to_ranks", "sizes_of"]


@dataclass
class BatchSizes:
    """The factors of an update's samples."""

    batch_size: int
    """Samples per micro-batch and rank; 1 where the data comes in ready batches, which are then what is counted."""
    micro: int
    """Micro-batches per update."""
    ranks: int
    ready: bool = False
    """Whether the data comes in ready batches."""

    @property
    def step(self) -> int:
        """Samples per micro-batch over all ranks."""
        return self.batch_size * self.ranks

    @property
    def update(self) -> int:
        """Samples per update."""
        return self.step * self.micro


def sizes_of(run: Run) -> BatchSizes:
    """Those of a run whose data is open."""
    ready = not run.uses_batch_size
    return BatchSizes(1 if ready else run.batch_size, run.parts.group.size, run.parts.parallel.world_size, ready)


def fit_to_ranks(was: BatchSizes, asked: BatchSizes) -> BatchSizes:
    """The sizes with which as many ranks as are asked for go on with a run that was begun by others: its updates stay as large.

    A batch is as large as was asked for, or the largest below that divides what a rank has to take.

    Raises:
        ConfigError: where the ranks cannot share an update evenly, with the numbers of ranks that can.
    """
    ranks = asked.ranks
    if ranks == was.ranks or (asked.update == was.update and not was.ready):
        return asked
    if was.update % ranks:
        can = [str(number) for number in range(1, 2 * max(ranks, was.ranks) + 1) if was.update % number == 0]
        what = "ready batches" if was.ready else "samples"
        raise ConfigError(
            f"an update of this run has {was.update} {what}, which {ranks} ranks cannot share evenly; start {', '.join(can)}"
        )
    each = was.update // ranks
    size = 1 if was.ready else max(number for number in range(1, min(asked.batch_size, each) + 1) if each % number == 0)
    return BatchSizes(size, each // size, ranks, was.ready)
