"""What a shipped model is and costs: parameters, operations, size on disk, and its latency beside that of others."""

from __future__ import annotations

import random
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from spread import spread
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import accel
from accel.checkpoints.weights.find_weights import SHIPPED, WEIGHTS

ROUNDS = 21
"""How often each model has its turn."""
PASSES = {1: 20, 64: 3}
"""Forward passes of a turn, by batch size; its time is their mean."""


def shipped_file(run: Path) -> Path:
    """The file that a run ships: the model without what only training needs, where that is another than the trained one."""
    return run / (SHIPPED if (run / SHIPPED).exists() else WEIGHTS)


def cost(run: Path, side: int) -> dict[str, Any]:
    """Parameters, operations of one picture, and bytes on disk of what a run ships."""
    file = shipped_file(run)
    model = accel.load(file)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side))
    return {
        "file": file.name, "parameters": parameters(model), "flops": counter.get_total_flops(), "bytes": file.stat().st_size
    }  # fmt: skip


def parameters(model: nn.Module) -> int:
    """The numbers that are trained, and those kept as integers or packed bits, of which a module makes its `weight`."""
    count = sum(param.numel() for param in model.parameters())
    for module in model.modules():
        weight = None if "weight" in module._parameters else getattr(module, "weight", None)
        count += weight.numel() if isinstance(weight, Tensor) else 0
    return count


def latencies(runs: dict[str, Path], side: int, threads: int, rounds: int = ROUNDS) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of a forward pass by arm, by `batch B, T threads`: eager, float32, in evaluation mode; in turns."""
    models = {name: accel.load(shipped_file(run)) for name, run in runs.items()}
    times: dict[str, dict[str, dict[str, float]]] = {name: {} for name in models}
    rng, before = random.Random(0), torch.get_num_threads()
    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        for batch, passes in PASSES.items():
            x = torch.randn(batch, 3, side, side)
            turns: dict[str, list[float]] = {name: [] for name in models}
            for number in range(rounds + 1):
                for name in rng.sample(list(models), len(models)):
                    taken = turn(models[name], x, passes)
                    turns[name] += [taken] if number else []  # the first is the warm-up
            for name, each in turns.items():
                times[name][f"batch {batch}, {count} thread{'s' * (count > 1)}"] = spread(each)
    torch.set_num_threads(before)
    return times


def turn(model: nn.Module, x: Tensor, passes: int) -> float:
    """The mean milliseconds of some forward passes."""
    with torch.inference_mode():
        began = perf_counter()
        for _ in range(passes):
            model(x)
        return 1000 * (perf_counter() - began) / passes
