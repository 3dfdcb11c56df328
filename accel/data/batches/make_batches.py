"""Choice of the batches that suit a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset, IterableDataset

from accel.data.batches.bad_samples import RAISE, BadSampleRule
from accel.data.batches.base import Batches, Order
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.sampling import permutation
from accel.errors import ConfigError

__all__ = ["make_batches"]

if TYPE_CHECKING:
    pass


from accel.data.batches.iterable import IterableBatches
from accel.data.batches.mapped import MapBatches
from accel.data.batches.ready import ReadyBatches


def make_batches(
    data: Any,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = False,
    share: RankShare = SINGLE_RANK,
    bad: BadSampleRule = RAISE,
    order: Order = permutation,
) -> Batches:
    """Batches over a map-style or iterable data set, or over a re-iterable of ready batches, passed through untouched.

    `share` is what of them this process reads, and `bad` what to do about samples of a map-style data set that cannot be read.
    `order` is that of an epoch of one, where it is shuffled.
    """
    if isinstance(data, IterableDataset):
        return IterableBatches(data, batch_size, share)
    has = [hasattr(data, name) for name in ("__getitem__", "__len__", "__iter__")]
    # __getitems__ is how torch's loaders ask a data set for several samples; those that can also be iterated have it
    if isinstance(data, Dataset) or has == [True, True, False] or hasattr(data, "__getitems__") or hasattr(data, "fill"):
        return MapBatches(data, batch_size, seed, shuffle, share, bad, order)
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
    return ReadyBatches(data, seed, share)
