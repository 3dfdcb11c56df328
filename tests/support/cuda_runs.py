"""Runs on a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from accel.parts import Autocast, Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.onecycle import OneCycle
from tests.support.wide_model import Wide


@contextmanager
def syncs_raise() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def everything(dtype: Any, precision: type[Autocast] = AMP) -> list[Part]:
    return [precision(dtype=dtype), Accumulate(steps=2), Clip(), AdamW(), OneCycle(), EMA()]


def peaks(x: Tensor) -> tuple[int, int]:
    """Bytes that a forward pass of `Wide` takes at most, and a backward pass, the batch included."""
    before, actual = torch.cuda.memory_allocated(), []
    model, x = Wide().cuda(), x.cuda()
    loss = model(x).sum(1).mean()
    actual.append(torch.cuda.max_memory_allocated() - before)
    torch.cuda.reset_peak_memory_stats()
    loss.backward()
    actual.append(torch.cuda.max_memory_allocated() - before)
    return actual[0], actual[1]
