"""The routes by which parameters on a device move together, on a CPU: they give the numbers of the routes for the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import accel.optim.kernel_row
from accel.optim import LAMB, LARS, Muon, ScheduleFree
from accel.optim.adamw import FusedAdamW
from accel.optim.fused import Fused
from accel.optim.kernel_row import WHOLE
from accel.optim.kernels.kernel_check import select_kernel
from accel.optim.kernels.multi_tensor import interpolate
from accel.optim.kernels.unit_clip import clip_together, has_rows, unit_blocks
from accel.optim.sgd import FusedSGD
from accel.plugins.clip import clip_units

CASES: dict[str, Callable[[Any], Fused]] = {
    "lamb": LAMB,
    "lamb without decay": lambda params: LAMB(params, weight_decay=0.0),
    "lamb always": lambda params: LAMB(params, weight_decay=0.0, always_adapt=True),
    "lamb all": lambda params: LAMB(params, exclude="none", max_weight_norm=0.5, trust_clip=True, max_grad_norm=0.5),
    "lamb bare": lambda params: LAMB(params, bias_correction=False, grad_averaging=False, max_grad_norm=None),
    "lars": LARS,
    "lars all": lambda params: LARS(params, exclude="none", trust_clip=True, nesterov=True),
    "lars without momentum": lambda params: LARS(params, momentum=0.0, weight_decay=0.0),
    "schedule_free": ScheduleFree,
    "schedule_free warm": lambda params: ScheduleFree(params, weight_decay=0.1, warmup=3, r=1.0),
    "schedule_free sgd": lambda params: ScheduleFree(params, lr=0.1, base="sgd", weight_decay=0.1, weight_lr_power=1.0),
    "adamw": lambda params: FusedAdamW(params, weight_decay=0.1),
    "sgd": lambda params: FusedSGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "muon": lambda params: Muon(params, lr=0.01, weight_decay=0.1, ns_dtype="float32", rest="adamw"),
    "muon without nesterov": lambda params: Muon(params, lr=0.01, nesterov=False, ns_dtype="float32", rest="adamw"),
}
SHAPES = [(4, 3), (5,), (2, 3, 3, 3), (7,), (3, 4), ()]


@pytest.fixture
def device_routes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let parameters on a CPU take the routes of a device from the call on."""

    def switch() -> None:
        monkeypatch.setattr(accel.optim.kernel_row, "moves_together", lambda tensor, sharding=WHOLE: sharding.mesh is None)

    return switch


def make_params(dtype: torch.dtype, layout: str) -> list[nn.Parameter]:
    torch.manual_seed(0)
    params = []
    for index, shape in enumerate(SHAPES):
        values = torch.randn(shape).to(dtype)
        if layout == "other" and values.dim() == 4:
            values = values.to(memory_format=torch.channels_last)
        elif layout == "other" and values.dim() == 2:
            values = values.t().contiguous().t()
        elif layout == "slices" and values.dim() == 2:
            values = torch.cat([values, values], 1)[:, : shape[1]]
        params.append(nn.Parameter(torch.zeros_like(values) if index == 4 else values))
    return params


def run(make: Callable[[Any], Fused], dtype: torch.dtype, layout: str, frees: bool, scaled: bool, lr: bool) -> list[Tensor]:
    params = make_params(dtype, layout)
    optimizer = make(params)
    optimizer.frees_grads = frees
    if lr:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])
    generator = torch.Generator().manual_seed(1)
    for step in range(4):
        for index, param in enumerate(params):
            grad = torch.empty_like(param).copy_(torch.randn(param.shape, generator=generator))
            param.grad = grad * (index != 5) * (8.0 if scaled else 1.0)
        if scaled:
            optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(float(step in (0, 3)))
        before = [tensor.clone() for tensor in everything(optimizer, params)]
        kept = [param.grad.clone() for param in params if param.grad is not None]
        if scaled and step in (0, 3):
            for param in params:
                param.grad.fill_(torch.inf)  # type: ignore[union-attr]
            optimizer.step()
            assert all(map(torch.equal, everything(optimizer, params), before)) or step == 0
        else:
            optimizer.step()
            writes = frees or optimizer.divides
            assert writes or all(torch.equal(param.grad, grad) for param, grad in zip(params, kept, strict=True))  # type: ignore[arg-type]
    return [tensor.detach().clone() for tensor in everything(optimizer, params)]


def everything(optimizer: Fused, params: list[nn.Parameter]) -> list[Tensor]:
    return [*(param.detach() for param in params), *(value for param in params for value in optimizer.state[param].values())]


