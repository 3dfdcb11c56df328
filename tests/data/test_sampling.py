"""Order and randomness are pure functions: of (seed, epoch), and of (seed, epoch, index)."""

from __future__ import annotations

from collections import UserDict
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from accel.data import sampling
from accel.data.batches.counted import count_samples
from accel.data.batches.make_batches import make_batches
from accel.data.sampling import batch_rng, generator_seed, permutation, reused_rng, sample_rng


def test_a_permutation_holds_every_sample_once() -> None:
    assert sorted(permutation(1000, 7, 3).tolist()) == list(range(1000))


def test_it_is_a_function_of_seed_and_epoch_and_differs_in_each() -> None:
    orders = {(seed, epoch): tuple(permutation(50, seed, epoch).tolist()) for seed, epoch in product(range(5), range(5))}
    assert len(set(orders.values())) == 25
    torch.manual_seed(99)
    assert tuple(permutation(50, 3, 2).tolist()) == orders[3, 2]


def test_it_stays_what_it_is_from_version_to_version() -> None:
    # a resumed run must find the order it began with: change this only with a new version of the checkpoints
    assert permutation(8, 0, 0).tolist() == [3, 2, 5, 1, 7, 4, 6, 0]
    assert sample_rng(1, 2, 3).integers(0, 1000, 4).tolist() == [271, 881, 807, 761]
    assert batch_rng(1, 2, 3).integers(0, 1000, 4).tolist() == [991, 569, 415, 241]


def test_a_samples_numbers_are_its_own() -> None:
    draws = {key: tuple(sample_rng(*key).random(4)) for key in product(range(3), range(3), range(20))}
    assert len(set(draws.values())) == len(draws)
    assert tuple(sample_rng(1, 2, 3).random(4)) == draws[1, 2, 3]


def test_a_batchs_numbers_are_those_of_no_sample() -> None:
    draws = {tuple(draw(1, 2, number).random(4)) for draw in (batch_rng, sample_rng) for number in range(20)}
    assert len(draws) == 40


def test_neither_touches_the_global_generators() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    permutation(100, 1, 1)
    list(make_batches(TensorDataset(torch.arange(10)), 3, 0, shuffle=True).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


class Noisy(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 10

    def sample(self, index: int, rng: np.random.Generator) -> tuple[int, float]:
        return index, rng.random()


def test_a_drawing_data_set_gives_each_sample_the_same_numbers_in_any_batch() -> None:
    def drawn(batch_size: int, start: int = 0) -> dict[int, float]:
        pairs: dict[int, float] = {}
        for index, number in make_batches(Noisy(), batch_size, 5, shuffle=True).epoch(2, start):
            pairs |= dict(zip(index.tolist(), number.tolist(), strict=True))
        return pairs

    assert drawn(3) == drawn(4)
    assert len(drawn(3)) == 10
    assert drawn(3, start=2).items() <= drawn(3).items(), "an epoch entered in the middle goes on as it would have"
    assert len(drawn(3, start=2)) == 4


def test_indexing_tensors_at_once_gives_what_collating_samples_does() -> None:
    data = TensorDataset(torch.randn(10, 3), torch.arange(10))

    class Slow(TensorDataset):
        pass

    for fast, slow in zip(
        make_batches(data, 4, 1, True).epoch(0), make_batches(Slow(*data.tensors), 4, 1, True).epoch(0), strict=True
    ):
        assert all(torch.equal(a, b) for a, b in zip(fast, slow, strict=True))


def test_items_are_counted_in_batches_of_any_shape() -> None:
    x = torch.zeros(5, 2)
    batches = (x, (x, x[:3]), {"a": "text", "b": [x]}, UserDict(a=x), np.zeros((4, 1)), "text", torch.zeros(()))
    assert [count_samples(batch) for batch in batches] == [5, 5, 5, 5, 4, 1, 1]


def test_a_borrowed_generator_is_the_samples_own() -> None:
    for seed, epoch, index in ((0, 0, 0), (2**40, 7, 2**62), (3, 1, 5)):
        lent, own = reused_rng(seed, epoch, index), sample_rng(seed, epoch, index)
        lent.integers(7)  # leaves half a word behind, which the next one must not find
        assert lent.random() == (own.integers(7), own.random())[1]
        assert reused_rng(seed, epoch, index).integers(100) == sample_rng(seed, epoch, index).integers(100)


def test_seeds_of_generators_are_a_splitmix64_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    # the numbers that the reference implementation gives for the seed 1234567 (Vigna, prng.di.unimi.it/splitmix64.c)
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    monkeypatch.setattr(sampling, "_epoch_seed", lambda seed, epoch: 1234567)
    assert [generator_seed(0, 0, 0, number) for number in range(5)] == wanted
    assert generator_seed(0, 0, 1, 0) not in wanted
    # sample 1 begins where the 1,024 generators of sample 0 end
    assert len({generator_seed(0, 0, index, number) for index in range(3) for number in (0, 1, 1023)}) == 9
