"""LAMB and LARS against their definitions in float64, and against what may happen between two steps."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.optim import LAMB, LARS, tiles
from accel.optim.fused import Fused
from tests.support import reference_optimizers
from tests.support.fused_optimizers import saved_and_loaded

KINDS: list[type[Fused]] = [LAMB, LARS]
FIRST = {LAMB: {"lr": 0.01}, LARS: {"lr": 0.1}}
LIMIT = {LAMB: 5e-6, LARS: 1e-4}
LAMBS: list[dict[str, Any]] = [
    {}, {"exclude": "none"}, {"weight_decay": 0.0}, {"weight_decay": 0.0, "always_adapt": True}, {"max_grad_norm": None},
    {"bias_correction": False}, {"grad_averaging": False}, {"max_weight_norm": 1.0, "exclude": "none"}, {"trust_clip": True},
    {"betas": (0.0, 0.5), "eps": 1e-3, "weight_decay": 0.3, "max_grad_norm": 100.0},
]  # fmt: skip
LARSES: list[dict[str, Any]] = [
    {}, {"exclude": "none"}, {"momentum": 0.0}, {"nesterov": True}, {"weight_decay": 0.0}, {"weight_decay": 0.1, "eps": 0.01},
    {"trust_clip": True, "lr": 1e-3}, {"trust_coefficient": 0.1, "exclude": "none"},
]  # fmt: skip
CASES = [*((LAMB, settings) for settings in LAMBS), *((LARS, settings) for settings in LARSES)]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is large is cut, and what is small shares a tile."""
    monkeypatch.setattr(tiles, "CPU_TILE", 512)


