"""Known cases, measured: what is slow is named. What others take of the machine moves the figures, so that `make drill` has most.

tests/diagnose/test_decision.py has the verdicts as functions of figures.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from accel import Trainer
from accel.diagnose.diagnosis import Diagnosis
from accel.diagnose.doctor import doctor
from accel.tasks.images import Images
from accel.tasks.text import Text
from tests.support.drawn_images import write_noise
from tests.support.drill_length import LONG
from tests.support.rank_processes import shared_cases

pytestmark = pytest.mark.slow
long = pytest.mark.skipif(not LONG, reason="measured on a quiet machine: make drill")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of JPEGs whose decoding takes far longer than a small model does."""
    root = tmp_path_factory.mktemp("pictures")
    write_noise(root, {"train": 16, "test": 4}, 480, 640)
    return root


class Small(nn.Module):
    """A model that takes longer than indexing tensors, and not as long as decoding."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(inside, 64, 3, padding=1) for inside in (3, 64, 64)), nn.Flatten())
        self.head = nn.Linear(64 * 16 * 16, num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.head(self.layers(pictures))
        return scores


def remedies(diagnosis: Diagnosis) -> list[str]:
    return [remedy.change.name for remedy in diagnosis.remedies]


def images(root: Path, plugins: list[str]) -> Images:
    model = f"{__name__}.Small"
    return Images(str(root), size=16, model=model, batch_size=8, plugins=plugins, watch=(), seed=0)


@long
def test_a_folder_of_pictures_is_bound_by_its_data(pictures: Path) -> None:
    diagnosis = doctor(images(pictures, []), seconds=15.0)
    assert diagnosis.verdict.kind == "data-bound", diagnosis
    assert "the processor is idle" not in diagnosis.verdict.sentence
    assert diagnosis.split.share("data") > 0.6
    assert diagnosis.remedies[0].change.name == "resident"
    assert diagnosis.remedies[0].change.words == ("+plugins=[resident]",)
    assert 2 in diagnosis.figures.reader_steps, "where others take the cores, more readers may bring nothing"
    assert diagnosis.machine.disk is not None


@long
def test_the_same_pictures_in_memory_are_not(pictures: Path) -> None:
    diagnosis = doctor(images(pictures, ["resident"]), seconds=4.0)
    assert diagnosis.verdict.kind in ("host-bound", "compute-bound", "optimiser-bound", "evaluation-bound"), diagnosis
    assert diagnosis.split.share("data") < 0.5
    assert not {"resident", "threads", "workers"} & set(remedies(diagnosis))


class Sleeping(Dataset[Any]):
    """Samples that are waited for, as those of a slow server are."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        time.sleep(0.004)
        return torch.full((8,), float(index)), index % 2


def loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def test_samples_that_are_waited_for_are_bound_by_data_that_needs_no_core() -> None:
    diagnosis = doctor(Trainer(nn.Linear(8, 2), Sleeping(), loss=loss, batch_size=8, watch=()), seconds=8.0 if LONG else 2.0)
    assert diagnosis.verdict.kind == "data-bound", diagnosis
    if not LONG:
        return
    assert "the processor is idle" in diagnosis.verdict.sentence
    many = [remedy for remedy in diagnosis.remedies if remedy.change.name == "workers" and remedy.change.count > 2]
    assert many, "more readers than cores help where nobody needs a core"
    assert many[0].speed_up is not None
    assert many[0].speed_up.middle > 2


@long
def test_a_transformer_computes(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(bytes(range(256)) * 40)
    task = Text(str(tmp_path / "text"), context=64, layers=2, width=64, batch_size=16, watch=())
    diagnosis = doctor(task, seconds=5.0)
    assert diagnosis.verdict.kind == "compute-bound", diagnosis
    assert diagnosis.split.share("data") < 0.2


class Batchless(nn.Module):
    """Many small operations."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(40))

    def forward(self, points: Tensor) -> Tensor:
        for layer in self.layers:
            points = layer(points).relu()
        return points


class TinyOperations(nn.Module):
    """A thousand operators on few numbers each: far longer to call than to compute."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64))

    def forward(self, rows: Tensor) -> Tensor:
        for _ in range(500):
            rows = rows * self.scale + 1e-3
        return rows


class Uncut(TensorDataset):
    """The same rows in a batch that nobody can cut: its lengths do not say where a sample begins."""

    def __getitem__(self, index: int) -> Any:
        return {"rows": self.tensors[0], "graph": torch.zeros(2, 7)}


def square(model: nn.Module, batch: Any) -> Any:
    rows = batch["rows"] if isinstance(batch, dict) else batch[0]
    return model(rows).square().mean(), len(rows)


@pytest.mark.parametrize("seconds", [0.1, *[2.0] * LONG])
@pytest.mark.parametrize("is_cut", [True, False])
def test_thousands_of_tiny_operations_are_the_hosts_however_little_time_there_is(is_cut: bool, seconds: float) -> None:
    rows = torch.randn(32, 64)
    data: Any = TensorDataset(rows) if is_cut else DataLoader(Uncut(rows), batch_size=None)
    run = Trainer(TinyOperations(), data, loss=square, batch_size=32 if is_cut else None, watch=())
    diagnosis = doctor(run, seconds=seconds)
    assert (diagnosis.figures.fit is not None) is is_cut
    assert diagnosis.figures.fit is not None or diagnosis.figures.outside is not None
    assert diagnosis.verdict.kind == "host-bound", diagnosis


@long
def test_many_small_operations_are_bound_by_the_host() -> None:
    data = TensorDataset(torch.randn(64, 8), torch.arange(64) % 8)
    diagnosis = doctor(Trainer(Batchless(), data, loss=loss, batch_size=8, watch=()), seconds=3.0)
    assert diagnosis.verdict.kind == "host-bound", diagnosis


@long
def test_many_weights_and_few_samples_are_bound_by_the_optimiser() -> None:
    data = TensorDataset(torch.randn(64, 1500), torch.arange(64) % 8)
    trainer = Trainer(nn.Linear(1500, 1500), data, loss=loss, batch_size=1, plugins=["lamb"], watch=())
    diagnosis = doctor(trainer, seconds=3.0)
    assert diagnosis.verdict.kind == "optimiser-bound", diagnosis


@long
def test_an_evaluation_after_each_update_is_named() -> None:
    data, held_out = (TensorDataset(torch.randn(count, 8), torch.arange(count) % 2) for count in (64, 4096))
    trainer = Trainer(nn.Linear(8, 2), data, held_out, loss, batch_size=16, evaluate_every=1, watch=())
    diagnosis = doctor(trainer, seconds=3.0)
    assert diagnosis.verdict.kind == "evaluation-bound", diagnosis
    assert diagnosis.remedies[0].change.typed == "evaluate_every=2"


@long
@pytest.mark.parametrize("what", ["computes", "reads", "moves_its_weights"])
def test_a_slow_rank_is_named_on_every_rank(what: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    for result in shared_cases("tests.support.slow_rank_cases", tmp_path_factory)[what]:
        assert result["kind"] == "straggler-bound", result
        assert f"rank 1 {what.replace('_', ' ')}" in result["sentence"]
        assert result["straggler"] == 1
        assert result["same"]
