from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from accel import Trainer
from accel.cli.train_command import main
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders import load_all
from accel.data.loaders.device_batches import DeviceBatches
from accel.data.loaders.ring import Ring
from accel.data.loaders.thread_pool import ThreadPool as Pool
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.data.ranks.rank_share import RankShare
from accel.data.sampling import extent_permutation, permutation
from accel.errors import AccelWarning, ConfigError
from accel.plugins.extents import Extents
from accel.plugins.resident import Resident
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.testing import fit_toy
from tests.support.sample_datasets import Drawn, Filled, md5


@pytest.mark.parametrize("n", [1, 2, 7, 64, 65, 1000])
@pytest.mark.parametrize(("size", "window"), [(1, 1), (7, 3), (64, 4), (2000, 2)])
def test_every_sample_once_in_every_epoch(n: int, size: int, window: int) -> None:
    orders = [extent_permutation(n, 3, epoch, size, window) for epoch in range(3)]
    assert all(sorted(order.tolist()) == list(range(n)) for order in orders)
    assert torch.equal(orders[1], extent_permutation(n, 3, 1, size, window))
    if n > 60:
        assert len({tuple(order.tolist()) for order in [*orders, extent_permutation(n, 4, 0, size, window)]}) == 4


def test_it_stays_what_it_is_from_version_to_version() -> None:
    assert extent_permutation(12, 0, 0, 3, 2).tolist() == [10, 11, 9, 8, 3, 6, 5, 4, 2, 7, 0, 1]


def test_a_window_reads_from_few_places() -> None:
    n, size, window = 10_000, 20, 16
    order = extent_permutation(n, 3, 0, size, window)

    def places(part: Tensor) -> int:
        return 1 + int((part.sort().values.diff() >= size).sum())

    assert all(places(part) <= 2 * window + 1 for part in order.split(size * window)), "of one window, or of two after each other"
    assert places(permutation(n, 3, 0)[: size * window]) > 6 * window


def companions(order: Tensor, batch: int, near: int) -> float:
    """How many other samples of its batch a sample lies less than `near` from, on average."""
    actual = [((part[:, None] - part).abs() < near).sum() - len(part) for part in order.split(batch)]
    return float(sum(actual)) / len(order)


def test_how_random_it_is() -> None:
    n, size, window, batch = 20_000, 10, 100, 50
    plain = [permutation(n, 3, epoch) for epoch in range(4)]
    orders = [extent_permutation(n, 3, epoch, size, window) for epoch in range(4)]
    # by chance a batch holds 49 of 20,000; in a window of 1,000 each has 9 samples of its own extent among 999
    chance = sum(companions(order, batch, size) for order in plain) / 4
    expected = 49 * 9 / 999
    actual = sum(companions(order, batch, size) for order in orders) / 4
    assert 0.02 < chance < 0.08
    # of the neighbours nearer than `size` about as many lie in one's own extent as beside it
    assert 0.85 * expected < actual - chance < 1.25 * expected
    # how far a sample is from where it lies in the data: as far as by chance, a third of all on average
    far = [float((order - torch.arange(n)).abs().float().mean()) / n for order in orders]
    assert all(abs(distance - 1 / 3) < 0.05 for distance in far)
    # and those that were companions in one epoch are not in the next: the extents begin elsewhere, and meet others
    rank = torch.empty(n, dtype=torch.int64)
    rank[orders[0]] = torch.arange(n)
    again = companions(rank[orders[1]] // batch, batch, 1)
    assert again < 3 * expected


def test_who_reads_changes_nothing() -> None:
    part = Extents(size=3, window=2)
    plain = make_batches(Drawn(), 4, 3, True, order=part.permutation)
    expected = md5(plain.epoch(1))
    assert expected != md5(make_batches(Drawn(), 4, 3, True).epoch(1))
    workers = Processes([plain], 2, 2, 60.0)  # type: ignore[list-item]
    assert md5(workers.batches(0, 1, 2)) == expected[2:]
    workers.close()
    assert md5(pickle.loads(pickle.dumps(plain)).epoch(1)) == expected, "for workers that are spawned"
    with Ring(Drawn(), 4) as ring:
        ring.batches = plain  # type: ignore[assignment]
        assert md5(ring.epoch(1)) == expected


def test_ranks_share_its_order() -> None:
    """The extents of the run, and not of each rank: what they read together comes from one window, in that order."""
    part = Extents(size=3, window=2)
    order = part.permutation(23, 3, 1).tolist()
    both = [[keys.tolist() for keys in opened(part, rank).batches_of_indices(1)] for rank in (0, 1)]
    assert [key for turn in zip(*both, strict=True) for keys in turn for key in keys] == order
    for rank in (0, 1):
        plain, pool = opened(part, rank), Pool(2)
        expected = md5(plain.epoch(1))
        with Ring.from_batches(plain, pool, 2, False) as ring:
            assert md5(ring.epoch(1)) == expected
        workers = Processes([plain], 2, 2, 60.0)
        assert md5(workers.batches(0, 1, 1)) == expected[1:]
        workers.close()
        example, form = load_all.first_sample(Shown())
        actual, _, _ = load_all.load_samples(Shown(), example)
        shelf = DeviceBatches(actual, form, None, 4, 3, True, torch.device("cpu"), RankShare(rank, 2), order=part.permutation)
        shown = make_batches(Shown(), 4, 3, True, share=RankShare(rank, 2), order=part.permutation)
        assert md5(shelf.epoch(1)) == md5(shown.epoch(1))


def opened(part: Extents, rank: int) -> MapBatches:
    batches = make_batches(Filled(), 4, 3, True, share=RankShare(rank, 2), order=part.permutation)
    assert isinstance(batches, MapBatches)
    return batches


class Shown(Dataset[Any]):
    """The same in every epoch."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> Any:
        return torch.full((2, 3), float(index)), index % 2


class Slow(torch.utils.data.TensorDataset):
    """Not indexed at once."""


def test_it_is_part_of_what_the_run_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("accel.testing.toy_run.TensorDataset", Slow)

    def order() -> Extents:
        return Extents(size=2, window=3)

    whole: Any = fit_toy([order()])
    assert not whole.equals(fit_toy([]))
    for loader in (Threads(count=2), Workers(count=2), Resident()):
        assert whole.equals(fit_toy([order(), loader]))
    fit_toy([order()], stop=3, out=tmp_path / "run", checkpoint_every=1)
    for other, message in (([], "plugins.extents was on and is now off"), ([Extents(size=3, window=3)], "size was 2 and is now 3")):
        with pytest.raises(ConfigError, match=message):
            fit_toy(other, resume=tmp_path / "run")
    rest = fit_toy([order()], resume=tmp_path / "run")
    assert all(map(torch.equal, whole.weights, rest.weights))


def test_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(AccelWarning, match="extents has no effect on reading: one window holds all 22 samples"):
        run = fit_toy([Extents()]).spy.run
    assert run.plan.facts["order"] == "16,384 records are mixed: 256 extents of 64"
    assert main(["+plugins=[extents]", "plugins.extents.size=0"]) == 2
    assert "extents.size must be a whole number from 1, not 0" in capsys.readouterr().err


def test_it_has_nothing_to_order_where_the_data_comes_in_its_own_order() -> None:
    data = [(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)) for _ in range(2)]
    trainer = Trainer(
        nn.Linear(3, 2), data, loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        plugins=[Extents()], watch=(), epochs=1,
    )  # fmt: skip
    with pytest.warns(AccelWarning, match="extents has no effect: the data comes in its own order"):
        trainer.fit()
