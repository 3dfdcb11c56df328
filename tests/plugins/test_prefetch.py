from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from accel import Trainer
from accel.errors import AccelWarning
from accel.plugins.lr_range import LRRange
from accel.plugins.prefetch import Prefetch
from accel.system.clock import DATA
from accel.testing import fit_toy
from accel.testing.toy_run import Spy, Stop
from tests.invariants.test_resume import LOADERS, SOME
from tests.support.drill_length import LONG
from tests.support.own_loaders import own_loader
from tests.support.sample_datasets import Global, readers, unfinished_readers
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Any:
    assert unfinished_readers() == []
    yield
    assert unfinished_readers() == []


@pytest.mark.parametrize("loader", LOADERS if LONG else SOME)
@pytest.mark.filterwarnings("ignore:prefetch has no effect")
@pytest.mark.slow
def test_the_users_own_loader_goes_on_where_it_was(loader: str, tmp_path: Any) -> None:
    """With batches read ahead of the update that is saved, up to the end of an epoch and past the last draw of its sampler."""

    def train(plugins: list[Any], out: Any = None, resume: Any = None) -> Any:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        with own_loader(LOADERS[loader]) as data:
            return Trainer(
                model, data, loss=lambda model, x: model(x[0] if isinstance(x, list) else x).square().mean(),
                plugins=plugins, watch=(), epochs=3, batch_size=4 if loader in ("draws", "stream") else None, seed=1, out=out,
                resume=resume, checkpoint_every=1 if out else None,
            ).fit()  # fmt: skip

    plain = train([])
    others = {0: train([Prefetch(depth=4)])}
    for stop in (2, 6):
        out = tmp_path / str(stop)
        with pytest.raises(Stop):
            train([Prefetch(depth=4), Slowly(stop=stop)], out=out)
        others[stop] = train([Prefetch(depth=4)], resume=out)
    for stop, other in others.items():
        assert all(map(torch.equal, plain.model.state_dict().values(), other.model.state_dict().values())), stop


class Slowly(Spy):
    """A watch that waits until the thread has read as far ahead as it may, before anything is saved."""

    def after(self, step: int, loss: Tensor) -> None:
        wait_until(lambda: all(thread.queue.qsize() == 4 for thread in readers()), "four batches that are read ahead")
        super().after(step, loss)


def test_a_trial_ends_its_thread_before_it_puts_anything_back() -> None:
    assert fit_toy([LRRange(updates=12), Prefetch()]).equals(fit_toy([]))


def test_no_thread_is_left_after_an_error_that_is_still_held() -> None:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        raise KeyError("in the loss")

    data = [torch.zeros(2, 3) for _ in range(9)]
    with pytest.raises(KeyError) as raised:
        Trainer(nn.Linear(3, 1), data, loss=loss, plugins=[Prefetch()], watch=()).fit()
    assert raised.tb is not None
    assert unfinished_readers() == []


def test_data_that_draws_as_the_training_does_is_read_in_its_turn() -> None:
    with pytest.warns(AccelWarning, match=r"prefetch has no effect: the data draws from the global random numbers"):
        Trainer(nn.Linear(3, 1), Global(), loss=lambda m, b: m(b[0]).mean(), plugins=[Prefetch()], watch=(), batch_size=4).fit()


class Told(Dataset[Tensor]):
    """Tells which thread read each sample."""

    def __init__(self) -> None:
        self.by: list[bool] = []

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Tensor:
        self.by.append(threading.current_thread() is threading.main_thread())
        return torch.full((3,), float(index))


def test_evaluation_is_read_ahead_and_comes_to_the_same() -> None:
    def fit(plugins: list[Any]) -> tuple[Any, Told]:
        torch.manual_seed(0)
        held_out = Told()
        return Trainer(
            nn.Linear(3, 1), Told(), held_out, lambda m, x: m(x).mean(), plugins=plugins, watch=(), batch_size=2, epochs=2
        ).fit(), held_out

    (plain, here), (ahead, there) = fit([]), fit([Prefetch(depth=3)])
    assert plain.history == ahead.history
    assert all(here.by)
    assert sum(there.by) == 2 * 3, "the first batch of each evaluation, and of its trial"


def test_metrics_that_fail_end_the_thread_at_once() -> None:
    left: list[list[threading.Thread]] = []

    class After(Prefetch):
        def close(self) -> None:
            left.append(unfinished_readers())
            super().close()

    def metrics(model: nn.Module, batch: Any) -> Any:
        raise KeyError("in the metrics")

    with pytest.raises(KeyError) as raised:
        Trainer(
            nn.Linear(3, 1), Told(), Told(), lambda m, x: m(x).mean(), metrics, plugins=[After(depth=1)], watch=(), batch_size=2
        ).fit()
    assert raised.tb is not None
    assert left == [[]]


class Timed(Dataset[Tensor]):
    """Reading a sample takes a second of whoever reads it; only the time of the training is told by this clock."""

    now = 0.0

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Tensor:
        if threading.current_thread() is threading.main_thread():
            Timed.now += 1
        return torch.ones(3)


def test_what_is_waited_for_counts_as_data_and_what_is_read_meanwhile_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.system.clock.perf_counter", lambda: Timed.now)
    monkeypatch.setattr("accel.engine.training_run.perf_counter", lambda: Timed.now)

    def booked(plugins: list[Any]) -> float:
        spy = Spy()
        data = DataLoader(Timed(), batch_size=2)
        Trainer(nn.Linear(3, 1), data, loss=lambda m, x: m(x).mean(), plugins=[*plugins, spy], watch=()).fit()
        return float(spy.run.clock.spent[DATA])

    assert booked([]) == 20
    assert booked([Prefetch()]) == 2, "the first batch"
