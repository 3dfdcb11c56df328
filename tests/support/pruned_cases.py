"""What two ranks do for test_prune_ranks.py; see `tests.support.rank_processes`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from accel.plugins.adamw import AdamW
from accel.plugins.ddp import DDP
from accel.plugins.ema import EMA
from accel.plugins.prune import Prune
from tests.support.ddp_cases import distance, fit, windows
from tests.support.points_trainer import RANK, Points

SETTINGS: dict[str, dict[str, Any]] = {
    "twice": {"begin": 1, "end": 4, "steps": 2, "multiple": 4, "l1": 1e-3, "mode": "channels"},
    "taylor, global": {"end": 4, "importance": "taylor", "taylor_updates": 3, "scope": "global"},
    "weights": {"mode": "weights", "end": 4, "steps": 3, "ratio": 0.7, "scope": "global"},
}


class Layers(Points):
    """Three layers, whose channels can go."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))


def case_pruned(folder: Path) -> dict[str, Any]:
    """Distance to one process on the big batch, shapes at the end, and whether a resumed run has the same bits."""
    actual: dict[str, Any] = {}
    for name, settings in SETTINGS.items():
        for steps in (1, 2):
            outcome = fit([DDP(), AdamW(lr=0.01), EMA(decay=0.5), Prune(**settings), *windows(steps)], Layers, epochs=3)
            big = fit([AdamW(lr=0.01), EMA(decay=0.5), Prune(**settings), *windows(steps)], Layers, batch_size=6, epochs=3)
            actual[f"{name} accumulate={steps}"] = distance(outcome, big), [tuple(each.shape) for each in outcome["weights"]]
        out = folder / name
        plugins = [DDP(), AdamW(lr=0.01), EMA(decay=0.5)]
        whole = fit([*plugins, Prune(**settings)], Layers, epochs=3)
        fit([*plugins, Prune(**settings)], Layers, epochs=3, stop=5, out=out, checkpoint_every=1)
        rest = fit([*plugins, Prune(**settings)], Layers, epochs=3, resume=out)
        actual[f"{name} resumed"] = rest["losses"] == whole["losses"][4:], rest["metrics"] == whole["metrics"], RANK
    return actual
