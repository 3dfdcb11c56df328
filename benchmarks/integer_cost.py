"""What torchao's graph of a run's integers is worth: whether it computes what is shipped, its accuracy, and its latency."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from shipped_cost import PASSES, ROUNDS, shipped_file, turn
from spread import spread
from torch import nn
from torch.utils.data import DataLoader

import accel
from accel.compress import pt2e_model
from accel.compress.quantisation.frozen_norms import thaw_norms
from accel.compress.quantisation.quantised_layer import make_plain, quantisers_of

BATCH = 500


def without_quantisers(run: Path) -> nn.Module:
    """The trained model with fake quantisation off."""
    model = accel.load(run)
    for name in quantisers_of(model):
        make_plain(model.get_submodule(name))
    thaw_norms(model)
    return model.eval()


def integer_cost(run: Path, side: int, trainer: Any) -> dict[str, Any]:
    """Accuracies with fake quantisation off and of the converted graph, and its latency: eager, and as inductor makes it."""
    shipped, pictures = accel.load(shipped_file(run)), torch.randn(64, 3, side, side)
    graph = pt2e_model(shipped, (pictures[:2],))
    with torch.no_grad():
        same = torch.equal(graph(pictures), shipped(pictures))
    return {
        "graph computes the bits of the file": same,
        "accuracy in float": accuracy(without_quantisers(run), trainer),
        "accuracy of the graph": accuracy(graph, trainer),
        "latency of the graph": latency(graph, pictures),
        "latency by inductor": by_inductor(shipped, pictures),
    }


def accuracy(model: Any, trainer: Any) -> float:
    """The share of the pictures to evaluate on that a model names right."""
    data, right, count = trainer.data(trainer.evaluates), 0.0, 0
    for batch in DataLoader(data, batch_size=BATCH, collate_fn=getattr(data, "collate", None)):
        with torch.no_grad():
            score = trainer.metrics(model, batch)["accuracy"]
        right += float(score[0] if isinstance(score, tuple) else score * len(batch[1]))
        count += len(batch[1])
    return round(right / count, 4)


def latency(graph: Any, pictures: torch.Tensor) -> dict[str, dict[str, float]]:
    """Milliseconds of a forward pass, by batch size, on as many threads as torch has."""
    times = {}
    for batch, passes in PASSES.items():
        turns = [turn(graph, pictures[:batch], passes) for _ in range(ROUNDS + 1)]
        times[f"batch {batch}"] = spread(turns[1:])
    return times


def by_inductor(shipped: nn.Module, pictures: torch.Tensor) -> dict[str, Any]:
    """The same of kernels of 8 bits, one compilation for each batch size, or why there are none."""
    from torchao.quantization.pt2e.lowering import lower_pt2e_quantized_to_x86

    times: dict[str, Any] = {}
    for batch, passes in PASSES.items():
        x, began = pictures[:batch], perf_counter()
        try:
            with torch.no_grad():
                lowered = lower_pt2e_quantized_to_x86(pt2e_model(shipped, (x,), dynamic_batch=False), (x,))
                compiled = torch.compile(lowered)
                gap = float((compiled(x) - shipped(x)).abs().max())
        except Exception as error:  # whatever the compiler trips over
            times[f"batch {batch}"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            continue
        seconds = round(perf_counter() - began, 1)
        turns = [turn(compiled, x, passes) for _ in range(ROUNDS + 1)]
        times[f"batch {batch}"] = spread(turns[1:]) | {"compile seconds": seconds, "largest difference": gap}
    return times
