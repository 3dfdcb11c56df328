"""Pool of memory for batches, used again as soon as nobody holds the batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, TypeVar
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from accel.data.batches.collation import collate_samples
from accel.data.batches.mapped import MapBatches
from accel.device.cuda.pinned_memory import PinnedMemory
from accel.errors import ConfigError

__all__ = ["BufferPool", "Pool", "batch_of", "buffer_pool_of"]

Pool = TypeVar("Pool", bound="BufferPool")


class BufferPool:
    """Batches of one shape, over memory that is allocated once.

    A slot is free when the last tensor over it is gone. A view is a tensor over it too, and so is one that autograd has saved.
    So no batch changes while anybody holds it, and a caller that keeps all batches gets one slot for each.

    Args:
        shape: of a full batch.
        dtype: numpy's.
        pin: whether a CUDA device may read a slot while the host goes on. The caller holds a batch until its copy is done.

    Raises:
        ConfigError: for a dtype that no tensor has.
    """

    reader: ClassVar[str] = "threads"
    """Who writes into it."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, pin: bool) -> None:
        self.shape = shape
        self.pinned = PinnedMemory(self.reader) if pin else None
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        try:
            self.tensor_dtype = torch.from_numpy(np.empty(0, self.dtype)).dtype
        except TypeError:
            raise ConfigError(f"the data set's dtype is {self.dtype}, which no tensor has; give its samples another") from None
        self.free: deque[NDArray[Any]] = deque()
        self.allocated = 0

    @property
    def bytes(self) -> int:
        """Bytes of one slot."""
        return prod(self.shape) * self.dtype.itemsize

    def borrow(self, size: int) -> Tensor:
        """Return a tensor over the first `size` samples of a free slot, or of a new one. The slot is free again when it is gone."""
        try:
            slot = self.free.pop()  # the last one that came back: the caches still have some of it
        except IndexError:
            slot = self.allocate()
            self.allocated += 1
        view = slot[:size]  # an array of its own, which the tensor's storage holds, and nobody else
        finalize(view, self.free.append, slot).atexit = False
        return torch.from_numpy(view)

    def allocate(self) -> NDArray[Any]:
        """Return the memory of one more slot: `shape`, `dtype`."""
        new = torch.empty if self.pinned is None else self.pinned.empty
        memory: NDArray[Any] = new(self.shape, dtype=self.tensor_dtype).numpy()
        return memory


def buffer_pool_of(batches: MapBatches, pin: bool, kind: type[Pool]) -> Pool | None:
    """Return a pool for the batches of a data set that writes its samples into given memory (`fill`); None for another data set."""
    if not batches.has_fill or batches.collate is not default_collate:
        return None
    return kind((min(batches.batch_size, batches.samples), *batches.data.shape), batches.data.dtype, pin)


def batch_of(out: Tensor, labels: list[Any], keys: Sequence[int]) -> Any:
    """Return the batch of samples that are written into the first rows of `out`, with their labels where they have any.

    It is `out` or a view of it: the slot is free when it is gone.

    Args:
        out: (batch or more, *shape).
        labels: one for each sample; None each, if there are none.
        keys: the number of each sample.

    Raises:
        ConfigError: for labels that make no batch.
    """
    out = out[: len(labels)]
    return out if labels[0] is None else [out, collate_samples(default_collate, labels, keys, "labels of the")]
