"""The batches of an epoch, whatever the user's data is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset, default_collate

from accel.errors import ConfigError
from accel.order import permutation, sample_rng


class Batches(ABC):
    """The batches of one data set, epoch after epoch."""

    count: int | None = None
    """Batches per epoch; None where the data does not tell."""
    samples: int | None = None
    """Samples per epoch; None where the data does not tell."""
    batched_here: bool = True
    """Whether `batch_size` is ours to choose."""

    @abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch`, from number `start` on."""

    def describe(self) -> str:
        """How much there is, in words."""
        if self.samples is None:
            return "unknown size" if self.count is None else f"{self.count:,} batches"
        return f"{self.samples:,} samples"

    def notes(self) -> dict[str, str]:
        """What the plan shall say of the data, by the name of the fact."""
        return {}

    @staticmethod
    def over(data: Any, batch_size: int, seed: int = 0, shuffle: bool = False) -> Batches:
        """Batches over a map-style or iterable data set, or over a re-iterable of ready batches, passed through untouched."""
        if isinstance(data, IterableDataset):
            return Streamed(data, batch_size)
        has = [hasattr(data, name) for name in ("__getitem__", "__len__", "__iter__")]
        # __getitems__ is how torch's loaders ask a data set for several samples; those that can also be iterated have it
        if isinstance(data, Dataset) or has == [True, True, False] or hasattr(data, "__getitems__") or hasattr(data, "fill"):
            return Mapped(data, batch_size, seed, shuffle)
        if not isinstance(data, Iterable):
            raise ConfigError(
                f"data is a {type(data).__name__}, which is neither a data set nor an iterable of batches; "
                "pass a torch Dataset, a DataLoader or a list of batches"
            )
        if isinstance(data, Iterator):
            raise ConfigError(
                f"data is a {type(data).__name__}, which can be read only once, and every epoch reads it anew; "
                "pass a Dataset, a DataLoader, a list of batches or an object whose __iter__ starts again"
            )
        return Ready(data)


class Mapped(Batches):
    """A map-style data set: the order is a function of (seed, epoch), a sample's randomness of (seed, epoch, index).

    A data set that draws random numbers defines `sample(index, rng)`, called instead of `__getitem__` with a numpy Generator
    of its own; one that defines `collate(samples)` makes its own batches of them. What
    `plan_notes()` returns, facts by name, stands in the plan. One whose samples are numpy records of one
    shape may define `fill(index, rng, out)` beside `shape` and `dtype`: it writes into the array `out` and returns the label, or
    None where there is none. It needs neither `sample` nor `__getitem__` then; one that has them gives the same by each. The
    Generator is the sample's until `fill` returns. Where it also has `at_once`, and that is true, its `fill_all(keys, seed, epoch,
    out)` writes several samples and returns their labels, the same as by `fill`.
    """

    samples: int

    def __init__(self, data: Any, batch_size: int, seed: int, shuffle: bool) -> None:
        self.data, self.batch_size, self.seed, self.shuffle = data, batch_size, seed, shuffle
        samples = _length(data)
        if samples is None:
            raise ConfigError(f"data is a {type(data).__name__} without __len__; say there how many samples it has")
        self.samples = samples
        self.count = -(-self.samples // batch_size)
        self.collate = getattr(data, "collate", default_collate)
        self.draws = hasattr(data, "sample")
        self.fills = hasattr(data, "fill")
        self.at_once = bool(getattr(data, "at_once", False))
        self.gets = getattr(type(data), "__getitem__", Dataset.__getitem__) is not Dataset.__getitem__

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for keys in self.keys(epoch, start):
            yield self.fetch(epoch, keys)

    def notes(self) -> dict[str, str]:
        tell = getattr(self.data, "plan_notes", None)
        return tell() if tell else {}

    def keys(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The indices of each batch, int64; the last batch may be short."""
        order = permutation(self.samples, self.seed, epoch) if self.shuffle else torch.arange(self.samples, device="cpu")
        yield from islice(torch.split(order, self.batch_size), start, None)

    def fetch(self, epoch: int, keys: Tensor) -> Any:
        """One batch. Tensors in memory are indexed at once, which gives what collating their samples would."""
        if self.in_memory:
            return tuple(tensor[keys] for tensor in self.data.tensors)
        return self.collate([self.one(epoch, key) for key in keys.tolist()])

    @property
    def in_memory(self) -> bool:
        """Whether a batch is made by indexing tensors, which no reader beside this one could do sooner."""
        return type(self.data) is TensorDataset

    def one(self, epoch: int, key: int) -> Any:
        """Sample number `key` as it is in `epoch`."""
        if self.draws:
            return self.data.sample(key, sample_rng(self.seed, epoch, key))
        if self.fills and not self.gets:
            out = np.empty(self.data.shape, self.data.dtype)
            label = self.data.fill(key, sample_rng(self.seed, epoch, key), out)
            return torch.from_numpy(out) if label is None else (torch.from_numpy(out), label)
        return self.data[key]


class Streamed(Batches):
    """An iterable data set, batched in its own order. One that has `set_epoch` is told the epoch."""

    def __init__(self, data: IterableDataset[Any], batch_size: int) -> None:
        self.data, self.batch_size = data, batch_size
        self.collate = getattr(data, "collate", default_collate)
        self.samples = _length(data)
        self.count = None if self.samples is None else -(-self.samples // batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        return self._batches(_from(iter(self.data), start * self.batch_size))

    def _batches(self, samples: Iterator[Any]) -> Iterator[Any]:
        while batch := list(islice(samples, self.batch_size)):
            yield self.collate(batch)


class Ready(Batches):
    """Ready batches of the user's own making, passed through untouched. A sampler that has `set_epoch` is told the epoch."""

    batched_here = False

    def __init__(self, data: Iterable[Any]) -> None:
        self.data = data
        self.count = _length(data)
        self.samples = _length(getattr(data, "dataset", None))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for teller in (self.data, getattr(self.data, "sampler", None)):
            tell = getattr(teller, "set_epoch", None)
            if tell is not None:
                tell(epoch)
        return _from(iter(self.data), start)


def _from(iterator: Iterator[Any], start: int) -> Iterator[Any]:
    """The rest of it from number `start` on; what comes before is read here and now, while the random generators are set for it."""
    for _ in islice(iterator, start):
        pass
    return iterator


def _length(data: Any) -> int | None:
    """`len(data)`, or None where it has none (an IterableDataset raises TypeError, some loaders NotImplementedError)."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None
