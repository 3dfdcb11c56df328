"""The memory of the fused optimisers: where their state lies, and gradients of every layout."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from accel import Trainer
from accel.errors import ConfigError
from accel.optim import LAMB, LARS, Muon, ScheduleFree
from accel.optim.adamw import FusedAdamW
from accel.optim.fused import Fused
from accel.optim.memory_layout import copy_aliased
from accel.optim.sgd import FusedSGD
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB as LAMBPlugin
from accel.plugins.lars import LARS as LARSPlugin
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon as MuonPlugin
from accel.plugins.oom import OOM
from accel.plugins.schedule_free import ScheduleFree as ScheduleFreePlugin
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from tests.support.fused_optimizers import equal, net, train


@pytest.mark.parametrize("kind", [FusedSGD, FusedAdamW, LAMB, LARS])
def test_large_state_begins_elsewhere_in_its_page(kind: Any) -> None:
    for shape in ((300, 300), (16, 64, 9, 9)):
        param = nn.Parameter(
            torch.ones(shape).to(memory_format=torch.channels_last if len(shape) == 4 else torch.contiguous_format)
        )
        optims = [kind([param], lr=0.1) for _ in range(2)]
        if kind is FusedSGD:
            for optim in optims:
                optim.param_groups[0]["momentum"] = 0.9
        for optim in optims:
            param.grad = torch.full_like(param, 0.1)
            optim.step()
            if optim is optims[0]:  # the second begins with the state of the first, wherever that was loaded to
                optims[1].load_state_dict(copy.deepcopy(optim.state_dict()))
            begins = {(value.data_ptr() - param.data_ptr()) % 4096 // 256 for value in optim.state[param].values() if value.dim()}
            assert 0 not in begins
            assert len(begins) == sum(value.dim() > 0 for value in optim.state[param].values()) > 0
            assert all(value.stride() == param.stride() for value in optim.state[param].values() if value.dim())


def stepped(kind: Any, model: nn.Module) -> Fused:
    optim: Fused = kind(model.parameters(), lr=0.1)
    train(model, optim, steps=2)
    return optim


@pytest.mark.parametrize("kind", [FusedAdamW, LAMB, LARS, ScheduleFree])
@pytest.mark.parametrize(
    "change",
    [lambda value: torch.zeros(()), lambda value: torch.zeros(5), lambda value: value.to_sparse(), lambda value: 3.0],
    ids=["scalar", "shape", "sparse", "number"],
)
def test_a_state_that_the_kernels_would_walk_out_of_is_refused(kind: Any, change: Any) -> None:
    state = stepped(kind, net()).state_dict()
    name = next(name for name, value in state["state"][0].items() if value.dim() > 1)
    state["state"][0][name] = change(state["state"][0][name])
    with pytest.raises(ValueError, match=rf"^{name} is .*, of a parameter of shape"):
        kind(net().parameters(), lr=0.1).load_state_dict(state)


@pytest.mark.parametrize("change", [lambda value: value.t().contiguous().t(), lambda value: value[:1, :1].expand_as(value)])
def test_a_loaded_state_lies_in_memory_as_its_parameter(change: Any) -> None:
    state = stepped(FusedAdamW, net()).state_dict()
    moment = change(state["state"][0]["exp_avg"])
    models = []
    for value in (moment.clone(memory_format=torch.contiguous_format), moment):
        models.append(net())
        optim = FusedAdamW(models[-1].parameters(), lr=0.1)
        kept = {name: each.clone() for name, each in state["state"][0].items()} | {"exp_avg": value}
        optim.load_state_dict({**state, "state": {**copy.deepcopy(state["state"]), 0: kept}})
        train(models[-1], optim, steps=1)
    assert equal(*models)


def test_gradients_apart() -> None:
    memory = torch.arange(12.0)
    grads = [memory[8:], memory[:4].view(2, 2), memory[2:6], memory[6:8], torch.ones(3), torch.ones(0), memory[:0]]
    actual = copy_aliased(grads)
    assert [mine is grad for mine, grad in zip(actual, grads, strict=True)] == [True, True, False, True, True, True, True]
    assert torch.equal(actual[2], grads[2])
    assert copy_aliased(actual) is actual


def test_the_step_counters_are_float32_whatever_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = net()
        train(model.double(), optim := FusedAdamW(model.parameters()), 0)
        optim.build_rows()
        assert {state["step"].dtype for state in optim.state.values()} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_weight_that_is_a_slice_leaves_its_neighbours_alone() -> None:
    # torch 2.13: a fused step walks through memory from the slice's first number on, and moves what lies between
    whole = torch.zeros(4, 10)
    model = nn.Module()
    model.weight = nn.Parameter(whole[:, :2])
    result = Trainer(model, [torch.ones(4, 2)], loss=lambda m, x: (m.weight * x).sum(), plugins=[SGD(lr=1.0)], watch=()).fit()
    assert torch.equal(whole[:, :2], torch.full((4, 2), -1.0))
    assert not whole[:, 2:].any()
    assert torch.equal(result.model.weight, whole[:, :2])


def test_complex_weights_are_trained_without_the_fused_kernel() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    before = model.weight.detach().clone()
    Trainer(model, [torch.ones(3, 2, dtype=torch.complex64)], loss=lambda m, x: m(x).abs().mean(), watch=()).fit()
    assert not torch.equal(before, model.weight)


@pytest.mark.parametrize("kind", [FusedSGD, FusedAdamW, LAMB, LARS, ScheduleFree, Muon])
def test_sparse_gradients_get_a_sentence_in_a_loop_of_ones_own(kind: Any) -> None:
    model = nn.Embedding(5, 2, sparse=True)
    optim = kind(model.parameters(), lr=0.1)
    for scale in (None, torch.tensor(2.0)):
        model(torch.tensor([1, 2])).square().mean().backward()
        optim.grad_scale = scale
        with pytest.raises(ConfigError, match=r"some gradients are sparse, which no fused optimiser takes; make them dense"):
            optim.step()


SPARSE: dict[str, Callable[[], list[Part]]] = {
    "default": list, "adamw": lambda: [AdamW()], "not fused": lambda: [AdamW(fused=False)], "lamb": lambda: [LAMBPlugin()],
    "lars": lambda: [LARSPlugin()], "muon": lambda: [MuonPlugin()], "schedule_free": lambda: [ScheduleFreePlugin()],
    "clip": lambda: [Clip(max_norm=0.1)], "value": lambda: [Clip(mode="value", max_value=0.01), SGD(fused=False)],
    "adaptive": lambda: [Clip(mode="adaptive", skip="none")], "guard": lambda: [FiniteGuard(), SGD(fused=False)],
    "accumulate, ema": lambda: [Accumulate(steps=2), EMA()], "amp": lambda: [AMP(dtype="float16", force=True)],
    "master_weights": lambda: [MasterWeights(), AdamW()], "oom": lambda: [OOM()], "step_in_backward": lambda: [StepInBackward()],
    "step_in_backward, adamw": lambda: [StepInBackward(), AdamW()], "torch": lambda: [SGD(fused=False)],
    "step_in_backward, torch": lambda: [StepInBackward(), SGD(fused=False)],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:data is a list")
@pytest.mark.parametrize("name", SPARSE)
def test_sparse_gradients_train_as_dense_ones_with_every_plugin(name: str) -> None:
    models = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(50, 4, sparse=sparse), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3))
        data = [torch.arange(start, start + 8) % 5 for start in range(4)]
        trainer = Trainer(model, data, loss=lambda m, x: m(x).square().mean(), plugins=SPARSE[name](), watch=())
        models.append(trainer.fit().model)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_model_without_anything_to_train() -> None:
    with pytest.raises(ConfigError, match="the model, a Sequential, has no parameter to train"):
        Trainer(net().requires_grad_(False), [torch.ones(2, 6)], loss=lambda m, x: m(x).mean(), watch=()).fit()
