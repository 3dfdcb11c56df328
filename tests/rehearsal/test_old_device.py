"""A device of capability 7.5, a T4 say: it has no bfloat16, which torch emulates slowly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from accel.system.machine import Need
from tests.rehearsal import races

pytestmark = pytest.mark.skipif(torch.cuda.get_device_capability() >= (8, 0), reason="needs a device of capability below 8.0")


def test_torch_knows_that_it_would_emulate() -> None:
    assert torch.cuda.is_bf16_supported()
    assert not torch.cuda.is_bf16_supported(including_emulation=False)


def test_bfloat16_is_an_unmet_need() -> None:
    assert Need("bfloat16").unmet_reason({}, "cuda")


def test_a_bundle_takes_no_bfloat16_and_the_plan_says_why() -> None:
    settings = ["+plugins=[fast]", "~plugins.compile", "device=cuda", "epochs=1", "dry_run=true"]
    command = [sys.executable, "-m", "accel.train", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0
    assert "skipped: dtype=bfloat16" in done.stdout
    assert "dtype=float16 needs none" in done.stdout


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("name", ["float16", "graph"])
def test_float16_trains(name: str) -> None:
    assert all(torch.isfinite(torch.tensor(races.fit(name))))
