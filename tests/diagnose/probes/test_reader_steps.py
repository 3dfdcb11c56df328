"""Readers on trial bring the run's own batches, leave the run as it was, and are left out where they fail."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from accel import Trainer
from accel.diagnose.doctor import measured_run
from accel.diagnose.probes.probed_run import ProbedRun
from accel.diagnose.probes.reader_steps import time_readers
from accel.engine.sandbox import sandbox


class Numbers(Dataset[Any]):
    """Samples that say who reads them, and fail in other processes where that is asked for."""

    def __init__(self, only: int | None = None) -> None:
        self.only = only

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.only not in (None, os.getpid()):
            raise ValueError("no such sample in this process")
        return torch.full((8,), float(index)), index % 2


SEEN: list[Tensor] = []


def loss(model: nn.Module, batch: Any) -> Tensor:
    SEEN.append(batch[0][:, 0].clone())
    return F.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize("in_threads", [True, False], ids=["threads", "processes"])
@pytest.mark.parametrize("fails", [False, True], ids=["whole", "failing"])
def test_readers_bring_the_batches_of_the_run(in_threads: bool, fails: bool) -> None:
    data = Numbers(os.getpid() if fails else None)
    trainer = Trainer(nn.Linear(8, 2), data, loss=loss, batch_size=4, watch=(), seed=1, device="cpu")
    with measured_run(trainer) as (run, _):
        before = [tensor.clone() for tensor in (*run.unwrapped_model.parameters(), torch.get_rng_state())]
        loader, threads = run.parts.loader, threading.active_count()
        with sandbox(run) as windows:
            probed = ProbedRun(run, windows, 1.0)
            SEEN.clear()
            times = time_readers(probed, [1, 2], in_threads, 0.0)
        assert list(times) == ([0] if fails and not in_threads else [0, 1, 2])
        assert all(value > 0 for timing in times.values() for value in timing.values)
        assert run.parts.loader is loader
        assert all(map(torch.equal, (*run.unwrapped_model.parameters(), torch.get_rng_state()), before))
        assert threading.active_count() == threads
        assert not multiprocessing.active_children()
        with sandbox(run) as windows:
            first = next(iter(next(windows).micros)).batch[0][:, 0]
        assert 2 not in times or torch.equal(SEEN[0], first), "readers begin with the first epoch, in the run's own order"
