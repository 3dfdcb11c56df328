"""A beta1 that moves: the first moment is divided by the weight that it has really given to gradients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import cos
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.errors import AccelWarning, ConfigError
from accel.optim import LAMB, tiles
from accel.optim.adamw import FusedAdamW
from accel.optim.cycled_betas import WEIGHT, correction, update_weights
from accel.optim.fused import Fused
from accel.parts import Optim, Part
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cyclic import Cyclic
from accel.plugins.lamb import LAMB as LAMBPlugin
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.testing import HostReads, fit_toy
from tests.support.handwritten_loop import hand_loop

BETAS = [0.875 + 0.075 * cos(step / 5) for step in range(60)]
SHAPES = [(8, 5), (7,), (3, 2, 2, 2), (40, 30)]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "CPU_TILE", 512)


def reference(
    kind: type[Fused], params: list[Tensor], steps: list[list[Tensor | None]], betas: Sequence[float], lr: float, decay: float,
    skip: Sequence[int] = (),
) -> list[Tensor]:  # fmt: skip
    """The weights after all steps in float64: each mean is divided by the sum of the weights in it."""
    actual = [param.detach().double() for param in params]
    first, second = ([torch.zeros_like(p) for p in actual] for _ in range(2))
    products, counts = [1.0] * len(actual), [0] * len(actual)
    for number, grads in enumerate(steps):
        if number in skip:
            continue
        b1, b2 = betas[number], 0.999
        for i, grad in enumerate(grads):
            if grad is None:
                continue
            g = grad.double()
            products[i] *= b1
            counts[i] += 1
            first[i] = b1 * first[i] + (1 - b1) * g
            second[i] = b2 * second[i] + (1 - b2) * g * g
            direction = (first[i] / (1 - products[i])) / ((second[i] / (1 - b2 ** counts[i])).sqrt() + 1e-6)
            if kind is FusedAdamW:
                actual[i] = actual[i] * (1 - lr * decay) - lr * direction
            else:
                apart = actual[i].dim() <= 1
                direction = direction + (0.0 if apart else decay) * actual[i]
                adapts = not apart and decay
                actual[i] = actual[i] - lr * direction * (actual[i].norm() / direction.norm() if adapts else 1.0)
    return actual


def start() -> list[nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in SHAPES]


def gradients(count: int = 60, holes: bool = False) -> list[list[Tensor | None]]:
    rng = torch.Generator().manual_seed(1)
    actual: list[list[Tensor | None]] = [[torch.randn(shape, generator=rng) * 0.1 for shape in SHAPES] for _ in range(count)]
    if holes:
        for number, grads in enumerate(actual):
            if number % 3 == 0:
                grads[1] = None
            if number % 4 == 1:
                grads[3] = None
    return actual


def make(kind: type[Fused], params: list[nn.Parameter], decay: float) -> Any:
    last = {"max_grad_norm": None} if kind is LAMB else {}
    optim = kind(params, lr=0.01, eps=1e-6, weight_decay=decay, **last)  # type: ignore[call-arg]
    optim.param_groups[0]["cycled"] = True
    return optim


def train(
    optim: Any, params: list[nn.Parameter], steps: list[list[Tensor | None]], first: int = 0, skip: Sequence[int] = ()
) -> None:
    for number, grads in enumerate(steps, start=first):
        for param, grad in zip(params, grads, strict=True):
            param.grad = None if grad is None else grad.clone()
            if number in skip and param.grad is not None:
                param.grad.fill_(torch.inf)
        optim.found_inf = torch.tensor(float(number in skip)) if skip else None
        optim.param_groups[0]["betas"] = (BETAS[number], 0.999)
        optim.step()


def far(params: list[nn.Parameter], wanted: list[Tensor]) -> float:
    """How far the weights are off, as a share of their way from the start; the largest of all parameters."""
    ways = zip(params, wanted, start(), strict=True)
    return max(float((p.detach().double() - w).norm() / (w - s.detach().double()).norm()) for p, w, s in ways)


KINDS: list[type[Fused]] = [FusedAdamW, LAMB]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("holes", [False, True], ids=["", "holes"])
@pytest.mark.parametrize("skip", [(), (0, 1, 7, 30)], ids=["", "skips"])
def test_it_is_the_float64_reference(kind: type[Fused], decay: float, holes: bool, skip: Sequence[int]) -> None:
    params, steps = start(), gradients(holes=holes)
    train(make(kind, params, decay), params, steps, skip=skip)
    assert far(params, reference(kind, list(start()), steps, BETAS, 0.01, decay, skip)) < 1e-5
    wrong = start()
    optim = make(kind, wrong, decay)
    optim.param_groups[0]["cycled"] = False
    train(optim, wrong, steps, skip=skip)
    assert far(wrong, reference(kind, list(start()), steps, BETAS, 0.01, decay, skip)) > 1e-3, "the kernel's own division is not it"


def test_how_far_off_the_division_by_one_power_is() -> None:
    """What onecycle's default cycle costs without the correction, and that it is gone with it."""
    schedule = OneCycle()
    schedule.last_step = 99
    momenta, weights = [schedule.momentum(step) for step in range(100)], torch.zeros(1)
    wrong, right = [], []
    product = 1.0
    for step, beta1 in enumerate(momenta, start=1):
        product *= beta1
        update_weights(weights, beta1, None)
        actual = float(correction(torch.tensor([float(step)]), weights, beta1))
        wrong.append(abs((1 - product) / (1 - beta1**step) - 1))
        right.append(abs((1 - beta1**step) / actual / (1 - product) - 1))
    assert 0.1 < max(wrong) < 0.2
    assert max(right) < 1e-6


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.999])
def test_the_correction_keeps_its_digits_from_the_first_step_on(beta1: float) -> None:
    weights, product = torch.zeros(1), 1.0
    for step in range(1, 200):
        update_weights(weights, beta1, None)
        product *= beta1
        assert float(weights) == pytest.approx(1 - product, rel=2e-6)
        assert float(correction(torch.tensor([float(step)]), weights, beta1)) == pytest.approx(1.0, rel=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_made_the_same_steps_is_moved_together_with_the_same_bits(kind: type[Fused]) -> None:
    results = []
    for uneven in (False, True):
        params = start()
        optim = make(kind, params, 0.1)
        optim.param_groups[0]["uneven"] = uneven
        train(optim, params, gradients())
        results.append(params)
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holes", [False, True], ids=["", "holes"])
def test_it_goes_on_from_its_saved_state_with_the_same_bits(kind: type[Fused], holes: bool) -> None:
    params, steps = start(), gradients(holes=holes)
    optim = make(kind, params, 0.1)
    train(optim, params, steps[:25])
    saved, others = copy.deepcopy(optim.state_dict()), [nn.Parameter(param.detach().clone()) for param in params]
    other = make(kind, others, 0.1)
    other.load_state_dict(saved)
    train(optim, params, steps[25:], first=25)
    train(other, others, steps[25:], first=25)
    assert all(map(torch.equal, params, others))


def test_the_weight_stays_float32_beside_short_parameters() -> None:
    param = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optim = make(FusedAdamW, [param], 0.0)
    train(optim, [param], [[torch.ones(4, dtype=torch.bfloat16)]])
    saved = optim.state_dict()
    other = make(FusedAdamW, [param], 0.0)
    other.load_state_dict(saved)
    assert other.state[param][WEIGHT].dtype == torch.float32
    assert torch.equal(other.state[param][WEIGHT], saved["state"][0][WEIGHT])


def test_nothing_is_kept_or_read_unless_it_is_asked_for() -> None:
    plain = fit_toy([AdamW(), OneCycle()]).spy.run.parts.optim.optimizer
    assert {name for state in plain.state.values() for name in state} == {"exp_avg", "exp_avg_sq", "step"}
    assert not any("cycled" in group or "uneven" in group for group in plain.param_groups)
    params = start()
    optim = make(FusedAdamW, params, 0.1)
    with HostReads() as reads:
        train(optim, params, gradients(5, holes=True), skip=())
    assert reads.count == 0


@pytest.mark.parametrize("clip", [[], [Clip(max_norm=0.1)]], ids=["", "clip"])
def test_a_run_with_onecycle_is_a_loop_by_hand(clip: list[Part]) -> None:
    schedule = OneCycle(max_lr=0.05, cycle_momentum=True)
    result = fit_toy([AdamW(weight_decay=0.1), schedule, *clip])
    products: list[float] = [1.0]

    class ByHand(torch.optim.Optimizer):
        def __init__(self, model: nn.Module) -> None:
            super().__init__(model.parameters(), {"lr": 0.0})
            self.t = 0

        @torch.no_grad()
        def step(self) -> None:  # type: ignore[override]
            lr, b1 = schedule.lr(self.t), schedule.momentum(self.t)
            products.append(products[-1] * b1)
            self.t += 1
            for param in self.param_groups[0]["params"]:
                state = self.state[param]
                g = param.grad.double()
                state["m"] = b1 * state.get("m", 0.0) + (1 - b1) * g
                state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * g * g
                moved = state["m"] / (1 - products[-1]) / ((state["v"] / (1 - 0.999**self.t)).sqrt() + 1e-8)
                param.copy_(param.double() * (1 - lr * 0.1) - lr * moved)

    weights, _ = hand_loop(
        ByHand, before_step=(lambda model: nn.utils.clip_grad_norm_(model.parameters(), 0.1)) if clip else lambda model: None
    )
    assert max(float((a - b).abs().max()) for a, b in zip(result.weights, weights, strict=True)) < 2e-5


@pytest.mark.parametrize("optim", [AdamW, LAMBPlugin, Muon])
@pytest.mark.parametrize("schedule", [OneCycle, Cyclic])
def test_a_stopped_run_and_skipped_updates(optim: type[Optim], schedule: Any, tmp_path: Path) -> None:
    def plugins() -> list[Part]:
        return [AMP(dtype="float16", force=True, init_scale=1024.0), optim(), schedule(cycle_momentum=True)]

    whole = fit_toy(plugins(), overflow=[1, 4])
    states = whole.spy.states
    assert all(torch.equal(a, b) for a, b in zip(states[2], states[3], strict=True))
    assert all(torch.isfinite(weight).all() for weight in whole.weights)
    fit_toy(plugins(), out=tmp_path / "run", checkpoint_every=1, stop=9, overflow=[1, 4])
    rest = fit_toy(plugins(), resume=tmp_path / "run")
    assert all(map(torch.equal, whole.weights, rest.weights))
    assert all(torch.equal(a, b) for a, b in zip(states[-1], rest.spy.states[-1], strict=True))


def test_what_cannot_be_corrected_is_said() -> None:
    with pytest.warns(AccelWarning, match=r"onecycle.cycle_momentum: adamw corrects its first moment as if beta1 had never moved"):
        fit_toy([AdamW(fused=False), OneCycle(cycle_momentum=True)])
    with pytest.raises(ConfigError, match=r"lamb.grad_averaging=false keeps a sum in which beta1 cannot move"):
        fit_toy([LAMBPlugin(grad_averaging=False), OneCycle(cycle_momentum=True)])
    fit_toy([LAMBPlugin(bias_correction=False), OneCycle(cycle_momentum=True)])


def test_muons_adamw_keeps_the_weight_and_its_matrices_have_none() -> None:
    optimizer = fit_toy([Muon(), OneCycle(cycle_momentum=True)]).spy.run.parts.optim.optimizer
    names = {tuple(sorted(state)) for state in optimizer.state.values()}
    assert names == {("exp_avg", "exp_avg_sq", WEIGHT, "step"), ("momentum_buffer",)}
