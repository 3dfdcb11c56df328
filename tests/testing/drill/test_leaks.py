"""Two hundred short runs in one process leave nothing behind."""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from accel import Trainer
from accel.parts import Part
from accel.plugins import AMP, EMA, Accumulate, AdamW, Metrics, Prefetch, Threads, Workers
from tests.support.drill_length import LONG
from tests.support.sample_datasets import unfinished_readers

pytestmark = pytest.mark.slow

RUNS, WARM = (200, 40) if LONG else (12, 6)


class Noisy(Dataset[Tensor]):
    def __len__(self) -> int:
        return 16

    def sample(self, index: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.random(4, np.float32))


def run(number: int, out: Path) -> None:
    loaders: list[list[Part]] = [[Workers(count=1)], [Threads(count=2), Prefetch()], []]
    plugins = [AMP(), AdamW(), EMA(), Accumulate(steps=2), Metrics(curves=False), *loaders[number % 3]]
    Trainer(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), Noisy(), Noisy(), lambda model, x: model(x).square().mean(),
        plugins=plugins, watch=(), batch_size=4, out=out,
    ).fit()  # fmt: skip


def held() -> dict[str, Any]:
    """What this process holds; memory in bytes, apart."""
    gc.collect()
    assert unfinished_readers() == []
    shm = Path("/dev/shm")
    return {
        "files": len(os.listdir("/proc/self/fd")), "threads": threading.active_count(), "children": len(mp.active_children()),
        "shared": len(list(shm.glob(f"torch_{os.getpid()}_*"))) if shm.exists() else 0,
    }  # fmt: skip


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts what Linux shows in /proc")
def test_nothing_is_left(tmp_path: Path) -> None:
    for number in range(WARM):
        run(number, tmp_path / str(number))
    before, memory = held(), resident()
    for number in range(WARM, RUNS):
        run(number, tmp_path / str(number))
    assert held() == before
    if LONG:
        assert resident() < 1.02 * memory, f"{memory:,} bytes grew to {resident():,}"
