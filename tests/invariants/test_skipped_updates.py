"""A skipped update moves nothing, fused or not, and everything keeps one rule about it."""

from __future__ import annotations

import pytest
import torch

from accel.parts import Optim, Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.ema import EMA
from accel.plugins.sgd import SGD
from accel.testing import ToyResult, fit_toy

OVERFLOW = [1, 4, 5, 9]


def half(**settings: float) -> AMP:
    return AMP(dtype="float16", force=True, **settings)  # type: ignore[arg-type]


def train(*plugins: Part, overflow: list[int] = OVERFLOW) -> ToyResult:
    return fit_toy([half(), *plugins], overflow=overflow, epochs=2)


@pytest.mark.parametrize("optim", [SGD(), SGD(fused=False), AdamW(), AdamW(fused=False)], ids=lambda o: f"{o.name}-{o.fused}")
@pytest.mark.parametrize("clip", [[], [Clip(max_norm=0.5)]], ids=["", "clip"])
def test_nothing_moves(optim: Optim, clip: list[Part]) -> None:
    outcome = train(optim, EMA(), *clip)
    states = outcome.spy.states
    for update in OVERFLOW[1:]:
        assert not torch.isfinite(outcome.losses[update - 1])
        assert all(torch.equal(a, b) for a, b in zip(states[update - 2], states[update - 1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(states[-2], states[-1], strict=True)), "training must go on"
    assert all(torch.isfinite(tensor).all() for tensor in states[-1])


@pytest.mark.parametrize("optim", [SGD, AdamW])
def test_an_overflow_in_the_very_first_update_leaves_no_garbage(optim: type[Optim]) -> None:
    # torch 2.13: a fused SGD whose first step is skipped keeps uninitialised momentum, and adds it to the weights
    fused, plain = train(optim(), overflow=[1, 2]), train(optim(fused=False), overflow=[1, 2])
    assert fused.distance(plain) < 1e-6


def test_the_optimisers_counters_stay() -> None:
    outcome = train(AdamW())
    state = outcome.spy.run.parts.optim.state_dict()["state"]
    assert {int(entry["step"]) for entry in state.values()} == {12 - len(OVERFLOW)}


def test_the_schedule_counts_windows_whether_skipped_or_not_fused_or_not() -> None:
    for fused in (True, False):
        outcome = train(AdamW(fused=fused), Cosine(floor=0.1))
        group = outcome.spy.run.parts.optim.optimizer.param_groups[0]
        assert group["lr"] == AdamW.lr * 0.1, "the last update has the floor's rate exactly"
        assert outcome.spy.run.progress.step == 12


def test_an_overflow_in_one_micro_batch_skips_its_window_alone() -> None:
    outcome = fit_toy([half(), Accumulate(steps=2)], overflow=[4], epochs=1)
    finite = [bool(torch.isfinite(loss)) for loss in outcome.losses]
    assert finite == [True, False, True]
    states = outcome.spy.states
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert int(outcome.spy.run.parts.precision.skipped) == 1  # type: ignore[arg-type]


def test_the_scale_follows_torchs_grad_scaler() -> None:
    seen = []

    class Look(AMP):
        def adapt(self, grads):  # type: ignore[no-untyped-def]
            super().adapt(grads)
            seen.append((float(grads.found_inf), float(self.scale)))

    amp = Look(dtype="float16", force=True, init_scale=64.0, growth_interval=3, growth_factor=4.0, backoff_factor=0.25)
    fit_toy([amp], overflow=[2, 3, 9], epochs=3)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3, growth_factor=4.0, backoff_factor=0.25)
    param = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([param], lr=0.0)
    assert [bool(actual) for actual, _ in seen[:3]] == [False, True, True]
    for actual, scale in seen:
        scaler.scale(torch.ones(()))
        param.grad = torch.full((1,), torch.inf if actual else 1.0)
        scaler.step(optimizer)
        scaler.update()
        assert scale == scaler.get_scale()


@pytest.mark.filterwarnings("ignore:the run ended with weights that are not finite")
def test_without_a_loss_scale_nothing_is_skipped() -> None:
    outcome = fit_toy([SGD()], overflow=[2], epochs=1)
    assert any(torch.isnan(weight).any() for weight in outcome.weights), "float32 keeps torch's behaviour: the user sees it"
