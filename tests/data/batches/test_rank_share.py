"""Every sample of an epoch is some rank's, once, in batches that are the beginning of the order over all ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from accel.data.batches.counted import counted
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.ranks.rank_share import RankShare


@given(some.integers(1, 70), some.integers(1, 5), some.integers(1, 6))
def test_micro_batches_cut_the_order(samples: int, size: int, ranks: int) -> None:
    order = torch.arange(samples) + 100
    shares = [RankShare(rank, ranks) for rank in range(ranks)]
    batches = [list(torch.split(share.indices(order, size), size)) for share in shares]
    counts = [list(share.counted(iter(mine), 0, samples, size)) for share, mine in zip(shares, batches, strict=True)]
    assert {len(mine) for mine in batches} == {shares[0].batches(samples, size)}
    seen: list[int] = []
    for number in range(len(batches[0])):
        taken = [counted(mine[number]) for mine in counts]
        real = [one.batch[: one.samples].tolist() for one in taken]
        seen += [number for part in real for number in part]
        assert sum(map(len, real)) == taken[0].global_samples == min(size * ranks, samples - number * size * ranks)
        assert max(map(len, real)) - min(map(len, real)) <= 1, "as evenly as it can be"
        assert all(len(one.batch) >= 1 for one in taken), "a rank without a sample takes part with one of another"
    assert seen == order.tolist()


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_position_does_not_depend_on_the_ranks(ranks: int) -> None:
    data = list(range(23))
    plain = MapBatches(torch.utils.data.TensorDataset(torch.tensor(data)), 2 * ranks, 7, True)
    consumed = torch.cat([batch[0] for batch in list(plain.epoch(1))[:2]]).tolist()
    actual: list[int] = []
    for number in range(2):
        for rank in range(ranks):
            rank_batches = make_batches(plain.data, 2, 7, True, RankShare(rank, ranks))
            actual += list(rank_batches.epoch(1))[number][0].tolist()
    assert actual == consumed
