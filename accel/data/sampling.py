"""Order and randomness as pure functions of (seed, epoch, index): nothing to save, nothing that a worker count could change."""

from __future__ import annotations

import threading
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel.data.philox import first_block

__all__ = ["batch_rng", "borrowed_rng", "extents", "permutation", "sample_rng", "sample_words"]


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order of `n` samples in `epoch`: int64, shape (n,)."""
    generator = torch.Generator("cpu").manual_seed(_mix(seed, epoch))
    return torch.randperm(n, generator=generator, device="cpu")


def extents(n: int, seed: int, epoch: int, size: int, window: int) -> Tensor:
    """Another order of `n` samples in `epoch`, of which any `window * size` after each other come from few places. int64, (n,).

    Runs of `size` neighbours, which begin elsewhere in every epoch, are shuffled; then the samples of each `window` runs are.
    """
    generator = torch.Generator("cpu").manual_seed(_mix(seed, epoch))
    (first,) = torch.randint(1, size + 1, (1,), generator=generator, device="cpu").tolist()
    starts = torch.cat([torch.zeros(1, dtype=torch.int64, device="cpu"), torch.arange(min(first, n), n, size, device="cpu")])
    lengths = torch.diff(starts, append=torch.tensor([n], device="cpu"))
    runs = torch.randperm(len(starts), generator=generator, device="cpu")
    starts, lengths = starts[runs], lengths[runs]
    ends = lengths.cumsum(0)
    order = torch.arange(n, device="cpu") + (starts - ends + lengths).repeat_interleave(lengths)
    bounds = [0, *ends[window - 1 :: window].tolist(), n]
    for low, high in pairwise(bounds):
        order[low:high] = order[low:high][torch.randperm(high - low, generator=generator, device="cpu")]
    return order


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of sample `index` in `epoch`, the same whoever reads it and when."""
    return np.random.Generator(np.random.Philox(key=(_mix(seed, epoch) << 64) | index))


def borrowed_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """`sample_rng(seed, epoch, index)`, lent until this thread borrows again: the same numbers, without making a generator anew."""
    lent: tuple[np.random.Generator, Any] | None = getattr(_of_thread, "lent", None)
    if lent is None:
        rng = np.random.Generator(np.random.Philox(key=0))
        lent = _of_thread.lent = rng, rng.bit_generator.state  # of one that has not drawn yet
    rng, state = lent
    state["state"]["key"][:] = index, _mix(seed, epoch)
    rng.bit_generator.state = state
    return rng


def batch_rng(seed: int, epoch: int, number: int) -> np.random.Generator:
    """The random numbers of batch `number` in `epoch` as a whole, which are those of none of its samples."""
    return sample_rng(seed, epoch, number + 2**63)


def sample_words(seed: int, epoch: int, indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first four 64-bit words of `sample_rng(seed, epoch, index)` for every index at once, on the device of `indices`.

    Args:
        indices: (n,) int64.

    Returns:
        Four times (n,) int64, the same bits as `sample_rng(...).bit_generator.random_raw(4)`.
    """
    return first_block(indices, _mix(seed, epoch))


_of_thread = threading.local()


@lru_cache(maxsize=8)  # asked for once per sample, and the same for a whole epoch
def _mix(seed: int, epoch: int) -> int:
    """One well-spread 63-bit number for a pair (numpy's SeedSequence hash)."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> np.uint64(1))
