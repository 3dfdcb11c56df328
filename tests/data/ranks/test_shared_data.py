"""Data that several ranks read: what divides itself is seen, and what a stream gave first can be compared."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset

from accel.data.batches.iterable import IterableBatches
from accel.data.batches.ready import ReadyBatches
from accel.data.ranks.own_split import OwnSplit, own_split
from accel.data.ranks.rank_share import RankShare
from accel.errors import AccelWarning, ConfigError


class Stream(IterableDataset[Tensor]):
    first = 0.0

    def __iter__(self) -> Iterator[Tensor]:
        for number in range(5):
            yield torch.full((2,), self.first + number)


@pytest.mark.parametrize(
    ("ranks", "rank", "divides"), [(2, 1, True), (1, 0, False), (None, None, False), (2, None, False), (None, 1, False)]
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_stream_that_was_split_by_node_is_seen(ranks: Any, rank: Any, divides: bool, inside: bool) -> None:
    stream: Any = Stream()
    stream._distributed = SimpleNamespace(world_size=ranks, rank=rank)
    split = own_split(SimpleNamespace(dataset=stream) if inside else stream)
    assert split == (OwnSplit(1, 2, "split_dataset_by_node", None, False) if divides else None)
    if divides:
        with pytest.raises(ConfigError, match="split_dataset_by_node divides the data among the ranks"):
            IterableBatches(stream, 2, RankShare(1, 2))


def test_what_a_stream_gives_first_is_read_again_to_be_compared() -> None:
    data = Stream()
    batches = IterableBatches(data, 1, RankShare(0, 2))
    assert len(list(batches.epoch(0))) == 3
    assert batches.first_digest
    assert batches.digest_again() == batches.first_digest
    data.first = 1.0
    assert batches.digest_again() != batches.first_digest


@pytest.mark.parametrize(("samples", "amount"), [(6, ""), (5, ", as 6")])
def test_a_loader_that_divides_its_data_says_so(samples: int, amount: str) -> None:
    data = TensorDataset(torch.zeros(samples, 2))
    loader = DataLoader(data, batch_size=1, sampler=DistributedSampler(data, num_replicas=2, rank=0))
    batches = ReadyBatches(loader, 0, RankShare(0, 2))
    assert batches.describe() == f"{samples} samples, divided by its own DistributedSampler{amount}"
    assert batches.count == 3
    with pytest.raises(ConfigError, match="DistributedSampler divides the data for rank 0 of 2, and this is rank 1 of 2"):
        ReadyBatches(loader, 0, RankShare(1, 2))
    with pytest.warns(AccelWarning, match="gives this process part 1 of 2 of the data, and it trains alone"):
        alone = ReadyBatches(loader)
    assert alone.describe() == f"{samples} samples"
    assert alone.seed == 0


class Drawn(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(2):
            yield torch.tensor([random.random(), float(np.random.rand()), float(torch.rand(()))])


def test_a_stream_draws_the_same_numbers_from_version_to_version() -> None:
    wanted = {0: [0.17003906, 0.95458094, 0.83012217], 1: [0.38627740, 0.72487731, 0.44309676]}
    for epoch, numbers in wanted.items():
        (batch,) = IterableBatches(Drawn(), 2, seed=3).epoch(epoch)
        assert getattr(batch, "batch", batch)[0].tolist() == pytest.approx(numbers, abs=1e-7)
