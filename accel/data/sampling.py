"""Order and randomness as pure functions of (seed, epoch, index): nothing to save, and no worker count can change them."""

from __future__ import annotations

import threading
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel.data.philox import first_block
from accel.device.rng import mix_seed

__all__ = ["batch_rng", "extent_permutation", "generator_seed", "permutation", "reused_rng", "sample_rng", "sample_words"]


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order of `n` samples in `epoch`, uniformly random: (n,) int64, on the CPU."""
    generator = torch.Generator("cpu").manual_seed(_epoch_seed(seed, epoch))
    return torch.randperm(n, generator=generator, device="cpu")


def extent_permutation(n: int, seed: int, epoch: int, size: int, window: int) -> Tensor:
    """Return an order of `n` samples in `epoch` that reads neighbours together: (n,) int64, on the CPU.

    Extents, which are runs of `size` neighbours, are shuffled; then the samples of each `window` extents are. So any
    `window * size` samples after each other come from few places. The extents begin elsewhere in every epoch.

    Args:
        n: samples.
        seed: of the run.
        epoch: from 0.
        size: samples in an extent.
        window: extents whose samples are mixed.
    """
    generator = torch.Generator("cpu").manual_seed(_epoch_seed(seed, epoch))
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
    """Return a new generator for sample `index` in `epoch`: the same numbers, whoever reads the sample and when."""
    return np.random.Generator(np.random.Philox(key=(_epoch_seed(seed, epoch) << 64) | index))


def reused_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return a generator with the numbers of `sample_rng(seed, epoch, index)`, without making a new one.

    Each thread has one such generator: the next call in this thread sets it anew.
    """
    reused: tuple[Any, np.random.Generator, Any] | None = getattr(_of_thread, "reused", None)
    if reused is None:
        rng = np.random.Generator(np.random.Philox(key=0))
        state = rng.bit_generator.state  # of one that has not drawn yet; lists are read in half the time of arrays
        fresh = {**state, "state": {"counter": [0] * 4, "key": [0, 0]}, "buffer": [0] * 4}
        reused = _of_thread.reused = rng.bit_generator, rng, fresh
    bits, rng, state = reused
    state["state"]["key"][:] = index, _epoch_seed(seed, epoch)
    bits.state = state
    return rng


def batch_rng(seed: int, epoch: int, number: int) -> np.random.Generator:
    """Return a new generator for batch `number` in `epoch` as a whole. No sample has its numbers."""
    return sample_rng(seed, epoch, number + 2**63)


def generator_seed(seed: int, epoch: int, index: int, number: int) -> int:
    """Return a seed of 64 bits for generator `number`, below 1024, while sample `index` is read in `epoch`.

    It is one number of a SplitMix64 stream (Steele, Lea, Flood, OOPSLA 2014) that begins at the epoch's seed. Takes a microsecond.
    """
    word = (_epoch_seed(seed, epoch) + (index * 1024 + number + 1) * 0x9E3779B97F4A7C15) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)


def sample_words(seed: int, epoch: int, indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first four 64-bit words of `sample_rng(seed, epoch, index)`, for every index at once.

    Args:
        seed: of the run.
        epoch: from 0.
        indices: (n,) int64, on any device.

    Returns:
        Four times (n,) int64, on the device of `indices`: the bits of `sample_rng(...).bit_generator.random_raw(4)`.
    """
    return first_block(indices, _epoch_seed(seed, epoch))


_of_thread = threading.local()
_WORD = 2**64 - 1


@lru_cache(maxsize=8)  # asked for once per sample, and the same for a whole epoch
def _epoch_seed(seed: int, epoch: int) -> int:
    """Return `mix_seed(seed, epoch)`, remembered."""
    return mix_seed(seed, epoch)
