"""A batch whose samples are written side by side into one piece of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accel.data.batches.collected import Collected
from accel.data.sampling import borrowed_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.data.batches.base import Mapped


class Written(Collected):
    """What reading a sample gives is its label, and what comes of the batch are the labels: of each row from the first one on.

    Args:
        batches: of a data set that has `fill`.
        epoch: from 0.
        keys: the numbers of its samples.
        rows: (len(keys) or more, *shape): where they are written.
    """

    def __init__(self, batches: Mapped, epoch: int, keys: list[int], rows: NDArray[Any]) -> None:
        super().__init__(batches, epoch, keys)
        self.rows = rows

    def one(self, place: int, key: int) -> Any:
        return self.batches.data.fill(key, borrowed_rng(self.batches.seed, self.epoch, key), self.rows[place])

    def read_all(self) -> bool:
        data = self.batches.data
        if not self.batches.at_once:
            return False
        try:
            self.samples = data.fill_all(self.keys, self.batches.seed, self.epoch, self.rows[: len(self.keys)])
        except Exception:  # whatever it is, reading one by one names the sample, or gets over it
            return False
        return True

    def close_up(self, kept: list[int]) -> None:
        super().close_up(kept)
        for row, place in enumerate(kept):
            if row != place:
                self.rows[row] = self.rows[place]

    def made(self) -> Any:
        return self.samples
