"""Updates on a CUDA device: nothing waits for it, and the numbers are those of the CPU."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer, optim
from accel.parts import Autocast
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.augment import Augment
from accel.plugins.clip import Clip
from accel.plugins.lamb import LAMB
from accel.plugins.lr_range import LRRange
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.schedule_free import ScheduleFree
from accel.testing import fit_toy
from tests.support.cuda_runs import everything, syncs_raise
from tests.support.sync_error_watch import Strict

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


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
@pytest.mark.parametrize("make", [AdamW, LAMB])
def test_adaptive_clipping_and_cycled_momentum_do_not_wait(dtype: Any, make: Any) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]
    plugins = [AMP(dtype=dtype), Clip(mode="adaptive", skip="none"), make(), OneCycle(cycle_momentum=True)]
    Trainer(
        nn.Linear(4, 1), batches, loss=lambda m, x: m(x).float().square().mean(), plugins=plugins, watch=(Strict(),), device="cuda"
    ).fit()


def test_adaptive_clipping_and_cycled_momentum_are_those_of_the_cpu() -> None:
    actual = [
        fit_toy([Clip(mode="adaptive"), AdamW(), OneCycle(max_lr=0.05, cycle_momentum=True)], device=device, dropout=0.0)
        for device in ("cpu", "cuda")
    ]
    pairs = zip(*(outcome.weights for outcome in actual), strict=True)
    assert max(float((a - b.cpu()).abs().max()) for a, b in pairs) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_run_after_a_range_test_is_the_run_without_it(dtype: Any) -> None:
    bare, tried = (fit_toy([*everything(dtype), *probe], device="cuda") for probe in ([], [LRRange(updates=12)]))
    assert bare.equals(tried)


def overflow(dtype: str) -> list[int]:
    """The updates whose loss is infinite: in float16 they are skipped, and bfloat16 has no loss scale that would notice."""
    return [3] if dtype == "float16" else []


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_skips_and_orders_hold(dtype: str) -> None:
    ahead = fit_toy(everything(dtype), device="cuda", overflow=overflow(dtype))
    behind = fit_toy(everything(dtype)[::-1], device="cuda", overflow=overflow(dtype))
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

    for on_gpu, on_cpu in zip(train("cuda"), train("cpu"), strict=True):
        assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-2)  # of 255


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_master_weights_are_amp_to_the_last_bit(dtype: str) -> None:
    amp = fit_toy(everything(dtype), device="cuda", overflow=overflow(dtype), epochs=3)
    assert amp.equals(fit_toy(everything(dtype, MasterWeights), device="cuda", overflow=overflow(dtype), epochs=3))


@pytest.mark.filterwarnings("ignore:muon. this CPU has no bfloat16:accel.errors.AccelWarning")
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
    for mine, on_cpu in zip(here.weights, there.weights, strict=True):
        torch.testing.assert_close(mine, on_cpu.cpu(), rtol=0.0, atol=2e-2 if optim is Muon else 1e-4)


def test_cuda_random_numbers_are_resumed(tmp_path: Any) -> None:
    whole = fit_toy([AdamW()], device="cuda", epochs=3)
    fit_toy([AdamW()], device="cuda", epochs=3, out=tmp_path / "run", stop=13)
    rest = fit_toy([AdamW()], device="cuda", epochs=3, resume=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.losses[12:], rest.losses, strict=True))


@pytest.mark.parametrize("consumes", [False, True])
@pytest.mark.parametrize("kind", [optim.LAMB, optim.LARS])
def test_lamb_and_lars_wait_for_nobody_and_equal_the_cpu(kind: Any, consumes: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(64, 32), (33, 5), (8, 4, 3, 3), (128,), ()]
    weights = [torch.randn(shape, generator=rng) for shape in shapes]
    steps = [[torch.randn(shape, generator=rng) for shape in shapes] for _ in range(6)]
    actual = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(weight.to(device, copy=True)) for weight in weights]
        optim = kind(params)
        optim.frees_grads, optim.grad_scale, optim.found_inf = (
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
        actual.append(params)
    for mine, on_cpu in zip(*actual, strict=True):
        torch.testing.assert_close(mine, on_cpu.cpu(), rtol=1e-5, atol=1e-6)


def test_the_counter_sees_what_waits() -> None:
    with syncs_raise(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(1, device="cuda").item()
