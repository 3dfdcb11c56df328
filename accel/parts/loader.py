from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel.data.batches.bad_samples import Rule
from accel.data.batches.base import Batches
from accel.data.batches.rank_share import Share
from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run


@dataclass(eq=False)
class Loader(Part):
    """Who reads and decodes the samples; plainest: this process, one batch after the other."""

    def setup(self, run: Run) -> None:
        self.share = Share(run.parts.parallel.rank, run.parts.parallel.world_size)
        self.seed, self.batch_size, self.split, self.bad = run.seed, run.batch_size, run.split, run.bad
        self.order = run.parts.order.permutation

    def open(self, data: Any, train: bool) -> Batches:
        """The batches of a data set (shuffled where `train`), or of an iterable of ready batches, passed through untouched."""
        return Batches.over(
            data, self.batch_size, self.seed, shuffle=train, share=self.share, bad=self.rule(train), order=self.order
        )

    def rule(self, train: bool) -> Rule:
        """What becomes of samples of the training or the held-out data that cannot be read."""
        return self.bad.of("train" if train else self.split, train)

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        """The batches of `epoch` from number `start` on, on the host."""
        return batches.epoch(epoch, start)

    def close(self) -> None:
        """Ends workers and threads, when the run ends, however it ends."""
