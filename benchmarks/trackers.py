"""What each tracker costs the thread that trains: microseconds of its processor time for each update.

python benchmarks/trackers.py                            # a table
python benchmarks/trackers.py --out benchmarks/results/DATE-trackers.json

Taken apart are `after`, which every update waits for, and the writing of a block. The time of other threads, which hand the points
over, is none of it. A tracker whose package is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_SILENT": "true"}

import machine
import torch
from results import save
from spread import spread
from torch import nn

from accel import Trainer
from accel.parts import Part
from accel.schema import plugin_registry
from accel.system.machine import importable

PACKAGES = ["torch", "accel-train", "tensorboard", "wandb", "mlflow", "mlflow-skinny"]
TRACKERS = {"metrics": "accel", "csv": "accel", "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""Each with the package that it needs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=7, help="runs of each tracker, in turn")
    parser.add_argument("--updates", type=int, default=6400, help="of each run")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = machine.facts(threads=1, packages=PACKAGES)
    names = [name for name, package in TRACKERS.items() if importable(package)]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(args.reps):
        for name in names if number % 2 else names[::-1]:
            times[name].append(measured(name, args.updates))
    rows = {
        name: {"n": args.reps, "after": spread([after for after, _ in each]), "block": spread([block for _, block in each])}
        for name, each in times.items()
    }
    result = {
        "schema": 1, "benchmark": "trackers", "unit": "microseconds per update", **head, "updates": args.updates,
        "missing": sorted(set(TRACKERS) - set(names)), "trackers": rows,
    }  # fmt: skip
    save(result, table(times, result, args.reps), args.out)


def measured(name: str, updates: int) -> tuple[float, float]:
    """Microseconds per update of one run: those that each update waits for, and those of writing blocks."""
    with TemporaryDirectory() as folder:
        settings: dict[str, dict[str, Any]] = {
            "wandb": {"mode": "offline"},
            "mlflow": {"tracking_uri": str(Path(folder, "mlruns"))},
        }
        more = {"curves": False, "report": False} if name == "metrics" else settings.get(name, {})
        plain, spent = plugin_registry.load(name), {"after": 0.0, "write_updates": 0.0}
        kind = type(plain.__name__, (plain,), {method: timed(getattr(plain, method), spent, method) for method in spent})
        tracker: Part = kind(**more)
        data = [(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long))] * updates
        Trainer(nn.Linear(4, 2), data, loss=loss, watch=[tracker], out=Path(folder, "run"), checkpoint_minutes=None).fit()
    blocks = 1e6 * spent["write_updates"] / updates
    return 1e6 * spent["after"] / updates - blocks, blocks  # a block is written within the update that fills it


def timed(call: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    """The same function, whose processor time is added up."""

    def wrapper(*args: Any) -> Any:
        started = thread_time()
        try:
            return call(*args)
        finally:
            spent[name] += thread_time() - started

    return wrapper


def loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def table(times: dict[str, list[tuple[float, float]]], result: dict[str, Any], runs: int) -> str:
    """The medians, with their range."""
    lines = ["# What a tracker costs the thread that trains", "", machine.sentence(result), ""]
    lines += ["| tracker | each update | writing it, in blocks of 64 |", "|---|---|---|"]
    for name, each in times.items():
        cells = [[pair[place] for pair in each] for place in (0, 1)]
        texts = [f"{median(cell):.1f} ({min(cell):.1f} to {max(cell):.1f})" for cell in cells]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    below = f"Microseconds of processor time per update; medians of {runs} runs of {result['updates']:,} updates (least to most)."
    return "\n".join([*lines, "", below])


if __name__ == "__main__":
    sys.exit(main())
