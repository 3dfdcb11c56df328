"""Memory for batches that is used again as soon as nobody holds the batch."""

from __future__ import annotations

from collections import deque
from math import prod
from typing import Any, TypeVar
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from accel.data.batches.mapped import MapBatches
from accel.errors import ConfigError

__all__ = ["BufferPool", "Kind", "batch_of", "buffer_pool_of"]

Kind = TypeVar("Kind", bound="BufferPool")


class BufferPool:
    """Batches of one shape, over memory that is made once.

    A slot is free when the last tensor over it is gone: a view, or one that autograd has saved, is a tensor over it too. So no
    batch changes under anybody's hands, however many batches are held back, and whoever keeps them all gets one slot each.

    Args:
        shape: of a full batch.
        dtype: numpy's.
        pin: whether a CUDA device may read it while the host goes on. Who starts such a copy holds the batch until it is done.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, pin: bool) -> None:
        self.shape, self.pin = shape, pin
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        try:
            self.kind = torch.from_numpy(np.empty(0, self.dtype)).dtype
        except TypeError:
            raise ConfigError(f"the data set's dtype is {self.dtype}, which no tensor has; give its samples another") from None
        self.free: deque[NDArray[Any]] = deque()
        self.made = 0

    @property
    def bytes(self) -> int:
        """Of one slot."""
        return prod(self.shape) * self.dtype.itemsize

    def borrow(self, size: int) -> Tensor:
        """A tensor over the first `size` samples of a free slot, or of a new one; the slot comes back when nobody holds it."""
        try:
            slot = self.free.pop()  # the last one that came back: the caches still have some of it
        except IndexError:
            slot = self.make()
            self.made += 1
        view = slot[:size]  # an array of its own, which the tensor's storage holds, and nobody else
        finalize(view, self.free.append, slot).atexit = False
        return torch.from_numpy(view)

    def make(self) -> NDArray[Any]:
        """The memory of one more slot."""
        found: NDArray[Any] = torch.empty(self.shape, dtype=self.kind, pin_memory=self.pin).numpy()
        return found


def buffer_pool_of(batches: MapBatches, pin: bool, kind: type[Kind]) -> Kind | None:
    """Slots for the batches of a data set that writes its samples into given memory; None for another."""
    if not batches.has_fill or batches.collate is not default_collate:
        return None
    return kind((min(batches.batch_size, batches.samples), *batches.data.shape), batches.data.dtype, pin)


def batch_of(out: Tensor, labels: list[Any]) -> Any:
    """The batch of samples that are written into the first rows of `out`, a label each, and of the labels, where they have any.

    It is `out` or a view of it: the slot comes back when it is gone.
    """
    out = out[: len(labels)]
    return out if labels[0] is None else [out, default_collate(labels)]
