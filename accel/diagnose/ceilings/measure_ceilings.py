"""Measurement of a machine's ceilings: products of matrices, copies, and a call with nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.layers.operator_timer import timed_pass
from accel.system.cpu.processor import processor_name

__all__ = ["COPIES", "SIDES", "device_name", "measure_call", "measure_ceilings", "measure_copies", "measure_product"]

SIDES = {"cpu": (256, 512, 1024), "cuda": (4096, 8192)}
"""Sides of the square matrices that are multiplied, by kind of device; the best counts."""
COPIES = {"cpu": (1 << 16, 1 << 19, 1 << 22, 1 << 27), "cuda": (1 << 20, 1 << 24, 1 << 30)}
"""Bytes that the copies move, read and written: for each cache, and for the memory."""
SECONDS = 0.2
"""For each measurement, at least."""
WINDOW = 0.0005
"""Seconds that are timed as one, at least: long enough for the clock, and short enough for some to be disturbed by nobody."""


def device_name(device: torch.device) -> str:
    """Return the name of a device, as the system calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def measure_ceilings(device: torch.device, dtypes: Iterable[str]) -> MachineCeilings:
    """Return the ceilings of a device, for products of some dtypes. Takes about a second; random numbers stay as they are.

    Args:
        device: the device.
        dtypes: names of floating-point types, such as `bfloat16`.
    """
    products = {name: measure_product(device, getattr(torch, name)) for name in dtypes}
    return MachineCeilings(
        device_name(device), torch.get_num_threads(), products, measure_copies(device), measure_call(device)
    )  # fmt: skip


def measure_product(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of the fastest square product of a dtype."""
    best = 0.0
    for side in SIDES.get(device.type, SIDES["cpu"]):
        one = torch.full((side, side), 0.5, dtype=dtype, device=device)
        out = torch.empty_like(one)
        best = max(best, 2 * side**3 / _best_seconds(device, partial(torch.mm, one, one, out=out)))
    return best


def measure_copies(device: torch.device) -> dict[int, float]:
    """Return the bytes a second of copies, read and written, by the bytes that they move."""
    speeds = {}
    for count in COPIES.get(device.type, COPIES["cpu"]):
        source = torch.ones(count // 8, dtype=torch.float32, device=device)
        target = torch.ones_like(source)
        speeds[count] = count / _best_seconds(device, partial(target.copy_, source))
    return speeds


def measure_call(device: torch.device) -> float:
    """Return the seconds of an operator of one element."""
    one = torch.ones(1, device=device)
    return _best_seconds(device, lambda: torch.ops.aten.add.Tensor(one, one))


def _best_seconds(device: torch.device, call: Callable[[], Tensor]) -> float:
    """Return the seconds of a call when nothing disturbs it: the least of several, each long enough for the clock."""
    with torch.no_grad():
        call()
        start = timed_pass(device)
        call()
        once = max(timed_pass(device) - start, 1e-7)
        repeats = max(1, min(1000, round(WINDOW / once)))
        best, end = once, perf_counter() + SECONDS
        rounds = 0
        while rounds < 3 or (perf_counter() < end and rounds < 500):
            start = timed_pass(device)
            for _ in range(repeats):
                call()
            best, rounds = min(best, (timed_pass(device) - start) / repeats), rounds + 1
    return best
