"""What two ranks do for test_cuda_ranks.py; see `tests.support.rank_processes`.

The environment names the device, and who carries the tensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accel.parts import Part
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ddp import DDP
from accel.plugins.ema import EMA
from accel.plugins.fsdp import FSDP
from accel.plugins.lamb import LAMB
from accel.plugins.pinned import Pinned
from accel.plugins.sgd import SGD
from tests.support import ddp_cases, fsdp_cases
from tests.support.ddp_cases import Points, Words, distance, windows
from tests.support.fsdp_cases import Blocks
from tests.support.sync_error_watch import Strict

DEVICE: str = os.environ.get("CASES_DEVICE", "cpu")
BACKEND: Any = os.environ.get("CASES_BACKEND", "gloo")

OPTIMS: dict[str, Callable[[], list[Part]]] = {
    "sgd": lambda: [SGD(lr=0.1)],
    "adamw, clip": lambda: [AdamW(lr=0.01), Clip(max_norm=0.1)],
    "lamb, ema": lambda: [LAMB(lr=0.01), EMA(decay=0.9)],
}


def case_ddp_is_one_process_on_the_big_batch(folder: Path) -> dict[str, float]:
    actual = {}
    for name, make in OPTIMS.items():
        for steps, kind in ((1, Points), (3, Words)):
            outcome = ddp_cases.fit([DDP(backend=BACKEND), *make(), *windows(steps)], kind, device=DEVICE)
            big = ddp_cases.fit([*make(), *windows(steps)], kind, batch_size=6, device=DEVICE)
            actual[f"{name} accumulate={steps}"] = distance(outcome, big)
    return actual


def case_an_overflow_of_float16_on_one_rank(folder: Path) -> dict[str, Any]:
    half = AMP(dtype="float16", force=DEVICE == "cpu", init_scale=1024.0)
    return ddp_cases.fit([DDP(backend=BACKEND), half, AdamW(), EMA(decay=0.9)], bad=3, device=DEVICE)


def case_nothing_waits_for_the_device(folder: Path) -> str:
    """By nccl: gloo itself waits, in order to read from the device. What DDP measures in its first updates is over by then."""
    if BACKEND != "nccl" or DEVICE == "cpu":
        return "gloo reads from the device on the host"
    for ranks in (DDP(backend="nccl"), FSDP(backend="nccl")):
        plugins = [ranks, AMP(dtype="float16"), AdamW(), Clip(), EMA(), Pinned(), Strict(first=5, last=14)]
        Blocks(samples=96, plugins=plugins, watch=(), batch_size=3, epochs=1, seed=5, device=DEVICE).fit()
    return ""


def case_fsdp_is_one_process_on_the_big_batch(folder: Path) -> dict[str, float]:
    actual = {}
    for name, make in OPTIMS.items():
        for steps in (1, 3):
            outcome = fsdp_cases.fit([FSDP(backend=BACKEND), *make(), *windows(steps)], Blocks, device=DEVICE)
            big = fsdp_cases.fit([*make(), *windows(steps)], Blocks, batch_size=6, device=DEVICE)
            actual[f"{name} accumulate={steps}"] = fsdp_cases.whole(outcome, big)
    return actual


def case_fsdp_goes_on_to_the_same_bits(folder: Path) -> dict[str, Any]:
    return fsdp_cases.goes_on(folder, DEVICE, backend=BACKEND)


def case_a_snapshot_of_what_is_spread(folder: Path) -> dict[str, Any]:
    return fsdp_cases.snapshots(folder, DEVICE, backend=BACKEND)
