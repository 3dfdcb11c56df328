"""The doctor on real runs: it measures, leaves no trace, and its diagnosis draws itself."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import accel
from accel import Trainer
from accel.device.rng import host_rng_state
from accel.diagnose.diagnosis import Diagnosis
from accel.diagnose.doctor import doctor
from accel.errors import ConfigError
from accel.plugins.amp import AMP
from accel.plugins.ema import EMA
from accel.plugins.onecycle import OneCycle
from tests.support.drill_length import LONG


class Counting(nn.Module):
    """A model with dropout, BatchNorm and a counter of its own, which all move in an update."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        self.calls = 0

    def forward(self, points: Tensor) -> Tensor:
        self.calls += 1
        random.random()
        np.random.rand()
        scores: Tensor = self.layers(points)
        return scores


def loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def points(count: int = 96) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(count, 8, generator=generator), torch.arange(count) % 2)


def trainer(model: nn.Module | None = None, **settings: Any) -> Trainer:
    settings = {"batch_size": 16, "watch": (), **settings}
    return Trainer(model or Counting(), points(), points(32), loss, **settings)


SETS: dict[str, Any] = {
    "plain": dict,
    "many plugins": lambda: {"plugins": [AMP(), OneCycle(max_lr=0.1), EMA(), "adamw", "clip"]},
    "accumulated": lambda: {"plugins": ["accumulate", "threads"]},
    "a loader of its own": lambda: {"batch_size": None, "loader": True},
}


def made(name: str, model: nn.Module) -> Trainer:
    settings = SETS[name]()
    if settings.pop("loader", False):
        data = DataLoader(points(), 16, shuffle=True, generator=torch.Generator().manual_seed(3))
        return Trainer(model, data, points(32), loss, watch=(), **{key: value for key, value in settings.items() if value})
    return trainer(model, **settings)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("name", SETS if LONG else ("many plugins", "a loader of its own"))
def test_everything_is_afterwards_what_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, buffers, gradients, modes, the model's own counter, random numbers and files; and a run that follows is the same."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = Counting()
    model.layers[1].eval()
    model(torch.randn(4, 8)).sum().backward()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    grads = [param.grad for param in model.parameters()]
    modes, calls = [module.training for module in model.modules()], model.calls
    numbers, host = torch.get_rng_state(), host_rng_state()
    threads = torch.get_num_threads()
    diagnosis = doctor(made(name, model), seconds=2.0)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(param.grad is grad for param, grad in zip(model.parameters(), grads, strict=True))
    assert [module.training for module in model.modules()] == modes
    assert model.calls == calls
    assert torch.equal(torch.get_rng_state(), numbers)
    assert host_rng_state() == host
    assert torch.get_num_threads() == threads
    assert list(tmp_path.iterdir()) == []
    assert diagnosis.split.total > 0
    measured, other = made(name, model), made(name, twin(before))
    doctor(measured, seconds=1.0)
    assert same(measured.fit().model.state_dict(), other.fit().model.state_dict())


def twin(state: dict[str, Tensor]) -> nn.Module:
    model = Counting()
    model.load_state_dict(state)
    model.calls = 1
    return model


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    """The diagnosis of a small run, with what was said meanwhile."""
    lines: list[str] = []
    diagnosis = accel.doctor(trainer(), seconds=4.0, say=lines.append)
    assert "the loader alone, without updates" in lines
    return diagnosis


@pytest.mark.slow
def test_a_small_network_is_measured_in_full(diagnosis: Diagnosis) -> None:
    """Its verdict is for quiet machines: tests/diagnose/test_known_cases.py has cases that no noise hides."""
    assert 100 * diagnosis.verdict.share == max(diagnosis.shares.values())
    assert sum(diagnosis.shares.values()) == pytest.approx(100)
    assert diagnosis.figures.samples == 16
    assert diagnosis.figures.fit is not None
    assert sorted(diagnosis.figures.fit.sizes) == [4, 8, 16, 32]
    assert diagnosis.figures.fit.overhead > 0
    assert diagnosis.figures.operators is not None
    assert 20 < diagnosis.figures.operators.count < 60
    assert 0 < diagnosis.figures.operators.products < 1
    typed = {remedy.change.name: remedy.change.typed for remedy in diagnosis.remedies}
    assert typed.get("larger_batch", "batch_size=32") == "batch_size=32"
    assert all(remedy.change.typed for remedy in diagnosis.remedies)


