"""Nothing inside the loop reads a number on the host: on CUDA each read would wait for the device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.onecycle import OneCycle
from accel.schema import plugin_registry
from accel.testing import HostReads, fit_toy


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["norm", "value"])
def test_everything_on_reads_nothing(dtype: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugins: list[Part] = [
        AMP(dtype=dtype, force=True), Accumulate(steps=2), Clip(mode=mode), AdamW(), OneCycle(), EMA(),  # type: ignore[arg-type]
        plugin_registry.load("progress")(), plugin_registry.load("metrics")(),
    ]  # fmt: skip
    if dtype == "bfloat16":
        plugins[0] = AMP()
    outcome = fit_toy(plugins, counts=True, out=tmp_path / "run")
    assert outcome.spy.reads.count == 0, outcome.spy.reads.places


def test_only_float16_without_a_fused_optimiser_reads_once_per_update() -> None:
    outcome = fit_toy([AMP(dtype="float16", force=True), AdamW(fused=False)], counts=True)
    # one for found_inf, and one per tensor in torch's own unfused AdamW on the CPU at most
    assert outcome.spy.reads.count >= 6
    assert any("found_inf" in place for place in outcome.spy.reads.places)


def test_the_counter_counts() -> None:
    number = torch.ones(3)
    with HostReads() as reads:
        number.sum().item()
        bool(number[0] > 0)
        number.add(1)
    assert reads.count == 2
    assert sorted(reads.places.values()) == [1, 1]
    assert all(place.startswith("tests/invariants/test_host_reads.py:") for place in reads.places)
