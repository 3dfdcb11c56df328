"""What comes now and then, spread over the updates, and how a tiny batch grows."""

from __future__ import annotations

from time import sleep
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.diagnose.doctor import measured_run
from accel.diagnose.probes.batch_growth import growth
from accel.diagnose.probes.probed_run import ProbedRun
from accel.diagnose.probes.run_costs import seconds_of_evaluations
from accel.engine.sandbox import sandbox

ONCE = 0.05


class Late(Trainer):
    """A task that does something at the end of each evaluation."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return model(batch[0]).square().mean()

    def evaluated(self, metrics: dict[str, float]) -> None:  # type: ignore[override]
        sleep(ONCE)


def trainer(batch_size: int, **more: Any) -> Late:
    data = TensorDataset(torch.randn(256, 8))
    return Late(nn.Linear(8, 2), data, data, batch_size=batch_size, watch=(), **more)


def test_what_comes_once_in_an_evaluation_is_not_counted_for_each_of_its_batches() -> None:
    with measured_run(trainer(4, evaluate_every=2)) as (run, _), sandbox(run):
        seconds = seconds_of_evaluations(run)
    assert ONCE / 2 <= seconds < 8 * ONCE / 2, "64 batches would make it 20 times as long"


def test_one_sample_grows_to_eight() -> None:
    with measured_run(trainer(1)) as (run, _), sandbox(run) as windows:
        fit = growth(ProbedRun(run, windows, 1.0), 0.1)
    assert fit is not None
    assert fit.sizes == (1, 2, 4, 8)
    assert fit.overhead > 4 * fit.per_sample, "a line over all of them: a small layer costs the same for each"
