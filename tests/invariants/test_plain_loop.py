"""accel without plugins is the loop one would write by hand, bit for bit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from accel.plugins.adamw import AdamW
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from tests.support.handwritten_loop import hand_loop


def test_no_plugins_is_the_hand_written_loop() -> None:
    actual = fit_toy([])
    weights, losses = hand_loop(lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


@pytest.mark.parametrize("fused", [True, False])
def test_adamw(fused: bool) -> None:
    actual = fit_toy([AdamW(lr=0.01, fused=fused)])
    weights, losses = hand_loop(lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused))
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(fused: bool, momentum: float) -> None:
    actual = fit_toy([SGD(lr=0.1, momentum=momentum, weight_decay=1e-3, fused=fused)])
    weights, losses = hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, weight_decay=1e-3, fused=fused)
    )
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


def test_a_schedule_moves_the_same_updates_as_in_a_hand_written_loop() -> None:
    actual = fit_toy([OneCycle(max_lr=0.2)])
    schedulers: list[OneCycleLR] = []

    def make(model: nn.Module) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
        schedulers.append(OneCycleLR(optimizer, 0.2, total_steps=12, cycle_momentum=False))
        return optimizer

    def after(model: nn.Module) -> None:
        if schedulers[0].last_epoch < 11:
            schedulers[0].step()

    weights, _ = hand_loop(make, after_step=after)
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))


@pytest.mark.slow
def test_a_fit_without_plugins_needs_neither_hydra_nor_an_extra() -> None:
    code = """
import sys
for name in ("hydra", "omegaconf", "sklearn", "PIL", "lmdb", "cv2", "prefetch_generator"):
    sys.modules[name] = None
from accel.testing import fit_toy
assert fit_toy([]).losses
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
