"""A batch while its samples are being read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from accel.data.batches.bad_samples import GONE, Bad

if TYPE_CHECKING:
    from accel.data.batches.base import Mapped


class Collected:
    """A batch of samples that are read one by one, by any threads in any order, and collated.

    Args:
        batches: of the data set.
        epoch: from 0.
        keys: the numbers of its samples.
    """

    def __init__(self, batches: Mapped, epoch: int, keys: list[int]) -> None:
        self.batches, self.epoch, self.keys = batches, epoch, keys
        self.samples: list[Any] = [None] * len(keys)
        """Of each place: what reading it gave, GONE where it is left out."""
        self.bad: list[Bad] = []
        """Those that could not be read."""

    def one(self, place: int, key: int) -> Any:
        """Reads sample number `key` for `place`."""
        return self.batches.one(self.epoch, key)

    def read(self, place: int) -> None:
        """Reads the sample of `place`, from 0, or what stands for it."""
        key = self.keys[place]
        try:
            self.samples[place] = self.one(place, key)
        except Exception as error:
            fates = self.batches.fates
            self.samples[place] = fates.after(error, self.epoch, key, partial(self.one, place), self.bad)

    def read_all(self) -> bool:
        """Reads all samples at once, where that can be done; else whoever asks reads them one by one."""
        return False

    def finish(self) -> Any:
        """The batch, once all samples are read; GONE where nothing is left of it."""
        if not self.bad:
            return self.made()
        if self.batches.fates.rule.refill and all(sample is GONE for sample in self.samples):
            for place, key in enumerate(self.keys):
                self.samples[place] = self.batches.fates.instead(self.epoch, key, partial(self.one, place), self.bad)
        self.bad.sort()  # whichever thread came first
        kept = [place for place, sample in enumerate(self.samples) if sample is not GONE]
        if not kept and self.batches.share.ranks > 1:
            raise self.batches.fates.all_gone(self.keys)
        if not kept:
            return GONE
        self.close_up(kept)
        return self.made()

    def close_up(self, kept: list[int]) -> None:
        """Leaves the places that are not in `kept` out."""
        self.samples = [self.samples[place] for place in kept]

    def made(self) -> Any:
        """The batch of all samples there are."""
        return self.batches.collate(self.samples)
