"""What docs/guides/coming-from/accelerate.md says of Accelerate and of accel beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.support.coming_from import ENDLESS, run, run_killed

accelerate: Any = pytest.importorskip("accelerate", reason="needs the extra ecosystem")
pytest.importorskip("sklearn", reason="needs the extra demo")
pytestmark = pytest.mark.slow


def test_the_losses_are_the_same(tmp_path: Path) -> None:
    before, after = (run(f"accelerate_{side}", tmp_path / side, ENDLESS) for side in ("before", "after"))
    assert before == after
    assert len(after.losses) == 66


def test_a_limit_that_acts_changes_last_bits(tmp_path: Path) -> None:
    before, after = (run(f"accelerate_{side}", tmp_path / side) for side in ("before", "after"))
    assert [number for number in before.losses if before.losses[number] == after.losses[number]][:20] == list(range(1, 21))
    assert max(before.differences(after).values()) < 0.02
    assert len(before.losses) == len(after.losses) == 66


def test_a_short_last_window_counts_half() -> None:
    """Of 29 samples in the last window, 16 and 13; each sample's gradient is 1. Of accel the test beside Lightning's tells."""
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    net = nn.Linear(1, 1, bias=False)
    loader = DataLoader(torch.ones(64 + 29, 1), batch_size=16)
    model, optimizer, loader = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.0), loader)
    gradients = []
    for x in loader:
        with accelerator.accumulate(model):
            accelerator.backward(model(x).mean())
            if accelerator.sync_gradients:
                assert net.weight.grad is not None
                gradients.append(net.weight.grad.item())
            optimizer.step()
            optimizer.zero_grad()
    assert gradients == [1.0, 0.5]


def test_a_killed_program_of_accel_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    whole = run("accelerate_after", tmp_path / "whole")
    run_killed("accelerate_after", tmp_path / "killed", 30, lambda: bool(list(Path("runs/digits/checkpoints").glob("*.json"))))
    rest = run("accelerate_after", tmp_path / "killed")
    assert min(rest.losses) == 23
    assert rest.losses == {number: whole.losses[number] for number in rest.losses}
