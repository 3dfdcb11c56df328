"""What reaches a GPU: how much of the copy is hidden behind a computation, by events."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from accel.data.loaders.device_copy import DeviceCopier, prefetch_one

BATCHES = 64


def hidden(batch: int = 256, side: int = 224) -> dict[str, Any]:
    """Milliseconds a batch: the computation alone, the copy alone, and both, the copy on a stream beside it.

    The computation is a chain of matrix products that takes some twice as long as the copy, as a step does.
    """
    device = torch.device("cuda")
    source = torch.zeros(batch, side, side, 3, dtype=torch.uint8).pin_memory()
    copies = DeviceCopier(device, beside=True)
    matrix = torch.randn(4096, 4096, device=device, dtype=torch.bfloat16)
    batches = prefetch_one(repeat(source), copies.start, copies.finish)
    alone = timed(lambda: next(batches))
    once = timed(lambda: compute(matrix, 8)) / 8
    chain = max(1, round(2 * alone / once))
    computed = timed(lambda: compute(matrix, chain))
    both = timed(lambda: (next(batches), compute(matrix, chain)))
    copies.close()
    return {
        "device": torch.cuda.get_device_name(device), "batch_mb": round(source.nbytes / 1e6, 1), "copy_ms": round(alone, 3),
        "compute_ms": round(computed, 3), "both_ms": round(both, 3),
        "hidden": round(1 - max(0.0, both - computed) / alone, 3), "target": 0.95,
    }  # fmt: skip


def compute(matrix: Tensor, times: int) -> None:
    """Work for the device."""
    for _ in range(times):
        matrix @ matrix


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of the device for one of many calls, by events."""
    for _ in range(4):
        work()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(BATCHES):
        work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / BATCHES