def start() -> list[Tensor]:
    """Weights of all sizes: zeros, norms far above 10, a number, one that is cut in 21, one whose rows are no block of memory."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(64, 32), (48, 20), (100, 107), (128,), (3, 2, 3, 3), (), (1, 700), (600,)]
    weights = [torch.randn(shape, generator=rng) for shape in shapes]
    weights[1].zero_()
    weights[2].mul_(5)
    weights[4] = weights[4].contiguous(memory_format=torch.channels_last)
    return [
        *weights,
        torch.randn(40, 30, generator=rng).t(),
        torch.randn(16, 8, 3, 3, generator=rng).to(memory_format=torch.channels_last),
    ]


def gradients(weights: list[Tensor], steps: int = 10) -> list[list[Tensor]]:
    rng = torch.Generator().manual_seed(1)
    actual = [[0.3 * torch.randn(weight.shape, generator=rng) for weight in weights] for _ in range(steps)]
    for grads in actual:
        grads[7].zero_()  # never moved but by decay
    actual[1][0].zero_()
    actual[2] = [grad * 1e-5 for grad in actual[2]]
    return actual


def train(optim: Any, params: list[Any], steps: list[list[Tensor]], scale: float = 1.0) -> None:
    for grads in steps:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad * scale
        optim.step()


def fresh(dtype: torch.dtype = torch.float32) -> list[Any]:
    return [nn.Parameter(weight.clone().to(dtype)) for weight in start()]


@pytest.mark.parametrize(("kind", "settings"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_what_the_definition_says(kind: type[Fused], settings: dict[str, Any], dtype: torch.dtype) -> None:
    settings = FIRST[kind] | settings
    params, steps = fresh(dtype), gradients(start())
    train(kind(params, **settings), params, [[grad.to(dtype) for grad in grads] for grads in steps])
    wanted = getattr(reference_optimizers, kind.__name__.lower())(start(), steps, **settings)
    if dtype == torch.float32:
        assert max(reference_optimizers.distances(params, wanted)) < LIMIT[kind]
    else:  # nothing is lost in rounding, so the way itself can be compared
        assert max(reference_optimizers.distances(params, wanted, start())) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stay_as_they_were_found(kind: type[Fused]) -> None:
    params, grads = fresh(), gradients(start())[0]
    optim = kind(params)
    optim.grad_scale = torch.tensor(3.0)
    train(optim, params, [grads])
    assert all(torch.equal(param.grad, grad) for param, grad in zip(params, grads, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"exclude": "none"}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_consumed_gradients_make_the_same_bits(kind: type[Fused], settings: dict[str, Any], dtype: torch.dtype) -> None:
    actual, steps = [], [[grad.to(dtype) for grad in grads] for grads in gradients(start())]
    for consumes in (False, True):
        params = fresh(dtype)
        optim = kind(params, **settings)
        optim.frees_grads, optim.grad_scale = consumes, torch.tensor(3.0)
        train(optim, params, steps)
        actual.append(params)
    assert all(torch.equal(a, b) for a, b in zip(*actual, strict=True))


def test_gradients_are_consumed_only_where_asked_to_be() -> None:
    for consumes in (False, True):
        param, grad = nn.Parameter(torch.ones(4, 4)), torch.full((4, 4), 2.0)
        optim = LAMB([param])
        optim.frees_grads = consumes
        param.grad = grad.clone()
        optim.step()
        assert torch.equal(param.grad, grad) != consumes


@pytest.mark.parametrize("consumes", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_shared_memory_are_divided_once(kind: type[Fused], consumes: bool) -> None:
    params = [nn.Parameter(torch.full(shape, 0.5)) for shape in ((6, 4), (4, 6))]
    optim = kind(params, exclude="none")
    optim.frees_grads = consumes
    for scale in (3.0, 2.0):
        optim.zero_grad()
        ((params[0].reshape(-1) + params[1].reshape(-1)) * torch.arange(24.0)).sum().backward()  # type: ignore[no-untyped-call]
        assert params[0].grad is not None
        assert params[1].grad is not None
        assert params[0].grad.data_ptr() == params[1].grad.data_ptr()
        optim.grad_scale = torch.tensor(scale)
        optim.step()
    assert torch.equal(params[0].view(-1), params[1].view(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_is_a_slice_leaves_its_neighbours_alone(kind: type[Fused]) -> None:
    for shape in ((6, 10), (6,)):
        memory = torch.ones(*shape, 3)
        param = nn.Parameter(memory[..., 1])
        param.grad = torch.full(shape, 0.1)
        twin = nn.Parameter(torch.ones(shape))
        twin.grad = torch.full(shape, 0.1)
        for each in (param, twin):
            kind([each]).step()
        torch.testing.assert_close(param, twin, rtol=1e-6, atol=1e-7)
        assert (memory[..., ::2] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_grad_scale_divides(kind: type[Fused]) -> None:
    steps, actual = gradients(start()), []
    for scale in (1.0, 1024.0):
        params = fresh()
        optim = kind(params)
        optim.grad_scale = torch.tensor(scale)
        train(optim, params, steps, scale)
        actual.append(params)
    wanted = getattr(reference_optimizers, kind.__name__.lower())(start(), steps, lr=optim.defaults["lr"])
    assert max(reference_optimizers.distances(actual[1], wanted)) < LIMIT[kind]
    assert all(torch.equal(a, b) for a, b in zip(*actual, strict=True)), "a power of two changes no bit"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [0, 2])
def test_a_skipped_step_moves_nothing(kind: type[Fused], after: int) -> None:
    params, steps = fresh(), gradients(start())
    optim = kind(params)
    train(optim, params, steps[:after])
    before = [param.detach().clone() for param in params]
    states = [value.clone() for state in optim.state.values() for value in state.values()]
    optim.found_inf = torch.ones(())
    optim.grad_scale = torch.tensor(2.0)
    train(optim, params, [[torch.full_like(grad, torch.inf) for grad in steps[0]]])
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
    moved = [value for state in optim.state.values() for value in state.values()]
    assert all(torch.equal(a, b) for a, b in zip(moved, states, strict=True)) if after else not any(v.any() for v in moved)
    optim.found_inf, optim.grad_scale = torch.zeros(()), None
    train(optim, params, steps[after:])
    wanted = getattr(reference_optimizers, kind.__name__.lower())(start(), steps, lr=optim.defaults["lr"])
    assert max(reference_optimizers.distances(params, wanted)) < LIMIT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_scaler_skips_and_unscales(kind: type[Fused]) -> None:
    params, steps = fresh(), gradients(start(), 4)
    optim = kind(params)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for number, grads in enumerate([steps[0], [grad * torch.inf for grad in steps[0]], *steps[1:]]):
        optim.zero_grad()
        loss = torch.stack([(param * grad).sum() for param, grad in zip(params, grads, strict=True)]).sum()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optim)
        scaler.update()
        assert scaler.get_scale() == (4.0 if number == 0 else 2.0)
    wanted = getattr(reference_optimizers, kind.__name__.lower())(start(), steps, lr=optim.defaults["lr"])
    assert max(reference_optimizers.distances(params, wanted)) < LIMIT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_from_its_saved_state_with_the_same_bits(kind: type[Fused]) -> None:
    params, steps = fresh(), gradients(start())
    optim = kind(params)
    train(optim, params, steps[:5])
    other, others = saved_and_loaded(optim, params, kind)
    copied, theirs = pickle.loads(pickle.dumps((optim, params)))
    for each, mine in ((optim, params), (other, others), (copied, theirs)):
        train(each, mine, steps[5:])
    for i, (a, b, c) in enumerate(zip(params, others, theirs, strict=True)):
        assert torch.equal(a, b), i
        assert torch.equal(a, c), i


@pytest.mark.parametrize("kind", KINDS)
def test_groups_have_settings_of_their_own_and_may_come_later(kind: type[Fused]) -> None:
    params, steps = fresh(), gradients(start())
    late = {"params": params[2:], "lr": 0.003, "weight_decay": 0.2, "exclude": "none"}
    optim = kind(params[:2], lr=0.02)
    if kind is LAMB:
        late["max_grad_norm"] = None
        optim.param_groups[0]["max_grad_norm"] = None
    train(optim, params[:2], [grads[:2] for grads in steps[:1]])
    optim.add_param_group(late)
    assert len(optim.param_groups) == 2
    train(optim, params, steps[1:])
    call = getattr(reference_optimizers, kind.__name__.lower())
    none = {"max_grad_norm": None} if kind is LAMB else {}
    wanted = call(start()[:2], [grads[:2] for grads in steps], lr=0.02, **none)
    wanted += call(start()[2:], [grads[2:] for grads in steps[1:]], lr=0.003, weight_decay=0.2, exclude="none", **none)
    assert max(reference_optimizers.distances(params, wanted)) < LIMIT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_gradient_stays(kind: type[Fused]) -> None:
    params, steps = fresh(), gradients(start())
    optim = kind(params)
    for number, grads in enumerate(steps):
        for place, (param, grad) in enumerate(zip(params, grads, strict=True)):
            param.grad = grad if place % 2 == 0 or (number == 1 and place == 3) else None
        before = params[1].detach().clone(), params[3].detach().clone()
        optim.step()
        assert torch.equal(params[1], before[0])
        assert torch.equal(params[3], before[1]) == (number != 1)
    optim.zero_grad()
    optim.step()
    call = getattr(reference_optimizers, kind.__name__.lower())
    few = [start()[::2], [[g for i, g in enumerate(grads) if i % 2 == 0] for grads in steps]]
    if kind is LARS:  # LAMB clips by the norm of all that there are
        assert max(reference_optimizers.distances(params[::2], call(*few, lr=0.1))) < LIMIT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_and_a_closure_as_with_any_optimiser_of_torch(kind: type[Fused]) -> None:
    param = nn.Parameter(torch.ones(4, 4))
    optim = kind([param], lr=torch.tensor(0.5))
    schedule = torch.optim.lr_scheduler.StepLR(optim, 1)

    def loss() -> Tensor:
        optim.zero_grad()
        actual = (param**2).sum()
        actual.backward()  # type: ignore[no-untyped-call]
        return actual.detach()

    assert optim.step(loss) == 16
    schedule.step()
    assert optim.param_groups[0]["lr"] == pytest.approx(0.05)
    assert float(optim.step(loss)) < 16


def test_the_frequent_norm_is_taken_from_who_knows_it() -> None:
    param = nn.Parameter(torch.ones(4, 4))
    twin = nn.Parameter(torch.ones(4, 4))
    optims = [LAMB([param], betas=(0.0, 0.9), eps=1.0), LAMB([twin], betas=(0.0, 0.9), eps=1.0)]
    optims[1].scaled_norm = torch.tensor(100.0)
    for optim, each in zip(optims, (param, twin), strict=True):
        train(optim, [each], [[torch.arange(16.0).view(4, 4) - 3]])
    assert not torch.equal(param, twin)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov needs momentum"):
        LARS([nn.Parameter(torch.ones(2))], momentum=0.0, nesterov=True)
