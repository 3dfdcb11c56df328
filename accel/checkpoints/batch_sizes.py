"""Samples of an update: their factors, and how they stay the same if the number of ranks changes."""

from __future__ import annotations

from dataclasses import dataclass

from accel.errors import ConfigError
from accel.parts import Run

__all__ = ["BatchSizes", "fit_to_ranks", "sizes_of"]


@dataclass
class BatchSizes:
    """Factors of the number of samples in an update. The names of the fields are part of the file format."""

    batch_size: int
    """Samples per micro-batch and rank; 1 if the data comes in ready batches, which are then counted instead."""
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
    """Return the sizes of a run whose data is open."""
    ready = not run.uses_batch_size
    return BatchSizes(1 if ready else run.batch_size, run.parts.group.size, run.parts.parallel.world_size, ready)


def fit_to_ranks(before: BatchSizes, configured: BatchSizes) -> BatchSizes:
    """Return the sizes with which another number of ranks goes on with a run, so that its updates stay as large.

    A batch is as large as configured, or the largest below that divides the share of a rank.

    Args:
        before: the sizes of the run that is resumed.
        configured: the sizes that settings and ranks ask for now.

    Raises:
        ConfigError: if the ranks cannot share an update evenly, with the numbers of ranks that can.
    """
    ranks = configured.ranks
    if ranks == before.ranks or (configured.update == before.update and not before.ready):
        return configured
    if before.update % ranks:
        numbers = [str(number) for number in range(1, 2 * max(ranks, before.ranks) + 1) if before.update % number == 0]
        unit = "ready batches" if before.ready else "samples"
        raise ConfigError(
            f"an update of this run has {before.update} {unit}, which {ranks} ranks cannot share evenly; start {', '.join(numbers)}"
        )
    each = before.update // ranks
    size = 1 if before.ready else max(number for number in range(1, min(configured.batch_size, each) + 1) if each % number == 0)
    return BatchSizes(size, each // size, ranks, before.ready)
