"""What docs/guides/coming-from/lightning.md says of Lightning and of accel beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from accel import Trainer
from accel.parts import Grads, Watch
from accel.plugins import SGD, Accumulate
from tests.support.coming_from import ENDLESS, run, run_killed

L: Any = pytest.importorskip("lightning", reason="needs the extra ecosystem")
pytest.importorskip("sklearn", reason="needs the extra demo")
pytestmark = pytest.mark.slow

QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class Weight(L.LightningModule):
    """One weight, whose gradient by each sample is 1; remembers the gradient of each update and the first sample of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.gradients: list[float] = []
        self.first_samples: list[float] = []

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.first_samples.append(batch[0].item())
        return (self.weight * torch.ones_like(batch)).mean()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        assert self.weight.grad is not None
        self.gradients.append(self.weight.grad.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Gradients(Watch):
    """Gradients of all updates, before anything limits them."""

    def begin(self, run: Any) -> None:
        self.seen: list[float] = []

    def before_step(self, grads: Grads) -> None:
        self.seen.append(grads.norm().item())

    def after_step(self) -> dict[str, Any]:
        return {}


def test_the_losses_are_the_same(tmp_path: Path) -> None:
    """To the last digit, but for a few roundings of bfloat16 on a processor that multiplies it."""
    before, after = (run(f"lightning_{side}", tmp_path / side, ENDLESS) for side in ("before", "after"))
    assert before == after or ("avx512_bf16" in Path("/proc/cpuinfo").read_text() and before.metrics == after.metrics)
    differences = before.differences(after)
    assert max(differences.values()) < 1e-4
    assert sum(share > 0 for share in differences.values()) < 10
    assert len(after.losses) == 66


def test_a_limit_that_acts_changes_last_bits(tmp_path: Path) -> None:
    before, after = (run(f"lightning_{side}", tmp_path / side) for side in ("before", "after"))
    assert [number for number in before.losses if before.losses[number] == after.losses[number]][:20] == list(range(1, 21))
    assert max(before.differences(after).values()) < 0.02
    assert len(before.losses) == len(after.losses) == 66


def test_a_short_last_window_counts_half() -> None:
    """Of 29 samples in the last window, 16 and 13."""
    samples = torch.arange(64 + 29.0)
    model, gradients = Weight(), Gradients()
    L.Trainer(max_epochs=1, accumulate_grad_batches=4, **QUIET).fit(model, DataLoader(samples, batch_size=16))
    assert model.gradients == [1.0, 0.5]
    Trainer(
        Weight(), DataLoader(samples, batch_size=16), loss=lambda module, x: (module.weight * torch.ones_like(x)).mean(),
        plugins=[Accumulate(steps=4), SGD(lr=0.1)], watch=[gradients], device="cpu",
    ).fit()  # fmt: skip
    assert gradients.seen == pytest.approx([1.0, 1.0], abs=1e-6)


def test_shuffle_is_another_order_than_torchs() -> None:
    def loader() -> DataLoader[Any]:
        return DataLoader(torch.arange(64.0), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(0))

    model, plain = Weight(), loader()
    L.Trainer(max_epochs=2, **QUIET).fit(model, loader())
    expected = [batch[0].item() for _ in range(2) for batch in plain]
    assert model.first_samples[:4] == expected[:4]
    assert model.first_samples[4:] != expected[4:]


@pytest.mark.parametrize("every_updates", [False, True])
def test_a_killed_program_of_lightning(every_updates: bool, tmp_path: Path) -> None:
    """From the end of an epoch it goes on to the same losses; from within one to others, for it sees the first batches again."""
    changes = {"save_last=True": "save_last=True, every_n_train_steps=10"} if every_updates else {}
    whole = run("lightning_before", tmp_path / "whole", changes)
    run_killed("lightning_before", tmp_path / "killed", 35, Path("runs/digits/last.ckpt").exists, changes)
    rest = run("lightning_before", tmp_path / "killed", changes)
    assert min(rest.losses) == (31 if every_updates else 23)
    assert (rest.losses[31] != whole.losses[31]) == every_updates
    if not every_updates:
        assert rest.losses == {number: whole.losses[number] for number in rest.losses}
