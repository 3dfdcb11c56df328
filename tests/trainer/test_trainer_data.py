"""The Python interface: which data goes in, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from accel import Trainer
from accel.errors import AccelWarning
from accel.plugins.adamw import AdamW
from tests.support.stream_datasets import POINTS, Stream, fit, loss


class Rows:
    """A map-style data set that is no torch Dataset."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Tensor:
        return POINTS[index]


class Table(Rows):
    """A data set that can also be iterated, as those of Hugging Face can."""

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        return [self[index] for index in indices]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(POINTS)


@pytest.mark.parametrize(
    ("data", "updates"),
    [
        (TensorDataset(POINTS), 3),
        (Rows(), 3),
        (Table(), 3),
        (Stream(), 3),
        (list(POINTS.split(5)), 2),  # type: ignore[no-untyped-call]
        (DataLoader(POINTS, batch_size=2), 5),  # type: ignore[arg-type]
    ],
    ids=["TensorDataset", "map-style", "map-style that iterates", "iterable", "list of batches", "DataLoader"],
)
@pytest.mark.filterwarnings("ignore:data is a list")
@pytest.mark.filterwarnings("ignore:batch_size has no effect")
def test_data_of_every_kind(data: Any, updates: int) -> None:
    result = fit(data, batch_size=4, epochs=2)
    assert (result.updates, result.samples, result.epochs) == (2 * updates, 20, 2)


def test_ready_batches_pass_through_untouched() -> None:
    seen = []
    batches = [{"x": torch.ones(2, 2), "name": "a"}, {"x": torch.ones(1, 2), "name": "b"}]

    def look(model: nn.Module, batch: Any) -> Tensor:
        seen.append(batch)
        return model(batch["x"]).mean()

    Trainer(nn.Linear(2, 1), batches, loss=look, watch=()).fit()
    assert [batch is given for batch, given in zip(seen, batches, strict=True)] == [True, True]


def test_batch_size_without_effect_warns() -> None:
    with pytest.warns(AccelWarning, match="batch_size has no effect: the data comes in ready batches"):
        fit([POINTS], batch_size=4)


def test_an_iterable_is_told_the_epoch() -> None:
    Stream.epochs.clear()
    fit(Stream(), epochs=3)
    assert Stream.epochs == [0, 1, 2]


def test_a_subclass_does_the_same() -> None:
    class Mine(Trainer):
        def model(self) -> nn.Module:
            return nn.Linear(2, 1)

        def data(self, split: str) -> Any:
            return TensorDataset(POINTS)

        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            return loss(model, batch)

        def metrics(self, model: nn.Module, batch: Any) -> Any:
            return {"mean": model(batch[0]).mean(), "two": 2.0}

    def make() -> nn.Module:
        torch.manual_seed(5)
        return nn.Linear(2, 1)

    result = Mine(watch=(), seed=5, plugins=[AdamW()]).fit()
    other = Trainer(make(), TensorDataset(POINTS), loss=loss, watch=(), seed=5, plugins=[AdamW()]).fit()
    assert torch.equal(result.model.weight, other.model.weight)
    assert result.metrics["two"] == 2.0
    assert result.history == [{"epoch": 1, **result.metrics}]


def test_metrics_are_weighed_by_items() -> None:
    val = [(torch.ones(1, 2), 1), (torch.full((1, 2), 3.0), 3)]
    ready = DataLoader(val, batch_size=None)  # type: ignore[arg-type]
    result = Trainer(
        nn.Linear(2, 1), [POINTS], ready, loss, metrics=lambda model, batch: ({"value": batch[0].mean()}, batch[1]), watch=()
    ).fit()
    assert result.metrics == {"value": 2.5}


@pytest.mark.filterwarnings("ignore:data is a list")
def test_evaluation_leaves_mode_and_random_numbers_alone() -> None:
    modes = []

    def look(model: nn.Module, batch: Any) -> Tensor:
        modes.append(model.training)
        return loss(model, batch) + 0 * torch.rand(())

    def run(val: Any) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1)).eval()
        return Trainer(model, [POINTS], val, look, epochs=3, watch=()).fit().model[0].weight  # type: ignore[index,return-value]

    assert torch.equal(run(None), run([POINTS, POINTS]))
    assert set(modes) == {True, False}


def test_plugins_by_name() -> None:
    assert torch.equal(fit([POINTS], plugins=["adamw"]).model.weight, fit([POINTS], plugins=[AdamW()]).model.weight)
