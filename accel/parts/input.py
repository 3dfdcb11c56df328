"""Parts of the input pipeline: from the data set to a batch on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.base import Batches
from accel.data.batches.make_batches import make_batches
from accel.data.batches.rank_share import RankShare
from accel.data.loaders.device_copy import map_tensors
from accel.data.sampling import permutation
from accel.parts.part import Part
from accel.parts.window import Micro, Window
from accel.system.clock import TRANSFER

if TYPE_CHECKING:
    from accel.parts.run import Run


@dataclass(eq=False)
class Source(Part):
    """Which samples there are; plainest: the user's own data set."""

    def open(self, data: Any, split: str) -> Any:
        """The data of `split` as the loader shall read it: a data set, or an iterable of ready batches."""
        return data


@dataclass(eq=False)
class Order(Part):
    """In which order the samples of an epoch come; plainest: any is as likely as any other."""

    def permutation(self, samples: int, seed: int, epoch: int) -> Tensor:
        """The numbers below `samples`, each once: int64, shape (samples,). A function of its arguments and of the settings."""
        return permutation(samples, seed, epoch)


@dataclass(eq=False)
class Loader(Part):
    """Who reads and decodes the samples; plainest: this process, one batch after the other."""

    def setup(self, run: Run) -> None:
        self.share = RankShare(run.parts.parallel.rank, run.parts.parallel.world_size)
        self.seed, self.batch_size, self.split, self.bad = run.seed, run.batch_size, run.evaluation_split, run.bad_samples
        self.order = run.parts.order.permutation

    def open(self, data: Any, train: bool) -> Batches:
        """The batches of a data set (shuffled where `train`), or of an iterable of ready batches, passed through untouched."""
        return make_batches(
            data, self.batch_size, self.seed, shuffle=train, share=self.share, bad=self.rule(train), order=self.order
        )

    def rule(self, train: bool) -> BadSampleRule:
        """What becomes of samples of the training or the held-out data that cannot be read."""
        return self.bad.for_dataset("train" if train else self.split, train)

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        """The batches of `epoch` from number `start` on, on the host."""
        return batches.epoch(epoch, start)

    def close(self) -> None:
        """Ends workers and threads, when the run ends, however it ends."""


@dataclass(eq=False)
class Prefetch(Part):
    """How far ahead batches are read; plainest: not at all."""

    def identity(self) -> None:
        """Nothing."""

    def ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches in the same order."""
        return batches

    def close(self) -> None:
        """Ends what reads ahead, when the run ends, however it ends."""


@dataclass(eq=False)
class Transfer(Part):
    """How a batch reaches the device; plainest: `.to(device)`, when its turn comes."""

    def identity(self) -> None:
        """Nothing."""

    def setup(self, run: Run) -> None:
        self.device, self.clock = run.device, run.clock

    def windows(self, windows: Iterator[Window]) -> Iterator[Window]:
        """The same windows with their micro-batches on the device. On a CPU they are there already."""
        if self.device.type == "cpu":
            return windows
        return (window._replace(micros=self._moved(window)) for window in windows)

    def batch(self, batch: Any) -> Any:
        """One batch on the device, with its structure kept (tuples, lists, dicts, named tuples; anything else as it is)."""
        return map_tensors(batch, lambda tensor: tensor.to(self.device))

    def close(self) -> None:
        """Ends what copies ahead, when the run ends, however it ends."""

    def _moved(self, window: Window) -> Iterator[Micro]:
        for micro in window.micros:
            moved = micro._replace(batch=self.batch(micro.batch))
            self.clock.lap(TRANSFER)
            yield moved


@dataclass(eq=False)
class Augment(Part):
    """What happens to a batch on the device before the model sees it; plainest: nothing."""

    @property
    def paced(self) -> bool:
        """Whether what it does depends on how long the run is."""
        return False

    def windows(self, windows: Iterator[Window], epoch: int, start: int) -> Iterator[Window]:
        """The same windows, augmented. The first micro-batch of the first of them is number `start` of `epoch`."""
        return windows
