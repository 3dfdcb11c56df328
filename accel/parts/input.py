"""Parts of the input pipeline: from the data set to a batch on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.base import Batches
from accel.data.batches.make_batches import make_batches
from accel.data.loaders.device_copy import map_tensors
from accel.data.ranks.rank_share import RankShare
from accel.data.sampling import permutation
from accel.device.accelerators.float64 import moved
from accel.parts.part import Part
from accel.parts.run import Run
from accel.parts.window import Micro, Window
from accel.system.clock import TRANSFER

__all__ = ["Augment", "Loader", "Order", "Prefetch", "Source", "Transfer"]


@dataclass(eq=False)
class Source(Part):
    """Source of the samples; plainest: the user's own data set."""

    def open(self, data: Any, split: str) -> Any:
        """Return the data of `split` as the loader reads it: a data set, or an iterable of ready batches."""
        return data


@dataclass(eq=False)
class Order(Part):
    """Order of the samples in an epoch; plainest: every order is equally likely."""

    def permutation(self, samples: int, seed: int, epoch: int) -> Tensor:
        """Return the numbers below `samples`, each once: int64, shape (samples,). A pure function of arguments and settings."""
        return permutation(samples, seed, epoch)


@dataclass(eq=False)
class Loader(Part):
    """Reader and decoder of the samples; plainest: this process, one batch after the other."""

    def setup(self, run: Run) -> None:
        self.share = RankShare(run.parts.parallel.rank, run.parts.parallel.world_size)
        self.seed, self.batch_size, self.split, self.bad = run.seed, run.batch_size, run.evaluation_split, run.bad_samples
        self.order, self.counter, self.batch_options = run.parts.order.permutation, run.counter, run.batch_options

    def open(self, data: Any, train: bool) -> Batches:
        """Return the batches of a data set, shuffled if `train`, or of an iterable of ready batches, passed through untouched."""
        batches = make_batches(
            data, self.batch_size, self.seed, shuffle=train, share=self.share, bad=self.rule(train), order=self.order,
            options=self.batch_options if train else replace(self.batch_options, drop_last=False),
        )  # fmt: skip
        batches.counter = self.counter
        return batches

    def rule(self, train: bool) -> BadSampleRule:
        """Return the rule for unreadable samples of the training or the held-out data."""
        return self.bad.for_dataset("train" if train else self.split, train)

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        """Return the batches of `epoch` from number `start` on, on the host."""
        return batches.epoch(epoch, start)

    def reader_choices(self) -> list[int]:
        """Return the numbers of readers that a trial may choose from; empty where the number is set, or nobody reads beside."""
        return []

    def set_readers(self, count: int) -> None:
        """Read with `count` readers, one of `reader_choices`, from the next epoch on. No epoch is being read meanwhile."""

    def set_depth(self, depth: int) -> None:
        """Read as far ahead as a depth of `depth` says, from the next epoch on. No epoch is being read meanwhile."""

    def close(self) -> None:
        """End workers and threads, when the run ends, however it ends."""


@dataclass(eq=False)
class Prefetch(Part):
    """Reading of batches ahead of their turn; plainest: none."""

    def identity(self) -> None:
        """Return None: it changes nothing of what is computed."""

    def ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Return the same batches in the same order."""
        return batches

    def set_depth(self, depth: int) -> None:
        """Read `depth` batches ahead, from the next epoch on. No epoch is being read meanwhile."""

    def paused(self) -> AbstractContextManager[None]:
        """Let nothing more be read ahead of training meanwhile: loaders are read by one thread at a time."""
        return nullcontext()

    def close(self) -> None:
        """End the reading ahead, when the run ends, however it ends."""


@dataclass(eq=False)
class Transfer(Part):
    """Copy of a batch to the device; plainest: `.to(device)`, when its turn comes."""

    def identity(self) -> None:
        """Return None: it changes nothing of what is computed."""

    def setup(self, run: Run) -> None:
        self.device, self.clock = run.device, run.clock

    def windows(self, windows: Iterator[Window]) -> Iterator[Window]:
        """Return the same windows with their micro-batches on the device. On a CPU they are there already."""
        if self.device.type == "cpu":
            return windows
        return (window._replace(micros=self._moved(window)) for window in windows)

    def batch(self, batch: Any) -> Any:
        """Return one batch on the device. Tuples, lists, dicts and named tuples are kept, other objects passed through."""
        return map_tensors(batch, lambda tensor: moved(tensor, self.device, "a batch"))

    def close(self) -> None:
        """End the copying ahead, when the run ends, however it ends."""

    def _moved(self, window: Window) -> Iterator[Micro]:
        for micro in window.micros:
            moved = micro._replace(batch=self.batch(micro.batch))
            self.clock.lap(TRANSFER)
            yield moved


@dataclass(eq=False)
class Augment(Part):
    """Augmentation of a batch on the device, before the model sees it; plainest: none."""

    @property
    def paced(self) -> bool:
        """Whether its effect depends on the length of the run."""
        return False

    def windows(self, windows: Iterator[Window], epoch: int, start: int) -> Iterator[Window]:
        """Return the same windows, augmented. Their first micro-batch is number `start` of `epoch`."""
        return windows
