"""A run that torchrun starts, whose ranks die when they are told to (`Mortal`), and what it leaves behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from tests.support.rank_processes import ROOT

TORCHRUN = [sys.executable, "-m", "tests.support.forked_torchrun"]
RUN = [
    "-m", "accel.train", "task._target_=tests.support.ddp_cases.Mortal", "+plugins=[ddp,adamw]", "plugins.adamw.lr=0.01",
    "epochs=3", "batch_size=3", "seed=5", "device=cpu", "checkpoint.every=2", "out=run",
    "plugins.metrics.curves=false", "plugins.metrics.report=false",
]  # fmt: skip


def inside(folder: Path, kills: str) -> dict[str, Any]:
    """Where torchrun is started, and in what environment: it trains in `folder`, and ranks die as `kills` says."""
    variables = {"KILLS": kills, "NOTES": str(folder / "notes"), "GO": str(folder / "go")}
    return {"cwd": folder, "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}}


def noted(folder: Path) -> str:
    """What the ranks wrote down, a line for each thing."""
    notes = folder / "notes"
    return notes.read_text() if notes.exists() else ""


def final(folder: Path) -> list[Tensor]:
    """The weights of a run, in the order of the model."""
    weights = load_file(folder / "run/model.safetensors")
    return [weights[f"{layer}.{what}"] for layer in (0, 1, 4) for what in ("weight", "bias")]
