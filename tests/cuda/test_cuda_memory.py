"""What a CUDA device shows of memory, of waiting and of kernels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from accel import Trainer
from accel.data.datasets.shift_flip import ShiftFlip
from accel.data.loaders.device_batches import DeviceBatches
from accel.errors import AccelWarning, TrainingError
from accel.parts import Part, Run, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.memory import Memory
from accel.plugins.profiler import Profiler
from accel.plugins.recompute import Recompute
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.plugins.sync_guard import SyncGuard
from accel.plugins.tensorboard import TensorBoard
from accel.tasks.models.gpt import GPT
from accel.testing import fit_toy
from tests.support.cuda_runs import everything, syncs_raise
from tests.support.sync_error_watch import Strict

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("make", [SGD, AdamW, lambda: LAMB(max_grad_norm=None), LARS])
def test_the_step_in_the_backward_pass_is_the_step(make: Callable[[], Part]) -> None:
    assert fit_toy([make(), StepInBackward()], device="cuda").equals(fit_toy([make()], device="cuda"))


def test_recomputation_changes_no_bit_and_takes_less_memory() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = model(x).square().mean()
        return out

    def fit(*plugins: Part) -> tuple[list[Tensor], int]:
        torch.manual_seed(0)
        net = GPT(64, context=128, layers=8, heads=4, width=128, dropout=0.1)
        data = DataLoader(torch.randint(64, (3, 8, 128), generator=torch.Generator().manual_seed(1)), batch_size=None)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model = Trainer(net, data, loss=loss, plugins=plugins, watch=(), device="cuda").fit().model
        return list(model.parameters()), torch.cuda.max_memory_allocated() - before

    (plain, much), (recomputed, little) = fit(), fit(Recompute())
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))
    assert little < 0.6 * much


@pytest.mark.parametrize("edge", ["black", "reflect"])
@pytest.mark.parametrize("flip", ["none", "random", "alternate"])
def test_resident_pictures_are_those_of_the_cpu_and_nothing_waits(flip: Any, edge: Any) -> None:
    pictures = torch.randint(256, (300, 8, 6, 3), dtype=torch.uint8)
    parts, moves = [pictures, torch.arange(300)], ShiftFlip(2, flip, edge)
    there, here = (DeviceBatches(parts, list, moves, 64, 5, True, torch.device(name)) for name in ("cuda", "cpu"))
    for epoch in range(3):
        next(there.epoch(epoch))  # what is made once is made here
        with syncs_raise():
            batches = list(there.epoch(epoch, 1))
        for batch, theirs in zip(batches, here.epoch(epoch, 1), strict=True):
            assert all(a.is_cuda and torch.equal(a.cpu(), b) for a, b in zip(batch, theirs, strict=True))


def test_float16_is_available_and_auto_is_cuda() -> None:
    @dataclass(eq=False)
    class Where(Watch):
        def begin(self, run: Run) -> None:
            self.device = run.device

    where = Where()
    Trainer(
        nn.Linear(2, 1), [torch.ones(1, 2)], loss=lambda m, x: m(x).mean(), plugins=[AMP(dtype="float16"), where], watch=()
    ).fit()
    assert where.device.type == "cuda"


def test_sync_guard_names_what_waits_on_cuda() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        value = model(x).square().mean()
        value.item()
        return value

    batches = [torch.randn(8, 4, device="cuda") for _ in range(8)]
    before = torch.cuda.get_sync_debug_mode()
    for loss_fn, places in ((loss, ["tests/cuda/test_cuda_memory.py"]), (lambda model, x: model(x).square().mean(), [])):
        result = Trainer(nn.Linear(4, 1), batches, loss=loss_fn, plugins=[SyncGuard(), AdamW()], watch=(), device="cuda").fit()
        actual = [str(row["where"]).partition(":")[0] for row in result.sections["sync_guard"].rows]
        assert actual == places
    with pytest.raises(TrainingError, match=r"sync_guard: update 4 .*value.item\(\)"):
        Trainer(
            nn.Linear(4, 1), batches, loss=loss, plugins=[SyncGuard(action="raise"), AdamW()], watch=(), device="cuda"
        ).fit()  # fmt: skip
    assert torch.cuda.get_sync_debug_mode() == before


def test_memory_by_phase_and_snapshot_on_cuda(tmp_path: Path) -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        if model.training:
            torch.ones(50_000_000, device="cuda").sum()
        return model(x).square().mean()

    batches = [torch.randn(8, 4, device="cuda") for _ in range(8)]
    plugins = [Memory(snapshot=True), AdamW()]
    result = Trainer(nn.Linear(4, 1), batches, loss=loss, plugins=plugins, watch=(), device="cuda", out=tmp_path).fit()
    peaks = {row["phase"]: row["peak bytes"] for row in result.sections["memory"].rows}
    assert peaks["forward"] >= 200_000_000
    assert peaks["forward"] - peaks["backward"] > 100_000_000, "cuBLAS keeps a workspace for each stream that there ever was"
    assert "memory.pickle" in result.files


def cupti_records() -> bool:
    """Return whether work of the device can be traced here: a container may forbid it, and the rehearsal has no CUPTI."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        torch.ones(4, device="cuda").add_(1)
    return any(row.self_device_time_total for row in profile.key_averages())


def test_the_profiler_sees_kernels_or_says_that_it_sees_none() -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(8)]
    plugins = [Profiler(first=2, updates=3), AdamW()]
    trainer = Trainer(nn.Linear(4, 1), batches, loss=lambda m, x: m(x).mean(), plugins=plugins, watch=(), device="cuda")
    records = cupti_records()
    with nullcontext() if records else pytest.warns(AccelWarning, match="CUPTI recorded no work of the device"):
        section = trainer.fit().sections["profiler"]
    assert ("on the device" if records else "on the CPU") in section.title
    assert float(section.rows[0]["self ms"]) > 0


@pytest.mark.parametrize("optim", [AdamW(), AdamW(fused=False)], ids=["fused", "not fused"])
def test_updates_that_are_not_finite_move_nothing(optim: Part) -> None:
    outcome = fit_toy([FiniteGuard(), optim, EMA(), Clip()], device="cuda", overflow=[3, 8])
    states = outcome.spy.states
    for update in (3, 8):
        assert all(torch.equal(a, b) for a, b in zip(states[update - 2], states[update - 1], strict=True))
    assert int(outcome.spy.run.parts.guard.skipped) == 2  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="finite_guard: the loss or a gradient was not finite in"):
        fit_toy([FiniteGuard(in_a_row=1)], device="cuda", overflow=[3])


def test_the_finite_guard_and_the_curves_do_not_wait(tmp_path: Path) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]
    plugins = [*everything("bfloat16"), FiniteGuard(), TensorBoard(every=2)]
    watch = ("metrics", Strict())
    Trainer(
        nn.Linear(4, 1), batches, loss=lambda m, x: m(x).float().mean(), plugins=plugins, watch=watch, device="cuda",
        out=tmp_path / "run",
    ).fit()  # fmt: skip