@pytest.mark.parametrize(
    ("dtype", "layout", "frees", "scaled", "lr"),
    [
        (torch.float32, "plain", False, False, False),
        (torch.float32, "plain", True, True, False),
        (torch.float32, "other", False, True, True),
        (torch.float32, "slices", False, True, False),
        (torch.bfloat16, "other", True, True, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("case", CASES)
def test_the_route_of_a_device_gives_the_numbers_of_the_host(
    case: str, dtype: torch.dtype, layout: str, frees: bool, scaled: bool, lr: bool, device_routes: Callable[[], None]
) -> None:
    expected = run(CASES[case], dtype, layout, frees, scaled, lr)
    device_routes()
    actual = run(CASES[case], dtype, layout, frees, scaled, lr)
    tolerance = {"rtol": 3e-2, "atol": 3e-2} if dtype == torch.bfloat16 else {"rtol": 2e-5, "atol": 2e-6}
    torch.testing.assert_close(actual, expected, **tolerance)


@pytest.mark.parametrize("cycled", ["even", "uneven"])
def test_lamb_with_a_cycled_beta(cycled: str, device_routes: Callable[[], None]) -> None:
    def make(params: Any) -> Fused:
        optimizer = LAMB(params)
        optimizer.param_groups[0].update(cycled=True, uneven=cycled == "uneven")
        return optimizer

    expected = run(make, torch.float32, "plain", True, True, False)
    device_routes()
    torch.testing.assert_close(run(make, torch.float32, "plain", True, True, False), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("gaps", [(), (0, 2, 4), (1, 3, 5)], ids=["all", "excluded alone", "adapted alone"])
@pytest.mark.parametrize(("dtype", "layout", "scaled"), [(torch.float32, "plain", False), (torch.bfloat16, "slices", True)])
@pytest.mark.parametrize("case", [case for case, make in CASES.items() if make([nn.Parameter(torch.ones(1))]).per_parameter])
def test_the_bits_of_a_parameter_do_not_depend_on_which_move_with_it(
    case: str, dtype: torch.dtype, layout: str, scaled: bool, gaps: tuple[int, ...], device_routes: Callable[[], None]
) -> None:
    device_routes()
    expected, actual = (stepped(CASES[case], dtype, layout, scaled, gaps, one_by_one) for one_by_one in (False, True))
    assert all(map(torch.equal, actual, expected))


def stepped(
    make: Callable[[Any], Fused], dtype: torch.dtype, layout: str, scaled: bool, gaps: tuple[int, ...], one_by_one: bool
) -> list[Tensor]:
    """Return parameters and state after steps in which those at `gaps` have no gradient."""
    params = make_params(dtype, layout)
    optimizer = make(params)
    for group in optimizer.param_groups:
        group.update({"max_grad_norm": None} if "max_grad_norm" in group else {})
    if scaled:
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for index, param in enumerate(params):
            grad = torch.empty_like(param).copy_(torch.randn(param.shape, generator=generator))
            param.grad = None if index in gaps else grad
        if one_by_one:
            for param in params:
                if param.grad is not None:
                    optimizer.step_one(param)
        else:
            optimizer.step()
    return everything(optimizer, params)


@pytest.mark.parametrize("case", CASES)
def test_a_skipped_step_of_some_parameters_moves_nothing(case: str, device_routes: Callable[[], None]) -> None:
    device_routes()
    params = make_params(torch.float32, "plain")
    optimizer = CASES[case](params)
    optimizer.grad_scale = torch.tensor(2.0)
    for found_inf in (0.0, 1.0):
        optimizer.found_inf = torch.tensor(found_inf)
        before = [tensor.clone() for tensor in everything(optimizer, params)]
        for index, param in enumerate(params):
            param.grad = torch.full_like(param, torch.inf if found_inf else 0.5) if index % 3 else None
        optimizer.step()
    assert all(map(torch.equal, everything(optimizer, params), before))


def test_lamb_moves_by_updates_whose_squares_are_too_small(device_routes: Callable[[], None]) -> None:
    device_routes()
    param = nn.Parameter(torch.full((4, 4), 0.5))
    optimizer = LAMB([param], weight_decay=0.0, always_adapt=True, lr=1.0)
    param.grad = torch.full_like(param, 1e-30)
    optimizer.step()
    assert 0 < (param - 0.5).abs().max() < 1e-6 or torch.equal(param, torch.full((4, 4), 0.5))


@pytest.mark.parametrize("decay", [1e-38, 1e-5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lamb_holds_its_direction_over_any_decay(dtype: torch.dtype, decay: float, device_routes: Callable[[], None]) -> None:
    device_routes()
    param = nn.Parameter(torch.linspace(0.5, 1.0, 16).view(4, 4).to(dtype))
    begun = param.detach().clone()
    optimizer = LAMB([param], weight_decay=decay, lr=0.125, eps=1e-3)
    for _ in range(2):
        param.grad = torch.ones_like(param)
        optimizer.step()
    assert torch.isfinite(param).all()
    assert (begun - param.detach()).float().norm() == pytest.approx(0.25 * float(begun.float().norm()), rel=0.2)


def test_an_average_moves_in_the_kernel_of_sgd() -> None:
    for dtype in (torch.float32, torch.float64):
        starts, ends = ([torch.randn(5, dtype=dtype), torch.randn(2, 3, dtype=dtype)] for _ in range(2))
        for skip in (0.0, 1.0):
            moved = [tensor.clone() for tensor in starts]
            interpolate(select_kernel("sgd", dtype, torch.device("cpu")), moved, ends, torch.tensor(0.25), torch.tensor(skip))
            torch.testing.assert_close(moved, starts if skip else torch._foreach_lerp(starts, ends, 0.25))


@pytest.mark.parametrize("size", [1, 20, 1 << 20])
@pytest.mark.parametrize("layout", ["plain", "other", "slices"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_units_are_clipped_together_as_one_by_one(dtype: torch.dtype, layout: str, size: int) -> None:
    torch.manual_seed(2)
    params = make_params(dtype, layout)
    for param in params:
        param.grad = torch.randn_like(param)
    mine = [param for param in params if param.grad is not None and has_rows(param, param.grad)]
    assert len(mine) == len(params) - {"plain": 0, "other": 2, "slices": 1}[layout]
    grads = [param.grad.clone() for param in mine if param.grad is not None]
    weights = [param.detach() for param in mine]
    clip_together(list(unit_blocks(weights, 1e-3, size)), weights, grads, 0.1)
    clip_units(list(params), 0.1, 1e-3)
    torch.testing.assert_close(grads, [param.grad for param in mine], rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)
