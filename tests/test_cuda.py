"""What only a CUDA device can show. Everything else about these pieces is tested on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import TrainingError
from accel.optim import LAMB, LARS
from accel.parts import Autocast, Part, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.augment import Augment
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB as LAMBPlugin
from accel.plugins.lr_range import LRRange
from accel.plugins.master_weights import MasterWeights
from accel.plugins.memory import Memory
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.profiler import Profiler
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sync_guard import SyncGuard
from accel.plugins.tensorboard import TensorBoard
from accel.testing import fit_toy

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@contextmanager
def syncs_raise() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@dataclass(eq=False)
class Strict(Watch):
    """From the second update of an epoch on, anything that makes the host wait for the device raises."""

    def after(self, step: int, loss: Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error" if step < 8 else "default")

    def close(self) -> None:
        torch.cuda.set_sync_debug_mode("default")


def everything(dtype: Any, precision: type[Autocast] = AMP) -> list[Part]:
    return [precision(dtype=dtype), Accumulate(steps=2), Clip(), AdamW(), OneCycle(), EMA()]


@pytest.mark.parametrize("precision", [AMP, MasterWeights])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("tokens", [False, True])
def test_no_update_waits_for_the_device(dtype: str, tokens: bool, precision: type[Autocast]) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]

    def loss(model: nn.Module, x: Tensor) -> Any:
        value = model(x).float().square().mean()
        return (value, len(x)) if tokens else value

    watch = ("metrics", "progress", Strict())
    Trainer(nn.Linear(4, 1), batches, loss=loss, plugins=everything(dtype, precision), watch=watch, device="cuda").fit()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("optim", [AdamW, LAMBPlugin])
def test_adaptive_clipping_and_cycled_momentum_do_not_wait(dtype: Any, optim: Any) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]
    plugins = [AMP(dtype=dtype), Clip(mode="adaptive", skip="none"), optim(), OneCycle(cycle_momentum=True)]
    Trainer(
        nn.Linear(4, 1), batches, loss=lambda m, x: m(x).float().square().mean(), plugins=plugins, watch=(Strict(),), device="cuda"
    ).fit()


def test_adaptive_clipping_and_cycled_momentum_are_those_of_the_cpu() -> None:
    found = [
        fit_toy([Clip(mode="adaptive"), AdamW(), OneCycle(max_lr=0.05, cycle_momentum=True)], device=device, dropout=0.0)
        for device in ("cpu", "cuda")
    ]
    pairs = zip(*(outcome.weights for outcome in found), strict=True)
    assert max(float((a - b.cpu()).abs().max()) for a, b in pairs) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_run_after_a_range_test_is_the_run_without_it(dtype: Any) -> None:
    bare, tried = (fit_toy([*everything(dtype), *probe], device="cuda") for probe in ([], [LRRange(updates=12)]))
    assert bare.same(tried)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_skips_and_orders_hold(dtype: str) -> None:
    plugins = everything(dtype)
    ahead = fit_toy(plugins, device="cuda", overflow=[3])
    behind = fit_toy(everything(dtype)[::-1], device="cuda", overflow=[3])
    assert ahead.distance(behind) < 1e-6
    if dtype == "float16":
        assert int(ahead.spy.run.parts.precision.skipped) == 1  # type: ignore[arg-type]
        assert all(torch.isfinite(weight).all() for weight in ahead.weights)


def test_augmenting_does_not_wait_and_is_that_of_the_cpu() -> None:
    settings: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "resize_from": 0.5, "num_classes": 3}
    generator = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8, generator=generator),
            torch.randint(0, 3, (8,), generator=generator),
        )
        for _ in range(8)
    ]

    def train(device: str) -> list[Tensor]:
        net, seen = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), []

        def loss(model: nn.Module, batch: Any) -> Tensor:
            seen.extend(batch)
            return nn.functional.cross_entropy(model(batch[0].permute(0, 3, 1, 2)), batch[1])

        data = [tuple(member.to(device) for member in batch) for batch in batches]
        watch = (Strict(),) if device == "cuda" else ()
        Trainer(net, data, loss=loss, plugins=[Augment(**settings), AdamW()], watch=watch, device=device).fit()
        return seen

    for ours, theirs in zip(train("cuda"), train("cpu"), strict=True):
        assert torch.allclose(ours.cpu(), theirs, atol=1e-2)  # of 255


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_master_weights_are_amp_to_the_last_bit(dtype: str) -> None:
    amp = fit_toy(everything(dtype), device="cuda", overflow=[3], epochs=3)
    assert amp.same(fit_toy(everything(dtype, MasterWeights), device="cuda", overflow=[3], epochs=3))


@pytest.mark.parametrize("optim", [Muon, ScheduleFree, lambda: ScheduleFree(base="sgd")])
def test_muon_and_schedule_free_wait_for_nothing_and_follow_the_cpu(optim: Any) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]
    plugins = [AMP(dtype="float16"), Accumulate(steps=2), Clip(), optim()]
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1))
    Trainer(
        model, batches, loss=lambda m, x: m(x).float().square().mean(), plugins=[*plugins, Strict()], watch=(), device="cuda"
    ).fit()
    skipped = fit_toy([AMP(dtype="float16"), optim()], device="cuda", overflow=[3])
    assert int(skipped.spy.run.parts.precision.skipped) == 1  # type: ignore[arg-type]
    here, there = (fit_toy([optim()], device=device, dropout=0.0) for device in ("cpu", "cuda"))
    for mine, theirs in zip(here.weights, there.weights, strict=True):
        torch.testing.assert_close(mine, theirs.cpu(), rtol=0.0, atol=2e-2 if optim is Muon else 1e-4)


def test_cuda_random_numbers_are_resumed(tmp_path: Any) -> None:
    whole = fit_toy([AdamW()], device="cuda", epochs=3)
    fit_toy([AdamW()], device="cuda", epochs=3, out=tmp_path / "run", stop=13)
    rest = fit_toy([AdamW()], device="cuda", epochs=3, resume=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.losses[12:], rest.losses, strict=True))


@pytest.mark.parametrize("consumes", [False, True])
@pytest.mark.parametrize("kind", [LAMB, LARS])
def test_lamb_and_lars_wait_for_nobody_and_equal_the_cpu(kind: Any, consumes: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(64, 32), (33, 5), (8, 4, 3, 3), (128,), ()]
    weights = [torch.randn(shape, generator=rng) for shape in shapes]
    steps = [[torch.randn(shape, generator=rng) for shape in shapes] for _ in range(6)]
    found = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(weight.to(device, copy=True)) for weight in weights]
        optim = kind(params)
        optim.consumes, optim.grad_scale, optim.found_inf = (
            consumes,
            torch.tensor(4.0, device=device),
            torch.zeros((), device=device),
        )
        for number, grads in enumerate(steps):
            for param, grad in zip(params, grads, strict=True):
                param.grad = (grad * 4).to(device)
            with syncs_raise() if device == "cuda" and number else nullcontext():
                optim.found_inf.fill_(float(number == 3))
                optim.step()
        found.append(params)
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs.cpu(), rtol=1e-5, atol=1e-6)


def test_the_counter_sees_what_waits() -> None:
    with syncs_raise(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(1, device="cuda").item()


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
    for ours, places in ((loss, ["tests/test_cuda.py"]), (lambda model, x: model(x).square().mean(), [])):
        result = Trainer(nn.Linear(4, 1), batches, loss=ours, plugins=[SyncGuard(), AdamW()], watch=(), device="cuda").fit()
        found = [str(row["where"]).partition(":")[0] for row in result.sections["sync_guard"].rows]
        assert found == places
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
    assert peaks["backward"] < 100_000_000
    assert "memory.pickle" in result.files


def test_the_profiler_sees_kernels() -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(8)]
    plugins = [Profiler(first=2, updates=3), AdamW()]
    result = Trainer(
        nn.Linear(4, 1), batches, loss=lambda m, x: m(x).mean(), plugins=plugins, watch=(), device="cuda"
    ).fit()  # fmt: skip
    section = result.sections["profiler"]
    assert "on the device" in section.title
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
    Trainer(nn.Linear(4, 1), batches, loss=lambda m, x: m(x).float().mean(), plugins=plugins, watch=watch, device="cuda").fit()