def test_the_document_is_json_with_the_version_of_its_schema(diagnosis: Diagnosis) -> None:
    document = json.loads(json.dumps(diagnosis.as_dict(), allow_nan=False))
    assert (document["schema"], document["kind"]) == (1, "diagnosis")
    assert document["verdict"]["kind"] == diagnosis.verdict.kind
    assert document["verdict"]["sentence"] == diagnosis.verdict.sentence
    assert document["split"]["data"] == diagnosis.split.seconds["data"]
    assert len(document["remedies"]) == len(diagnosis.remedies)
    assert all({"type", "speed_up", "ceiling", "changes", "memory"} <= set(remedy) for remedy in document["remedies"])
    assert document["machine"]["processor"]["cores"] >= 1
    assert len(document["figures"]["step"]["values"]) >= 5


def test_it_draws_itself_as_lines_and_in_a_notebook(diagnosis: Diagnosis) -> None:
    text, page = repr(diagnosis), diagnosis._repr_html_()
    for shown in (text, page):
        assert diagnosis.verdict.kind in shown
        assert "this machine" in shown
        assert all(remedy.change.name.replace("_", " ") in shown for remedy in diagnosis.remedies)
    assert "\x1b" not in text
    assert page.startswith("<pre")
    assert "http" not in page


class Reading(nn.Module):
    """A model that reads a number on the host for each of its samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, points: Tensor) -> Tensor:
        scale = sum(point.abs().max().item() for point in points)  # read on the host
        scores: Tensor = self.layer(points) * (1 + 0 * scale)
        return scores


@pytest.mark.slow
def test_numbers_that_are_read_on_the_host_are_named_by_their_line() -> None:
    diagnosis = doctor(trainer(Reading(), plugins=["adamw"]), seconds=3.0)
    (place,) = [line for line in diagnosis.figures.host_reads if "read on the host" in line]
    assert diagnosis.figures.host_reads[place] == 16
    assert "test_doctor.py" in place
    assert place in diagnosis.verdict.sentence or "read on the host" in repr(diagnosis)


@pytest.mark.parametrize(("product", "share"), [(True, 1.0), (False, 0.0)])
def test_the_time_of_products_is_told_from_that_of_other_operators(product: bool, share: float) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(128) if product else torch.ones(128))

        def forward(self, rows: Tensor) -> Tensor:
            return rows @ self.weight if product else (rows * self.weight).exp().tanh()

    data = TensorDataset(torch.randn(2048, 128))
    run = Trainer(Wide(), data, loss=lambda model, batch: model(batch[0])[0, 0], batch_size=2048, watch=())
    operators = doctor(run, seconds=1.0).figures.operators
    assert operators is not None
    assert operators.products == pytest.approx(share, abs=0.5)


def broken(model: nn.Module, batch: Any) -> Tensor:
    raise ValueError("a bug of the user's")


def stream() -> Iterator[Any]:
    yield torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("run", "error"),
    [
        (lambda: Trainer(Counting(), points(), loss=loss, plugins=["amp", "master_weights"]), ConfigError),
        (lambda: Trainer(Counting(), points(), loss=broken), ValueError),
    ],
)
def test_a_run_that_cannot_work_says_so_as_training_does(run: Any, error: type[Exception]) -> None:
    broken_run, numbers = run(), torch.get_rng_state()
    with pytest.raises(error):
        doctor(broken_run, seconds=1.0)
    assert torch.equal(torch.get_rng_state(), numbers)
