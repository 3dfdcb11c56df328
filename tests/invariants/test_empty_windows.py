"""What has no items moves nothing: a micro-batch adds nothing to its window, and a window of none is an update that is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Part, Update
from accel.plugins import EMA, OOM, SGD, Accumulate, AdamW, Cosine, FiniteGuard, StepInBackward
from accel.report.result import Result
from accel.testing import HostReads
from accel.testing.graph_replay import taped_graph
from tests.support.random_tasks import OnDevice
from tests.support.spoilt_updates import BESIDE, OPTIMISERS

SIZES = (4, 3, 5, 2, 4, 4, 3)
X = torch.randn(sum(SIZES), 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(len(X)) % 3
COUNTS: dict[str, Callable[[Tensor], Any]] = {
    "int": int,
    "float": float,
    "numpy": lambda number: np.int32(int(number)),
    "tensor": lambda number: number,
    "uint8": lambda number: number.to(torch.uint8),
    "float16": lambda number: number.half(),
    "bfloat16": lambda number: number.bfloat16(),
    "device": lambda number: number.as_subclass(OnDevice),
    "bfloat16 on the device": lambda number: number.bfloat16().as_subclass(OnDevice),
}


def batches(empty: tuple[int, ...] = (), without: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Ready batches, of which those in `empty` have no labels, or are left out."""
    pairs = list(zip(X.split(SIZES), Y.split(SIZES), strict=True))
    pairs = [(x, torch.full_like(y, -1) if number in empty else y) for number, (x, y) in enumerate(pairs)]
    return [pair for number, pair in enumerate(pairs) if not (without and number in empty)]


class Labelled(Trainer):
    """A mean over the labels that are not -1: NaN, with gradients of NaN, where there are none."""

    def __init__(self, count: str = "int", rows: Any = None, **run: Any) -> None:
        super().__init__(device="cpu", watch=(), **run)
        self.count, self.rows = COUNTS[count], batches() if rows is None else rows

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))

    def data(self, split: str) -> Any:
        return self.rows if split == "train" else None

    def loss(self, model: nn.Module, batch: Any) -> Any:
        x, y = batch
        loss = F.cross_entropy(model(x).float(), y, ignore_index=-1)
        return loss, self.count((y >= 0).sum()), {"mean": loss.detach()}


def fit(*plugins: Part, **settings: Any) -> Result:
    return Labelled(plugins=list(plugins), seed=3, **settings).fit()


def weights(result: Result) -> list[Tensor]:
    return [param.detach() for param in result.model.parameters()]


def same(one: Result, other: Result) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


GUARDED: dict[str, Callable[[], list[Part]]] = {**BESIDE, "finite_guard": lambda: [FiniteGuard(in_a_row=1)]}
GUARDED.pop("accumulate")
RUNS = [*((name, "alone") for name in OPTIMISERS), *(("adamw", name) for name in GUARDED), ("sgd", "float16"), ("lamb", "float16")]


@pytest.mark.parametrize("count", ["int", "device"])
@pytest.mark.parametrize(("optim", "beside"), RUNS)
def test_an_update_without_items_is_as_if_it_were_not_there(optim: str, beside: str, count: str) -> None:
    empty = (0, 3, 4)  # the very first, and two in a row
    some = fit(OPTIMISERS[optim](), *GUARDED[beside](), count=count, rows=batches(empty), epochs=2)
    less = fit(OPTIMISERS[optim](), *GUARDED[beside](), count=count, rows=batches(empty, without=True), epochs=2)
    assert same(some, less)
    assert (some.updates, some.skipped, some.empty) == (14, 6, 6)
    assert less.skipped == 0
    assert "6 updates had no items (n_items=0), and moved nothing" in some.remarks
    assert np.isfinite(some.loss)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("empty", [(0,), (1, 3), (6,)], ids=str)
def test_a_micro_batch_without_items_adds_nothing_to_its_window(count: str, empty: tuple[int, ...]) -> None:
    window = fit(SGD(lr=0.1), Accumulate(steps=len(SIZES)), count=count, rows=batches(empty))
    kept = batches(empty, without=True)
    big = fit(SGD(lr=0.1), rows=[(torch.cat([x for x, _ in kept]), torch.cat([y for _, y in kept]))])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(window), weights(big), strict=True))
    assert window.loss == pytest.approx(big.loss, abs=1e-6)
    assert window.skipped == 0


def test_schedules_and_averages_count_it_as_any_update_that_is_skipped() -> None:
    rates, seen = [], []

    class Look(SGD):
        def step(self, grads: Any) -> None:
            rates.append(self.optimizer.param_groups[0]["lr"])
            super().step(grads)

    class Count(EMA):
        def update(self, grads: Any) -> None:
            super().update(grads)
            seen.append(self.step)

    fit(Look(), Cosine(), Count(), rows=batches((1, 2)))
    expected, rates = rates, []
    fit(Look(), Cosine(), Count())
    assert rates == expected
    assert seen == [1, 2, 3, 4, 5, 6, 7] * 2


