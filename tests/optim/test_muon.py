"""Muon against torch's own, and against what may happen between two steps."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim import Muon as TorchMuon  # type: ignore[attr-defined]

from accel.optim import Muon, matrix_batch
from accel.testing import HostReads
from tests.support.fused_optimizers import saved_and_loaded

SHAPES = [(16, 8), (16, 8), (8, 16), (16, 8), (30, 30), (64, 64)]
SETTINGS: list[dict[str, Any]] = [
    {}, {"nesterov": False}, {"adjust_lr_fn": "original"}, {"adjust_lr_fn": "match_rms_adamw"}, {"ns_steps": 2},
    {"weight_decay": 0.0}, {"momentum": 0.0}, {"momentum": 0.3}, {"ns_coefficients": (1.5, -0.5, 0.0)}, {"eps": 10.0},
]  # fmt: skip
CASES = [(settings, dtype) for dtype in (torch.float32, torch.bfloat16) for settings in SETTINGS]
# torch 2.13 divides the momentum itself by its norm there: its .bfloat16() is no copy of bfloat16 weights
CASES.remove(({"nesterov": False}, torch.bfloat16))
LIMIT = 3e-3
"""How far a weight may be after 20 updates of length lr in bfloat16, which keeps 8 bits; here the bits are in fact the same."""


def start(shapes: list[tuple[int, ...]] | None = None, dtype: torch.dtype = torch.float32) -> list[Any]:
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=rng).to(dtype)) for shape in shapes or SHAPES]


def gradients(params: list[Any], steps: int = 20) -> list[list[Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [[torch.randn(param.shape, generator=rng).to(param.dtype) for param in params] for _ in range(steps)]


def train(optim: Any, params: list[Any], steps: list[list[Tensor]]) -> None:
    for grads in steps:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        optim.step()


def distance(mine: list[Any], theirs: list[Any]) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(mine, theirs, strict=True))


@pytest.fixture(params=[1 << 22, 300])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All matrices of one shape in one batch, and two of them at most."""
    monkeypatch.setattr(matrix_batch, "CPU_BATCH", request.param)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize(("settings", "dtype"), CASES, ids=str)
@pytest.mark.slow
def test_equals_torch(settings: dict[str, Any], dtype: torch.dtype) -> None:
    settings = {"lr": 0.02, **settings}
    mine, theirs = start(dtype=dtype), start(dtype=dtype)
    optimizer, torchs = Muon(mine, **settings), TorchMuon(theirs, **settings)
    for number, grads in enumerate(gradients(mine)):
        for params in (mine, theirs):
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad.clone()
            if number % 5 == 3:  # one of a batch, and a whole batch, have none
                params[1].grad = params[4].grad = None
        optimizer.step()
        torchs.step()
        if number == 10:  # each goes on from the other's state
            states = optimizer.state_dict(), torchs.state_dict()
            optimizer.load_state_dict(states[1])
            torchs.load_state_dict(states[0])
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(optimizer.state[a]["momentum_buffer"], torchs.state[b]["momentum_buffer"])
    assert distance(mine, theirs) < (LIMIT if dtype == torch.float32 else 0.1)
    assert distance(mine, start(dtype=dtype)) > 0.03, "they have moved"


def test_momentum_lies_in_one_tensor_for_each_shape() -> None:
    params = start()
    optim = Muon(params)
    train(optim, params, gradients(params, 1))
    assert optim.rows is not None
    assert [batch.places for batch in optim.rows[0].plan] == [[0, 1, 3], [2], [4], [5]]
    assert all(batch.momentum is not None for batch in optim.rows[0].plan)


def test_kernels_of_convolutions_are_matrices() -> None:
    shapes = [(16, 4, 3, 3), (16, 4, 3, 3), (8, 16, 5)]
    kernels, plain = start(shapes), [nn.Parameter(param.detach().flatten(1)) for param in start(shapes)]
    kernels[0].data = kernels[0].data.contiguous(memory_format=torch.channels_last)
    steps = gradients(kernels)
    train(Muon(kernels, lr=0.02), kernels, steps)
    train(TorchMuon(plain, lr=0.02), plain, [[grad.flatten(1) for grad in grads] for grads in steps])
    assert kernels[0].is_contiguous(memory_format=torch.channels_last)
    assert distance([kernel.flatten(1) for kernel in kernels], plain) < LIMIT


