"""Two ranks, of which the second computes more slowly: what the doctor makes of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.diagnose.doctor import doctor

SLOWER = 0.05
"""Seconds by which an update of the second rank takes longer."""


def case_slow_rank(folder: Path) -> dict[str, Any]:
    """The verdict on each rank, the rank that is named, and whether the weights are the same as before."""
    rank = int(os.environ["RANK"])

    def loss(model: nn.Module, batch: Any) -> Tensor:
        if rank == 1:
            time.sleep(SLOWER)
        return model(batch[0]).square().mean()

    torch.manual_seed(0)
    model = nn.Linear(8, 2)
    before = model.weight.detach().clone()
    trainer = Trainer(model, TensorDataset(torch.ones(64, 8)), loss=loss, plugins=["ddp"], batch_size=8, watch=())
    diagnosis = doctor(trainer, seconds=4.0)
    return {
        "kind": diagnosis.verdict.kind, "sentence": diagnosis.verdict.sentence, "straggler": diagnosis.split.straggler,
        "same": torch.equal(model.weight, before),
    }  # fmt: skip
