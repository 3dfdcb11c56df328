"""The pace of a run: its samples per second without what warms up, and the range that they have over the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

from accel.report.other_load import OtherLoad
from accel.system.clock import TRAINING, Clock

__all__ = ["LEAST", "MOST_BLOCKS", "PARTS", "WARM_UP", "Block", "Pace", "PaceMeter", "pace_of"]

MOST_BLOCKS = 128
"""Blocks of updates that are kept; at so many, each two become one."""
PARTS, LEAST = 10, 3
"""Parts of a run whose samples per second make the range; and the least that tell a range."""
WARM_UP = 0.1
"""Share of the updates that are left out at the beginning, if the run has no epoch to leave out."""


@dataclass(frozen=True)
class Pace:
    """Samples per second of training, without its warm-up.

    Args:
        rate: the median over the parts of the run.
        low: that of the slowest part.
        high: that of the fastest part.
        busy: percent of this process's cores that other processes took meanwhile; None if it is not known.
    """

    rate: float
    low: float
    high: float
    busy: float | None = None


class Block(NamedTuple):
    """Consecutive updates: the epoch in which they began, their samples and their seconds of training."""

    epoch: int
    samples: int
    seconds: float


class PaceMeter:
    """Stopwatch of blocks of updates, beside the watches. It costs a comparison per update.

    The time is that of the phases of every update; compiling, evaluation, checkpoints and reports are left out.

    Args:
        clock: the clock of the run.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.blocks: list[Block] = []
        self.size, self.next = 1, 0
        self.load = OtherLoad()

    def begin(self, step: int, samples: int) -> None:
        """Begin after `step` updates and `samples` samples, in a new process or a new run."""
        self.next, self.samples, self.seconds = step + self.size, samples, self.training_seconds()

    def training_seconds(self) -> float:
        """Return the seconds of training so far."""
        return sum(self.clock.spent[: len(TRAINING)])

    def close_block(self, step: int, samples: int, epoch: int) -> None:
        """End a block with update `step`, after `samples` samples, in `epoch`. Called if `step` has reached `next`."""
        seconds = self.training_seconds()
        self.blocks.append(Block(epoch, samples - self.samples, seconds - self.seconds))
        if len(self.blocks) == MOST_BLOCKS:
            pairs = zip(self.blocks[::2], self.blocks[1::2], strict=True)
            self.blocks = [Block(one.epoch, one.samples + two.samples, one.seconds + two.seconds) for one, two in pairs]
            self.size *= 2
        self.begin(step, samples)

    def pace(self) -> Pace | None:
        """Return the pace so far; None if the run is too short to tell."""
        pace = pace_of(self.blocks)
        return pace and replace(pace, busy=self.load.percent())


def pace_of(blocks: Sequence[Block], busy: float | None = None) -> Pace | None:
    """Return the pace of a run's blocks; None if fewer than `LEAST` are left without the warm-up.

    Left out is the first epoch, which fills the caches of the system, or, if the run has one epoch, the first tenth.
    """
    warm = [block for block in blocks if block.epoch > blocks[0].epoch]
    if len(warm) < max(LEAST, len(blocks) // 4):
        warm = list(blocks[max(1, round(WARM_UP * len(blocks))) :])
    count = min(PARTS, len(warm))
    if count < LEAST:
        return None
    rates = []
    for number in range(count):
        part = warm[number * len(warm) // count : (number + 1) * len(warm) // count]
        rates.append(sum(block.samples for block in part) / max(sum(block.seconds for block in part), 1e-9))
    return Pace(median(rates), min(rates), max(rates), busy)
