"""Choice of the batches that suit a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from accel.data.batches.bad_samples import RAISE, BadSampleRule
from accel.data.batches.base import PLAIN_BATCHES, Batches, BatchOptions, Order
from accel.data.batches.iterable import IterableBatches
from accel.data.batches.mapped import MapBatches
from accel.data.batches.ready import ReadyBatches
from accel.data.batches.sample_lists import as_data_set
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.data.sampling import permutation
from accel.errors import ConfigError

__all__ = ["make_batches"]


def make_batches(
    data: Any,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = False,
    share: RankShare = SINGLE_RANK,
    bad: BadSampleRule = RAISE,
    order: Order = permutation,
    options: BatchOptions = PLAIN_BATCHES,
) -> Batches:
    """Return the batches of a map-style or iterable data set, or of a re-iterable of ready batches, which pass through untouched.

    Lists, tuples, arrays and dicts in memory are samples or ready batches by the rule of `accel.data.batches.sample_lists`.

    Args:
        data: the data set or the ready batches.
        batch_size: samples per batch and rank.
        seed: of the run.
        shuffle: whether a map-style data set comes in another order in every epoch.
        share: the part of the data that this process reads.
        bad: the rule for samples of a map-style data set that cannot be read.
        order: of an epoch, where it is shuffled.
        options: what the user says on how batches are made.

    Raises:
        ConfigError: if `data` is neither, or can be read only once.
    """
    data = as_data_set(data, options.sized or options.collate is not None)
    own = replace(share, drop_last=options.drop_last)
    if isinstance(data, IterableDataset):
        return IterableBatches(data, batch_size, own, seed, options.collate)
    methods = [hasattr(data, name) for name in ("__getitem__", "__len__", "__iter__")]
    # __getitems__ is how torch's loaders ask a data set for several samples; those that can also be iterated have it
    if isinstance(data, Dataset) or methods == [True, True, False] or hasattr(data, "__getitems__") or hasattr(data, "fill"):
        return MapBatches(data, batch_size, seed, shuffle, own, bad, order, options.collate)
    _check_iterable(data)
    return ReadyBatches(data, seed, share)


def _check_iterable(data: Any) -> None:
    """Raise ConfigError for what cannot be iterated over again and again."""
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