@pytest.mark.parametrize("shape", [(5, 20, 12), (5, 12, 20), (1, 32, 32)])
def test_orthogonal_is_the_matrix_without_its_singular_values(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    exact = matrix_batch.orthogonalise(matrices, (1.875, -1.25, 0.375), 40, 1e-7, torch.float64)  # coefficients that converge to 1
    torch.testing.assert_close(exact, u @ v)
    values = torch.linalg.svdvals(matrix_batch.orthogonalise(matrices, (3.4445, -4.7750, 2.0315), 5, 1e-7, torch.float64))
    assert values.max() < 1.25
    assert values.median() > 0.6


def test_the_rest_is_torchs_adamw() -> None:
    shapes = [(16, 8), (5, 6), (7,)]
    mine, theirs = start(shapes), start(shapes)
    own = {"lr": 0.01, "weight_decay": 0.3}
    optimizer = Muon([{"params": mine[:1]}, {"params": mine[1:], "adamw": True, **own}], betas=(0.8, 0.9), adamw_eps=1e-6)
    steps = gradients(mine)
    train(optimizer, mine, steps)
    train(TorchMuon(theirs[:1]), theirs[:1], [grads[:1] for grads in steps])
    train(AdamW(theirs[1:], betas=(0.8, 0.9), eps=1e-6, fused=True, **own), theirs[1:], [grads[1:] for grads in steps])
    assert torch.equal(mine[1], theirs[1])
    assert torch.equal(mine[2], theirs[2])
    assert distance(mine, theirs) < LIMIT


def test_a_group_has_the_settings_of_its_own_algorithm() -> None:
    params = start([(4, 4), (4,)])
    optim = Muon([{"params": params[:1]}, {"params": params[1:], "adamw": True}], lr=0.1, adamw_lr=0.2)
    one, other = optim.param_groups
    assert (one["lr"], one["eps"], other["lr"], other["eps"]) == (0.1, 1e-7, 0.2, 1e-8)
    assert "betas" not in one
    assert "momentum" not in other
    with pytest.raises(ValueError, match=r"a parameter has the shape \(4,\): its group needs adamw=True"):
        Muon(start([(4,)]))
    with pytest.raises(ValueError, match="adjust_lr_fn must be original or match_rms_adamw, not 'other'"):
        Muon(start([(4, 4)]), adjust_lr_fn="other")  # type: ignore[arg-type]


def mixed(params: list[Any]) -> Muon:
    return Muon([{"params": params[:3]}, {"params": params[3:], "adamw": True, "lr": 0.01}], lr=0.02)


MIXED = [(8, 6), (8, 6), (4, 3, 3, 3), (5, 6), (7,)]


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_skipped_step_moves_nothing_and_reads_nothing(after: int, decay: float) -> None:
    actual = []
    for skips in (False, True):
        params = start(MIXED)
        optim, steps = mixed(params), gradients(params, 6)
        for group in optim.param_groups:
            group["weight_decay"] = decay
        optim.found_inf, optim.grad_scale = torch.zeros(()), torch.tensor(4.0)
        steps = [[grad * 4 for grad in grads] for grads in steps]
        train(optim, params, steps[:after])
        if skips:
            before = [param.detach().clone() for param in params]
            states = [value.clone() for state in optim.state.values() for value in state.values()]
            optim.found_inf = torch.ones(())
            with HostReads() as reads:  # type: ignore[no-untyped-call]
                for bad in (torch.inf, torch.nan):
                    train(optim, params, [[torch.full_like(grad, bad) for grad in steps[0]]])
            assert reads.count == 0
            assert all(map(torch.equal, params, before))
            moved = [value for state in optim.state.values() for value in state.values()]
            assert all(map(torch.equal, moved, states)) if after else not any(value.any() for value in moved)
            optim.found_inf = torch.zeros(())
        train(optim, params, steps[after:])
        actual.append(params)
    assert all(map(torch.equal, *actual))


def test_what_scales_changes_no_bit_and_gradients_stay() -> None:
    actual = []
    for scale in (None, 1024.0):
        params = start(MIXED[:3])
        optim, steps = Muon(params, lr=0.02), gradients(params)
        if scale:
            optim.grad_scale, steps = torch.tensor(scale), [[grad * scale for grad in grads] for grads in steps]
        train(optim, params, steps)
        assert all(torch.equal(param.grad, grad) for param, grad in zip(params, gradients(params)[-1], strict=True)) or scale
        actual.append(params)
    assert all(map(torch.equal, *actual))


def test_a_learning_rate_on_the_device_is_not_read() -> None:
    mine, theirs = start(), start()
    steps = gradients(mine, 5)
    optimizer = Muon(mine, lr=torch.tensor(0.02))
    train(optimizer, mine, steps[:1])
    with HostReads() as reads:  # type: ignore[no-untyped-call]
        train(optimizer, mine, steps[1:])
    assert reads.count == 0
    train(Muon(theirs, lr=0.02), theirs, steps)
    assert distance(mine, theirs) < 1e-5


def test_goes_on_from_its_saved_state_with_the_same_bits() -> None:
    params = start(MIXED)
    optim, steps = mixed(params), gradients(params)
    train(optim, params, steps[:5])
    other, others = saved_and_loaded(optim, params, mixed)
    copied, its = pickle.loads(pickle.dumps((optim, params)))
    twin, twins = copy.deepcopy((optim, params))
    for each, mine in ((optim, params), (other, others), (copied, its), (twin, twins)):
        train(each, mine, steps[5:])
        assert all(map(torch.equal, params, mine)) or each is optim
    copied.add_param_group({"params": start([(3,)]), "adamw": True})
    assert copied.param_groups[-1]["lr"] == 1e-3


def test_the_matrices_that_are_made_orthogonal_stay_as_they_are() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for shape in ((2, 6, 4), (2, 4, 6)):
            matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
            before = matrices.clone()
            matrix_batch.orthogonalise(matrices, (3.4445, -4.7750, 2.0315), 5, 1e-7, dtype)
            assert torch.equal(matrices, before)


def test_it_goes_on_from_the_state_of_torchs() -> None:
    theirs, mine = start(), start()
    steps = gradients(mine, 6)
    reference = TorchMuon(theirs, lr=0.01)
    train(reference, theirs, steps[:3])
    optim = Muon([nn.Parameter(param.detach().clone()) for param in mine], lr=0.01)
    for param, value in zip(optim.param_groups[0]["params"], theirs, strict=True):
        param.data.copy_(value.detach())
    optim.load_state_dict(copy.deepcopy(reference.state_dict()))
    train(reference, theirs, steps[3:])
    train(optim, optim.param_groups[0]["params"], steps[3:])
    assert distance(optim.param_groups[0]["params"], theirs) < LIMIT
