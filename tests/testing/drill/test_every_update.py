"""A run that is stopped after any update, or after every one, and goes on with another number of workers, is the same run."""

from __future__ import annotations

import os
import signal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from accel import Interrupted, Trainer
from accel.parts import Part, Watch
from accel.plugins import EMA, AdamW, Metrics, Workers
from tests.support.drill_length import LONG

EPOCHS, SAMPLES, BATCH = 3, 14, 4
UPDATES = EPOCHS * 4


class Drawn(Dataset[tuple[Tensor, int]]):
    """Samples with noise of their own, each with its number."""

    def __len__(self) -> int:
        return SAMPLES

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        return torch.full((3,), float(index)) + torch.from_numpy(rng.random(3, np.float32)), index


class Recorder(Trainer):
    """Writes down what each update saw: (update, numbers of the samples)."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))

    def data(self, split: str) -> Drawn:
        return Drawn()

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if model.training:
            self.now = batch[1].tolist()
        return model(batch[0]).square().mean()


class Stopping(Watch):
    """Asks the run to stop after an update."""

    def __init__(self, update: int, seen: dict[int, list[int]]) -> None:
        super().__init__()
        self.update, self.seen = update, seen

    def after(self, step: int, loss: Tensor) -> None:
        self.seen[step] = self.trainer.now
        if step == self.update:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer: Any = None


def train(out: Path, workers: int, seen: dict[int, list[int]], stop: int = 0) -> Any:
    """Goes on to its end, or to update `stop`; returns the model's state, or the update it stopped after."""
    loader: list[Part] = [Workers(count=workers)] if workers else []
    watch = Stopping(stop, seen)
    going = (out / "checkpoints").exists()
    trainer = Recorder(
        plugins=[AdamW(), EMA(), *loader, watch, Metrics(curves=False)], watch=(), epochs=EPOCHS, batch_size=BATCH, seed=1,
        out=None if going else out, resume=out if going else None,
    )  # fmt: skip
    watch.trainer = trainer
    try:
        result = trainer.fit()
    except Interrupted as stopped:
        return stopped.update
    return {name: value.clone() for name, value in result.model.state_dict().items()}


def check(out: Path, state: Any, seen: dict[int, list[int]], whole: Any) -> None:
    state_, lines, seen_ = whole
    assert all(map(torch.equal, state.values(), state_.values()))
    assert (out / "metrics.jsonl").read_bytes() == lines
    assert seen == seen_
    for epoch in range(EPOCHS):
        numbers = [number for step in range(4 * epoch + 1, 4 * epoch + 5) for number in seen[step]]
        assert sorted(numbers) == list(range(SAMPLES)), f"each sample once in epoch {epoch + 1}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out, seen = tmp_path_factory.mktemp("whole") / "run", dict[int, list[int]]()
    return train(out, 0, seen), (out / "metrics.jsonl").read_bytes(), seen


PAIRS = list(product(range(3), range(3)))
POINTS = [(stop, *pair) for stop in range(1, UPDATES + 1) for pair in (PAIRS if LONG else [PAIRS[(2 * stop) % len(PAIRS)]])]


@pytest.mark.parametrize(("stop", "before", "after"), POINTS)
@pytest.mark.slow
def test_stopped_after_an_update(stop: int, before: int, after: int, whole: Any, tmp_path: Path) -> None:
    seen: dict[int, list[int]] = {}
    assert train(tmp_path / "run", before, seen, stop) == stop
    check(tmp_path / "run", train(tmp_path / "run", after, seen), seen, whole)


@pytest.mark.slow
def test_stopped_after_every_update(whole: Any, tmp_path: Path) -> None:
    seen: dict[int, list[int]] = {}
    for stop in range(1, UPDATES + 1):
        assert train(tmp_path / "run", stop % 3, seen, stop) == stop
    check(tmp_path / "run", train(tmp_path / "run", 1, seen), seen, whole)
