from typing import Any

import torch
from torch import Tensor, nn

from accel.compress.distillation.output_cache import OutputCache, row_digests


class Asked:
    """A teacher that counts how often it is asked."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.count = model, 0

    def __call__(self, inputs: tuple[Any, ...]) -> list[Any]:
        self.count += 1
        with torch.no_grad():
            return [self.model(*inputs)]


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def shuffled_epochs(cache: OutputCache, asked: Asked, data: Tensor, epochs: int) -> list[Tensor]:
    outputs = []
    for epoch in range(epochs):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(epoch))
        outputs += [cache((data[rows],), asked)[0] for rows in order.split(8)]
    return outputs


def test_what_comes_again_is_taken_from_memory_with_the_same_bits() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5)).eval()
    data, asked, cache = pictures(40), Asked(net), OutputCache(1e6, 40)
    kept = shuffled_epochs(cache, asked, data, 3)
    assert cache.hits == 80
    assert asked.count == 5 + 2, "5 batches, and the first one twice more"
    plain = Asked(net)
    assert all(map(torch.equal, kept, shuffled_epochs(OutputCache(0, 40), plain, data, 3)))
    assert "80 of 120" in cache.note()


class AcrossTheBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) - x.flatten(1).mean(0)


class SumOfAll(nn.Module):
    """What a sample gives is the same in every order of the batch, but not beside others."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2] + x.max()


def test_an_answer_that_depends_on_the_batch_is_never_kept() -> None:
    for model in (AcrossTheBatch(), SumOfAll()):
        cache = OutputCache(1e6, 16)
        shuffled_epochs(cache, Asked(model), pictures(16), 2)
        assert not cache.rows
        assert cache.hits == 0
        assert "depends on the batch" in cache.note()


def test_memory_is_bounded_and_given_up_where_nothing_comes_twice() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    small = OutputCache(3000, None)
    shuffled_epochs(small, Asked(net), pictures(64), 2)
    assert small.bytes < 3000 + 8 * (250 + 5 * 4)
    assert small.hits == 0
    random = OutputCache(1e6, 16)
    for seed in range(4):
        shuffled_epochs(random, Asked(net), pictures(16, seed), 1)
    assert not random.rows
    assert "augmentation is random" in random.note()


def test_a_short_batch_is_computed() -> None:
    asked, cache = Asked(nn.Flatten()), OutputCache(1e6, 12)
    shuffled_epochs(cache, asked, pictures(12), 3)
    assert cache.asked == 3 * 8, "that of 4 is not looked up"
    assert asked.count >= 3 + 1 + 2


def test_digests_are_of_content_and_shape() -> None:
    data = pictures(3)
    first = row_digests((data,), 3)
    assert len(set(first)) == 3
    assert row_digests((data[[2, 0, 1]],), 3) == [first[2], first[0], first[1]]
    assert row_digests((data.contiguous(memory_format=torch.channels_last),), 3) == first
    assert set(row_digests((data.flatten(2),), 3)).isdisjoint(first)
    assert set(row_digests((data, True), 3)).isdisjoint(first)
