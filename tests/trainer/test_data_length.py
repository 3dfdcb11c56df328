"""Data that is longer or shorter than its len(), or that changes: said once, with numbers."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from accel import Trainer
from accel.engine.checks.data_length import length_warning
from accel.errors import AccelWarning
from accel.parts import Schedule
from accel.plugins import Accumulate, OneCycle
from accel.plugins.cosine import Cosine

X = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


def fit(data: Any, plugins: Any = (), **settings: Any) -> tuple[Any, list[str]]:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        return model(batch).square().mean()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = Trainer(
            nn.Linear(2, 1), data, loss=loss, plugins=plugins, **{"watch": (), "epochs": 3, "batch_size": 8} | settings
        ).fit()
    return result, [str(warning.message) for warning in seen if issubclass(warning.category, AccelWarning)]


class Lying(IterableDataset[Any]):
    """A stream of `samples` samples that says it has 32, and changes by `growth` an epoch."""

    def __init__(self, samples: int, growth: int = 0) -> None:
        self.samples, self.growth, self.epoch = samples, growth, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 32

    def __iter__(self) -> Any:
        return iter(X[: self.samples + self.epoch * self.growth])


class Batches:
    """Ready batches that are as many as `counts` has, epoch after epoch, and say that they are 4."""

    def __init__(self, *counts: int) -> None:
        self.counts, self.epoch = counts, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        return iter(X.split(8)[: self.counts[self.epoch]])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("data", "settings", "sentence"),
    [
        (
            lambda: Lying(16),
            {},
            "epoch 1 had 2 batches, and the data's len() gives 4; the run makes about 6 updates so, and 12 are",
        ),
        (lambda: Lying(48), {}, "epoch 1 had 6 batches, and the data's len() gives 4; the run makes about 18 updates so"),
        (lambda: Lying(32, 16), {}, "epoch 2 had 6 batches, and the data's len() gives 4; the run makes about 16 updates so"),
        (lambda: Batches(4, 3, 4), {"batch_size": None}, "epoch 2 had 3 batches, and the data's len() gives 4"),
        (lambda: Batches(5, 3, 4), {"batch_size": None}, "epoch 1 had 5 batches, and the data's len() gives 4"),
    ],
    ids=["short", "long", "growing", "one short epoch", "one long epoch"],
)
def test_it_is_said_once_with_numbers(data: Any, settings: Any, sentence: str) -> None:
    for plugins in ([], [Accumulate(2)]):
        result, messages = fit(data(), plugins, **settings)
        assert len(messages) == 1
        assert messages[0].startswith(sentence.partition(";")[0])
        assert messages[0].startswith(sentence) or plugins
        assert messages[0].endswith("; mend __len__")
        assert result.epochs == 3


def test_a_schedule_is_named() -> None:
    assert "the learning rate ends before its curve does" in fit(Lying(16), [OneCycle(max_lr=0.1)])[1][0]
    assert "the learning rate goes on after its curve has ended" in fit(Lying(48), [OneCycle(max_lr=0.1)])[1][0]


def test_honest_data_is_not_blamed(tmp_path: Any) -> None:
    for data in (Lying(32), X, DataLoader(X, 8, drop_last=True), Batches(4, 4, 4)):  # type: ignore[arg-type]
        ready = isinstance(data, DataLoader | Batches)
        assert fit(data, batch_size=None if ready else 8)[1] == []
        assert fit(data, batch_size=None if ready else 8, dry_run=True)[1] == []
    out = tmp_path / "run"
    assert fit(Batches(4, 4, 4), batch_size=None, epochs=1, out=out)[1] == []
    assert fit(Batches(4, 4, 4), batch_size=None, resume=out)[1] == []


class Growing(Dataset[Any]):
    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 32 + self.reads // 20

    def __getitem__(self, index: int) -> Tensor:
        self.reads += 1
        return X[index]


def test_a_data_set_that_grows() -> None:
    result, messages = fit(Growing())
    assert result.samples == 96
    assert messages == ["the data had 32 samples when it was opened, and has 33 after epoch 1; epochs keep to the first 32"]


def test_a_data_set_that_says_too_much() -> None:
    class Short(Dataset[Any]):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Tensor:
            return list(X[:32])[index]

    with pytest.raises(IndexError) as raised:
        fit(Short())
    assert any("of the train data, whose len() is 40" in note for note in raised.value.__notes__)


@pytest.mark.parametrize(
    ("batches", "cosine", "end"),
    [
        (3, True, ": the learning rate ends before its curve does"),
        (5, True, ": the learning rate goes on after its curve has ended"),
        (3, False, ""),
        (5, False, ""),
    ],
)
def test_a_curve_that_does_not_fit_is_named_where_there_is_one(batches: int, cosine: bool, end: str) -> None:
    run: Any = SimpleNamespace(
        progress=SimpleNamespace(batch=batches, step=batches), batches=4, train=None, epochs=2, updates=8,
        parts=SimpleNamespace(group=SimpleNamespace(size=1), schedule=Cosine() if cosine else Schedule()),
    )  # fmt: skip
    planned = f"; the run makes about {2 * batches} updates so, and 8 are planned"
    assert length_warning(run, 0) == (f"epoch 1 had {batches} batches, and the data's len() gives 4{planned}{end}; mend __len__")
