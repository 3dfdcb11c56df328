"""A fused kernel is believed only where it has been seen to be right; elsewhere plain operations move the weights."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.optim import LAMB, LARS, Muon, ScheduleFree
from accel.optim.adamw import FusedAdamW
from accel.optim.fused import Fused
from accel.optim.kernels.kernel_check import fused_kernel, is_right, select_kernel
from accel.optim.kernels.plain_kernels import PLAIN
from accel.optim.sgd import FusedSGD

CPU = torch.device("cpu")
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_fused_kernel_is_taken_where_it_is_right(name: str, dtype: torch.dtype) -> None:
    assert select_kernel(name, dtype, CPU) is fused_kernel(name)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 7, 16, 33, 64, 4099])
def test_the_kernel_that_is_taken_moves_every_weight(name: str, dtype: torch.dtype, size: int) -> None:
    weight, grad = torch.linspace(1, 2, size).to(dtype), torch.linspace(4, 2, size).to(dtype)
    moments = [torch.zeros_like(weight), torch.zeros_like(weight)]
    if name == "sgd":
        wanted = weight.double() - 0.25 * grad.double()
        settings: dict[str, Any] = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "is_first_step": False}
        state: list[Any] = [[]]
    else:
        wanted = weight.double() - 0.25
        settings = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "amsgrad": False}
        state = [[moments[0]], [moments[1]], [], [torch.ones(())]]
    select_kernel(name, dtype, CPU)([weight], [grad], *state, lr=0.25, weight_decay=0.0, maximize=False, **settings)
    torch.testing.assert_close(weight.double(), wanted, rtol=0, atol=max(4 * torch.finfo(dtype).eps, 1e-6))


def spoilt(name: str, change: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]) -> Callable[..., Any]:
    def kernel(*lists: Any, **settings: Any) -> None:
        change(PLAIN[name], lists, settings)

    return kernel


def skip_blocks(kernel: Callable[..., Any], lists: tuple[Any, ...], settings: dict[str, Any]) -> None:
    before = [weight.clone() for weight in lists[0]]
    kernel(*lists, **settings)
    for weight, old in zip(lists[0], before, strict=True):
        full = len(weight) // 16 * 16
        weight[:full] = old[:full]


def skip_tail(kernel: Callable[..., Any], lists: tuple[Any, ...], settings: dict[str, Any]) -> None:
    before = [weight.clone() for weight in lists[0]]
    kernel(*lists, **settings)
    for weight, old in zip(lists[0], before, strict=True):
        weight[-1:] = old[-1:]


FAULTS: dict[str, Callable[..., Any]] = {
    "moves nothing": lambda kernel, lists, settings: None,
    "skips full blocks": skip_blocks,
    "skips the tail": skip_tail,
    "ignores the scale": lambda kernel, lists, settings: kernel(*lists, **(settings | {"grad_scale": None})),
    "ignores found_inf": lambda kernel, lists, settings: kernel(*lists, **(settings | {"found_inf": None})),
    "ignores maximize": lambda kernel, lists, settings: kernel(*lists, **(settings | {"maximize": False})),
    "ignores the decay": lambda kernel, lists, settings: kernel(*lists, **(settings | {"weight_decay": 0.0})),
    "is NaN": lambda kernel, lists, settings: [weight.fill_(torch.nan) for weight in lists[0]],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_with_a_fault_is_not_believed(name: str, dtype: torch.dtype, fault: str) -> None:
    assert is_right(PLAIN[name], name, dtype, CPU)
    assert not is_right(spoilt(name, FAULTS[fault]), name, dtype, CPU)


@pytest.mark.parametrize(("setting", "value"), [("nesterov", False), ("momentum", 0.75), ("dampening", 0.0)])
def test_every_setting_of_sgd_is_looked_at(setting: str, value: Any) -> None:
    kernel = spoilt("sgd", lambda kernel, lists, settings: kernel(*lists, **(settings | ({setting: value} if lists[2] else {}))))
    assert not is_right(kernel, "sgd", torch.float32, CPU)


def test_a_kernel_that_does_not_exist_is_not_believed() -> None:
    def kernel(*lists: Any, **settings: Any) -> None:
        raise NotImplementedError("no kernel for this device")

    assert not is_right(kernel, "adam", torch.float32, CPU)


def test_the_check_is_made_once_and_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    select_kernel.cache_clear()
    for _ in range(3):
        select_kernel("sgd", torch.float32, CPU)
    assert (select_kernel.cache_info().misses, select_kernel.cache_info().hits) == (1, 2)
    assert torch.equal(torch.get_rng_state(), before)


OPTIMISERS: dict[str, Callable[[list[Tensor]], Fused]] = {
    "sgd": lambda params: FusedSGD(params, lr=0.5),
    "sgd, momentum": lambda params: FusedSGD(params, lr=0.25, momentum=0.5, nesterov=True, weight_decay=0.25),
    "adamw": lambda params: FusedAdamW(params, lr=0.125, weight_decay=0.5),
    "lamb": lambda params: LAMB(params, lr=0.125, exclude="none", weight_decay=0.25, max_grad_norm=100.0),
    "lamb without decay": lambda params: LAMB(params, lr=0.125, exclude="none", weight_decay=0.0, max_grad_norm=None),
    "lars": lambda params: LARS(params, lr=0.5, trust_coefficient=0.5, exclude="none"),
    "lars, nesterov": lambda params: LARS(params, lr=0.5, trust_coefficient=0.5, exclude="none", nesterov=True),
    "lars, no momentum": lambda params: LARS(params, lr=0.5, trust_coefficient=0.5, exclude="none", momentum=0.0),
    "muon's adamw": lambda params: Muon([{"params": params, "adamw": True, "lr": 0.125}]),
    "schedule-free": lambda params: ScheduleFree(params, lr=0.125, weight_decay=0.25),
    "schedule-free sgd": lambda params: ScheduleFree(params, lr=0.5, base="sgd"),
}

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "slice of columns": lambda memory: memory[:, 3:40],
    "slice of rows": lambda memory: memory[1:5],
    "every second": lambda memory: memory[::2, ::2],
    "transposed": lambda memory: memory.t(),
    "transposed slice": lambda memory: memory[:, 1:34].t(),
    "column": lambda memory: memory[:, 2],
    "0-dim": lambda memory: memory[2, 3],
    "empty": lambda memory: memory[:0],
    "four dimensions": lambda memory: memory.view(7, 2, 5, 7).permute(0, 3, 1, 2),
}


def numbers(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(make: Callable[[list[Tensor]], Fused], param: Tensor, *, scale: float = 4.0, given: bool = True) -> Tensor:
    """Three steps, of which the second is skipped."""
    optim = make([param])
    for step in range(3):
        grad = numbers(torch.Size([*param.shape, 2]) if param.is_complex() else param.shape, step + 1) * scale
        grad = torch.view_as_complex(grad) if param.is_complex() else grad
        param.grad = grad.to(param.dtype)
        if step == 2 and param.dim() > 1 and given:  # however the gradient lies in memory
            param.grad = param.grad.transpose(0, 1).contiguous().transpose(0, 1)
        optim.grad_scale, optim.found_inf = torch.tensor(scale), torch.tensor(float(step == 1))
        if step == 1:
            param.grad.fill_(torch.inf)
        optim.step()
    return param.detach()


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("layout", SHAPES)
def test_weights_lie_in_memory_as_they_like(name: str, layout: str) -> None:
    for dtype in DTYPES[:3]:
        memory = numbers(torch.Size([7, 70]), 0).to(dtype)
        before = memory.clone()
        param = nn.Parameter(SHAPES[layout](memory))
        twin = nn.Parameter(param.detach().clone(memory_format=torch.contiguous_format))
        actual, wanted = moved(OPTIMISERS[name], param), moved(OPTIMISERS[name], twin)
        torch.testing.assert_close(actual, wanted, rtol=8 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)
        assert actual.numel() == 0 or not torch.equal(actual, SHAPES[layout](before))
        SHAPES[layout](memory).copy_(SHAPES[layout](before))
        assert torch.equal(memory, before), "its neighbours stay"


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_move_as_those_of_32(name: str, dtype: torch.dtype) -> None:
    weights = numbers(torch.Size([5, 67]), 0).to(dtype)
    actual = moved(OPTIMISERS[name], nn.Parameter(weights.clone()))
    wanted = moved(OPTIMISERS[name], nn.Parameter(weights.float()))
    torch.testing.assert_close(actual.float(), wanted, rtol=0, atol=0.03)
    assert (actual != weights).float().mean() > 0.9


@pytest.mark.parametrize("name", OPTIMISERS)
def test_complex_weights_move_as_their_two_parts(name: str) -> None:
    param = nn.Parameter(torch.view_as_complex(numbers(torch.Size([5, 7, 2]), 0).float()))
    twin = nn.Parameter(numbers(torch.Size([5, 7, 2]), 0).float())
    actual, wanted = moved(OPTIMISERS[name], param), moved(OPTIMISERS[name], twin, given=False)
    assert not torch.equal(torch.view_as_real(actual), numbers(torch.Size([5, 7, 2]), 0).float())
    torch.testing.assert_close(torch.view_as_real(actual), wanted, rtol=1e-6, atol=1e-6)
    copy = nn.Parameter(param.detach().clone())
    optims = [OPTIMISERS[name]([each]) for each in (param, copy)]
    param.grad = torch.ones_like(param) * (1 + 2j)
    optims[0].step()
    optims[1].load_state_dict(deepcopy(optims[0].state_dict()))
    copy.data = param.detach().clone()  # other memory
    for each, optim in zip((param, copy), optims, strict=True):
        each.grad = torch.conj(torch.ones_like(param) * (1 + 2j))
        optim.step()
    assert torch.equal(param, copy)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_numbers_that_share_memory_are_refused(name: str) -> None:
    param = nn.Parameter(torch.ones(3, 1).expand(3, 4))
    param.grad = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"numbers of a parameter of shape \(3, 4\) share their memory; clone\(\) it"):
        OPTIMISERS[name]([param]).step()
