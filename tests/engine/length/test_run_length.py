"""A run is as long as it is told: in epochs and fractions of them, updates, samples, tokens or seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import accel
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part, Watch
from accel.plugins import Accumulate, AdamW, Cosine, Prefetch, Threads, Workers
from accel.testing import fit_toy
from accel.trainer import Trainer

X = torch.arange(22.0)[:, None]
PER_EPOCH = 6  # of the toy: 22 samples in batches of 4


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(X)


class Read(Dataset[Tensor]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Tensor:
        return X[index]


class Tokens(TensorDataset):
    tokens_per_sample = 10


def loss(model: nn.Module, batch: Any) -> Tensor:
    x = batch[0] if isinstance(batch, list | tuple) else batch
    out: Tensor = model(x).square().mean()
    return out


def fit(data: Any = None, **settings: Any) -> Any:
    settings = {"watch": (), "device": "cpu", **settings}
    if data is None or isinstance(data, TensorDataset | Stream):
        settings["batch_size"] = 4
    return Trainer(nn.Linear(1, 1), TensorDataset(X) if data is None else data, loss=loss, **settings).fit()


@pytest.mark.parametrize(
    ("settings", "updates", "samples"),
    [
        ({}, 6, 22), ({"epochs": 2}, 12, 44), ({"epochs": 2.0}, 12, 44), ({"epochs": 0.5}, 3, 12), ({"epochs": 1.5}, 9, 34),
        ({"epochs": 0.01}, 1, 4), ({"updates": 1}, 1, 4), ({"updates": 6}, 6, 22), ({"updates": 7}, 7, 26),
        ({"updates": 12}, 12, 44),
        ({"updates": 5, "epochs": 2}, 5, 20),
        ({"updates": 50, "epochs": 2}, 12, 44), ({"updates": 9, "epochs": 1.5}, 9, 34),
        ({"max_samples": 1}, 1, 4), ({"max_samples": 22}, 6, 22), ({"max_samples": 23}, 7, 26), ({"max_samples": 44}, 12, 44),
        ({"max_samples": 60, "epochs": 2}, 12, 44), ({"max_samples": 12, "updates": 9}, 3, 12),
        ({"max_seconds": 1e9, "epochs": 2}, 12, 44), ({"max_seconds": 1e-9}, 1, 4), ({"max_seconds": 1e-9, "epochs": 1}, 1, 4),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["data set", "loader", "stream", "generator function"])
def test_a_run_ends_where_it_is_told(settings: dict[str, Any], updates: int, samples: int, kind: str) -> None:
    def batches() -> Iterator[Tensor]:
        yield from X.split(4)

    class Batches:
        __iter__ = staticmethod(batches)

    data = {"data set": None, "loader": DataLoader(TensorDataset(X), 4), "stream": Stream(), "generator function": Batches()}[kind]
    if data is not None and not hasattr(data, "__len__") and settings.get("epochs", 1) % 1:
        with pytest.raises(ConfigError, match="needs the length of the data"):
            fit(data, **settings)
        return
    result = fit(data, **settings)
    assert (result.updates, result.samples) == (updates, samples)
    ends_within = (
        kind in ("stream", "generator function") and {"updates", "max_samples"} & set(settings) and "epochs" not in settings
    )
    assert result.epochs == (updates - bool(ends_within)) // PER_EPOCH, "whether a stream has more is asked later"


@pytest.mark.parametrize("plugins", [[Accumulate(4)], [Threads(2)], [Workers(1)], [Prefetch()]], ids=lambda each: each[0].name)
def test_the_length_counts_updates_whoever_reads(plugins: list[Part]) -> None:
    result = fit(Read(), plugins=plugins, updates=3, batch_size=4)
    assert result.updates == 3
    assert result.samples == (38 if plugins[0].name == "accumulate" else 12)


def test_tokens_are_samples_of_so_many() -> None:
    assert fit(Tokens(X), max_tokens=81).samples == 12
    for data in (TensorDataset(X), DataLoader(TensorDataset(X), 4)):
        with pytest.raises(ConfigError, match="tokens_per_sample"):
            fit(data, max_tokens=80)


def test_the_text_task_counts_tokens(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"to be or not to be " * 40)
    words = ["task=text", f"task.path={tmp_path / 'text.txt'}", "task.context=16", "task.layers=1", "task.width=16", "task.heads=1"]
    result = accel.compose([*words, "batch_size=2", "max_tokens=96", "~plugins.progress", f"out={tmp_path / 'run'}"]).fit()
    assert (result.updates, result.samples) == (3, 6)
    assert json.loads((tmp_path / "run/plan.json").read_text())["facts"]["max_tokens"] == "96, which are 6 samples"


@pytest.mark.parametrize(("before", "after"), [({"updates": 3}, {"updates": 9}), ({"epochs": 0.5}, {"epochs": 1.5}), (
    {"updates": 6}, {"updates": 7}), ({"max_samples": 12}, {"max_samples": 36}), ({"updates": 2}, {"epochs": 2})])  # fmt: skip
@pytest.mark.parametrize("plugins", [[], ["adamw", "ema"], [Accumulate(2)]], ids=["plain", "adamw", "accumulate"])
def test_more_after_a_resume_is_the_longer_run(
    before: dict[str, Any], after: dict[str, Any], plugins: list[Part | str], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"epochs": None, "dropout": 0.5}
    whole = fit_toy(plugins, **{**settings, **after})
    fit_toy(plugins, out=tmp_path, **{**settings, **before})
    rest = fit_toy(plugins, resume=tmp_path, **{**settings, **after})
    assert all(torch.equal(one, other) for one, other in zip(whole.weights, rest.weights, strict=True))
    assert whole.metrics == rest.metrics


def test_a_run_that_is_long_enough_trains_no_more(tmp_path: Path) -> None:
    first = fit(updates=7, out=tmp_path)
    with pytest.warns(AccelWarning, match="7 updates are done already, so a run of 5 trains no more"):
        again = fit(updates=5, resume=tmp_path)
    assert again.updates == first.updates
    assert torch.equal(again.model.weight, first.model.weight)


def test_schedules_end_where_the_run_does() -> None:
    rates: list[float] = []

    class Rates(Watch):
        def begin(self, run: Any) -> None:
            self.lr = run.parts.schedule.lr

        def after(self, step: int, loss: Tensor) -> None:
            rates.append(self.lr(step - 1))

    fit(updates=9, plugins=[Cosine(warmup=0), AdamW(), Rates()])
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == 0.0
    assert len(rates) == 9
    fit(Stream(), updates=9, plugins=[Cosine(warmup=0), Rates()])
    assert rates[-1] == 0.0
    with pytest.raises(ConfigError, match="cosine needs the number of updates, which neither max_seconds nor"):
        fit(max_seconds=1, plugins=[Cosine()])


@pytest.mark.parametrize(("words", "epochs", "updates"), [
    ([], 20, None), (["updates=7"], None, 7), (["updates=7", "epochs=3"], 3, 7), (["epochs=0.5"], 0.5, None),
    (["+experiment=quick", "updates=7"], 8, 7),
])  # fmt: skip
def test_the_command_line_s_epochs_give_way(words: list[str], epochs: float | None, updates: int | None) -> None:
    settings = accel.compose(words).settings
    assert (settings.epochs, settings.updates) == (epochs, updates)


def test_a_watch_can_stop_the_run(tmp_path: Path) -> None:
    class Enough(Watch):
        def begin(self, run: Any) -> None:
            self.run = run

        def after(self, step: int, loss: Tensor) -> None:
            if step == 4:
                self.run.stop("the watch has seen enough")

    result = fit(plugins=[Enough()], epochs=3, val=TensorDataset(X), out=tmp_path)
    assert (result.updates, result.stopped) == (4, "the watch has seen enough")
    assert result.history == [{"epoch": 0.6667, "update": 4, **result.metrics}]
    assert json.loads((tmp_path / "summary.json").read_text())["stopped"] == "the watch has seen enough"
    with pytest.warns(AccelWarning, match="has ended early"):
        again = fit(epochs=3, val=TensorDataset(X), resume=tmp_path)
    assert (again.updates, again.stopped, again.history) == (4, "the watch has seen enough", result.history)


def test_seconds_before_a_resume_count(tmp_path: Path) -> None:
    fit(updates=3, out=tmp_path, max_seconds=1e9)
    with pytest.warns(AccelWarning, match="max_seconds=1e-09 have passed"):
        again = fit(epochs=3, resume=tmp_path, max_seconds=1e-9)
    assert again.updates == 3
    assert "max_seconds" in again.stopped
    assert fit(epochs=1, resume=tmp_path, max_seconds=1e9).updates == 6


@pytest.mark.parametrize("name", ["every", "epochs", "batches"])
@pytest.mark.parametrize("value", [1, 2])
def test_how_to_evaluate_without_data_for_it_is_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"evaluate.{name} needs data to evaluate on, and there is none"):
        fit(epochs=3, **{f"evaluate_{name}": value})