UPDATES: dict[str, Callable[[], list[Part]]] = {
    "step_in_backward": lambda: [AdamW(), StepInBackward()],
    "step_in_backward, not fused": lambda: [AdamW(fused=False), StepInBackward()],
    "oom": lambda: [AdamW(), OOM()],
    "cuda_graph": lambda: [AdamW(), taped_graph(warmup=1)],
}


@pytest.mark.parametrize("count", ["int", "device"])
@pytest.mark.parametrize("name", UPDATES)
def test_every_kind_of_update_keeps_the_rule(name: str, count: str) -> None:
    if (name, count) == ("cuda_graph", "int"):
        return  # a replay renews no number of the host
    empty = (0, 3)
    some = fit(*UPDATES[name](), count=count, rows=batches(empty), epochs=3)
    less = fit(*UPDATES[name](), count=count, rows=batches(empty, without=True), epochs=3)
    assert same(some, less)
    assert some.skipped == 6


def test_a_batch_of_no_samples_weighs_nothing_either() -> None:
    def trainer(steps: int, rows: Any) -> Trainer:
        torch.manual_seed(0)
        return Trainer(
            nn.Linear(6, 3), rows, loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], ignore_index=-1), watch=(),
            plugins=[SGD(), *[Accumulate(steps=steps)][: steps > 1]], count_samples=lambda batch: int((batch[1] >= 0).sum()),
        )  # fmt: skip

    for steps in (1, 2):
        rows = batches((0, 1, 3)) if steps == 1 else [*batches((0, 1))[:2], *batches()[2:]]
        less = [pair for pair in rows if (pair[1] >= 0).any()]
        assert same(trainer(steps, rows).fit(), trainer(steps, less).fit())


@pytest.mark.parametrize("count", ["int", "device"])
def test_a_run_of_nothing_else_says_so(count: str) -> None:
    with pytest.warns(AccelWarning, match="no update moved the weights, for the loss returned n_items=0 in each"):
        result = fit(AdamW(), count=count, rows=batches(tuple(range(len(SIZES)))))
    assert result.skipped == len(SIZES)
    assert result.finite


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    fit(AdamW(), count="device", rows=batches((0, 3)), out=tmp_path / "run")
    result = fit(AdamW(), count="device", rows=batches((0, 3)), epochs=2, resume=tmp_path / "run")
    assert (result.updates, result.skipped) == (14, 4)


BAD = {
    "negative bfloat16": torch.tensor(-1.0, dtype=torch.bfloat16),
    "nan bfloat16": torch.tensor(torch.nan, dtype=torch.bfloat16),
    "negative float16": torch.tensor(-1.0, dtype=torch.float16),
    "infinite float16": torch.tensor(torch.inf, dtype=torch.float16),
}
LATE = {
    "negative": torch.tensor(-3),
    "nan": torch.tensor(torch.nan),
    "infinite": torch.tensor(torch.inf, dtype=torch.float64),
    "too many": torch.tensor(2.0**53),
    "negative bfloat16": torch.tensor(-1.0, dtype=torch.bfloat16),
}


def one_bad(number: Tensor, window: int, **settings: Any) -> Iterator[Trainer]:
    """A run whose third micro-batch says a wrong number of items, and keeps its model."""

    class Wrong(Labelled):
        calls = 0

        def model(self) -> nn.Module:
            self.kept = super().model()
            return self.kept

        def loss(self, model: nn.Module, batch: Any) -> Any:
            self.calls += 1
            loss, _, _ = super().loss(model, batch)
            return loss, number if self.calls == 3 else torch.tensor(4).as_subclass(type(number))

    yield Wrong(plugins=[SGD(), *[Accumulate(steps=window)][: window > 1]], seed=3, **settings)


@pytest.mark.parametrize("number", BAD.values(), ids=list(BAD))
def test_a_wrong_number_on_the_cpu_is_refused_at_once(number: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"n_items=(-1|nan|inf), which must be a number from 0 on"):
        next(one_bad(number, 1)).fit()


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("number", LATE.values(), ids=list(LATE))
def test_a_wrong_number_on_the_device_ends_the_run_and_moves_nothing(number: Tensor, window: int) -> None:
    trainer: Any = next(one_bad(number.as_subclass(OnDevice), window))
    with pytest.raises(TrainingError, match=r"n_items that is no number from 0 on, .* in update [23] or before"):
        trainer.fit()
    assert all(bool(param.isfinite().all()) for param in trainer.kept.parameters())


@pytest.mark.parametrize("number", LATE.values(), ids=list(LATE))
def test_a_wrong_number_of_an_evaluation_is_refused(number: Tensor) -> None:
    with pytest.raises(ConfigError, match="returned an n_items that is no number from 0 on"):
        Trainer(
            nn.Linear(6, 3), batches(), val=batches(), loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
            metrics=lambda model, batch: ({"zero": 0.0}, number.as_subclass(OnDevice)), watch=(),
        ).fit()  # fmt: skip


def test_nothing_waits_for_numbers_of_the_device() -> None:
    reads = HostReads()

    class Counted(Update):
        def __call__(self, window: Any) -> Tensor:
            with reads:
                return super().__call__(window)

    fit(AdamW(), Accumulate(steps=2), FiniteGuard(), EMA(), Counted(), count="device", rows=batches((2, 3)))
    assert reads.count == 0, reads.places
