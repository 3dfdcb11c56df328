"""The plugin finds the hidden matrices, hands its settings over, and says what went where."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.optim import Muon as Plain
from accel.plugins.batch_lr import BatchLR
from accel.plugins.cosine import Cosine
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.report.result import Result
from accel.testing import check_plugin, fit_toy
from tests.support.companions import COMPANIONS
from tests.support.handwritten_loop import hand_loop


def test_is_the_plain_optimiser_in_a_loop_of_ones_own() -> None:
    settings = {"lr": 0.03, "momentum": 0.8, "nesterov": False, "weight_decay": 0.3, "ns_steps": 3, "ns_dtype": "float32"}
    actual = fit_toy([Muon(adjust_lr="match_rms_adamw", adamw_lr=0.01, beta1=0.8, beta2=0.95, eps=1e-6, **settings)])  # type: ignore[arg-type]

    def make(model: nn.Module) -> torch.optim.Optimizer:
        matrix, bias, norm, shift, head, last = model.parameters()
        groups = [
            {"params": [matrix]},
            {"params": [head], "adamw": True},
            {"params": [bias, norm, shift, last], "adamw": True, "weight_decay": 0.0},
        ]
        adamw = {"adamw_lr": 0.01, "betas": (0.8, 0.95), "adamw_eps": 1e-6}
        return Plain(groups, adjust_lr_fn="match_rms_adamw", **adamw, **settings)  # type: ignore[arg-type]

    weights, _ = hand_loop(make)
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))


def test_the_plan_says_what_goes_where() -> None:
    facts = fit_toy([Muon(), BatchLR(reference=2)]).spy.run.plan.facts
    assert facts["optimizer"] == "Muon for 1 tensor of 96 numbers; AdamW for 5 tensors of 99 numbers"
    assert facts["of which AdamW"] == "at 0.002, 0.05 times the learning rate"


@pytest.mark.parametrize("patterns", [["0.weight", "4.weight"], ["*.weight"], ["?.weight", "0.*"]])
def test_the_matrices_can_be_named(patterns: list[str]) -> None:
    optimizer = fit_toy([Muon(matrices=patterns)]).spy.run.parts.optim.optimizer
    assert [(len(group["params"]), group["adamw"]) for group in optimizer.param_groups] == [(2, False), (4, True)]


def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        fit_toy([Muon(matrices=["0.weigth"])])
    assert str(error.value) == "muon.matrices: the model has no matrix called '0.weigth'; did you mean '0.weight'?"
    with pytest.raises(ConfigError, match=r"the model has no matrix called '0.bias'"):
        fit_toy([Muon(matrices=["0.bias"])])


def test_schedules_keep_the_ratio_of_the_learning_rates() -> None:
    groups = fit_toy([Muon(lr=0.1, adamw_lr=0.01), Cosine(floor=0.5, warmup=0)]).spy.run.parts.optim.optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.05, 0.005, 0.005])


def test_momentum_and_beta1_are_cycled_together() -> None:
    cycle = OneCycle(cycle_momentum=True, base_momentum=0.6, max_momentum=0.7)
    groups = fit_toy([Muon(), cycle]).spy.run.parts.optim.optimizer.param_groups
    assert [group.get("momentum", group.get("betas")) for group in groups] == [0.7, (0.7, 0.999), (0.7, 0.999)]


def fit(model: nn.Module, muon: Muon) -> Result:
    return Trainer(model, [torch.randn(3, 4)], loss=lambda m, x: m(x).square().mean(), plugins=[muon], watch=()).fit()


def test_a_model_without_hidden_matrices_gets_a_warning() -> None:
    with pytest.warns(AccelWarning, match="muon: the model has no hidden matrices, so AdamW moves all of it; add adamw instead"):
        fit(nn.Linear(4, 2), Muon())


@pytest.mark.parametrize("lacks", [False, True])
def test_a_cpu_without_bfloat16_is_told_what_is_faster(lacks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.device.cuda.bf16_support.lacks_bf16", lambda: lacks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(nn.Linear(4, 2), Muon(matrices=["weight"]))
    assert any("muon.ns_dtype=float32 is faster" in str(warning.message) for warning in caught) == lacks


def test_settings_of_adamw_without_a_parameter_have_no_effect() -> None:
    with pytest.warns(AccelWarning, match=r"muon.adamw_lr has no effect: Muon moves every parameter"):
        fit(nn.Linear(4, 2, bias=False), Muon(matrices=["weight"], adamw_lr=1.0))


def test_a_parameter_with_gaps_in_memory_is_moved_and_its_neighbours_are_not() -> None:
    models = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    memory = torch.zeros(4, 2)
    models[0][0].bias = nn.Parameter(memory[:, 0].copy_(models[0][0].bias.detach()))
    for model in models:
        torch.manual_seed(0)
        fit(model, Muon())
    torch.testing.assert_close(models[0][0].bias, models[1][0].bias, rtol=1e-6, atol=1e-7)
    assert not memory[:, 1].any()
    assert models[0][0].bias.detach().any()


def test_complex_matrices_are_adamws() -> None:
    model = nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64), nn.Linear(4, 4, dtype=torch.complex64), nn.Linear(4, 4))
    before = [param.detach().clone() for param in model.parameters()]

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return cast(Tensor, model[2](model[1](model[0](x.to(torch.complex64))).abs()).square().mean())  # type: ignore[index]

    Trainer(model, [torch.randn(3, 4)], loss=loss, plugins=[Muon(matrices=["*"])], watch=()).fit()
    assert not any(map(torch.equal, before, model.parameters()))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 4)) for _ in range(2))
        self.head = nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        out = self.embed(x)
        for block in self.blocks:
            out = block(out)
        return cast(Tensor, self.head(out))


@pytest.mark.filterwarnings("ignore:data is a list whose elements may be samples or ready batches")
def test_the_optimiser_alone_splits_a_model_as_the_plugin_does() -> None:
    torch.manual_seed(0)
    model = Tied()
    twin = deepcopy(model)
    batch = torch.arange(6) % 7
    result = Trainer(
        model,
        [batch] * 3,
        loss=lambda m, x: m(x).square().mean(),
        plugins=[Muon(lr=0.01, weight_decay=0.1, adamw_lr=0.02)],
        watch=(),
    ).fit()
    optim = Plain(twin, lr=0.01, weight_decay=0.1, adamw_lr=0.02)
    for _ in range(3):
        optim.zero_grad()
        twin(batch).square().mean().backward()
        optim.step()
    assert all(map(torch.equal, result.model.parameters(), twin.parameters()))


@pytest.mark.parametrize("form", ["tensors", "named", "groups"])
def test_rest_moves_to_adamw_what_is_no_matrix(form: str) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 1))
    params: Any = {
        "tensors": lambda: model.parameters(), "named": lambda: model.named_parameters(),
        "groups": lambda: [{"params": model[0].parameters(), "lr": 0.5}, {"params": [*model[1:].parameters()]}],
    }[form]()  # fmt: skip
    optim = Plain(params, rest="adamw")
    moved_by = {id(param): group for group in optim.param_groups for param in group["params"]}
    assert {name: moved_by[id(param)]["adamw"] for name, param in model.named_parameters()} == {
        "0.weight": False, "0.bias": True, "1.weight": True, "1.bias": True, "3.weight": True, "3.bias": True
    }  # fmt: skip
    assert moved_by[id(model[3].weight)]["weight_decay"] == 0.1
    assert moved_by[id(model[3].bias)]["weight_decay"] == 0
    assert moved_by[id(model[0].weight)]["lr"] == (0.5 if form == "groups" else 1e-3)
    model(torch.randn(2, 2, 3, 3)).square().sum().backward()
    before = [param.detach().clone() for param in model.parameters()]
    optim.step()
    assert sum(map(torch.equal, before, model.parameters())) <= 1, "the bias in front of BatchNorm has no gradient"
    with pytest.raises(ValueError, match='set rest="adamw"'):
        Plain(list(model.parameters()))


@pytest.mark.slow
def test_common_suite_with_other_settings() -> None:
    check_plugin(lambda: Muon(matrices=["*"], nesterov=False, exclude="none"), tolerance=1e-2, beside=COMPANIONS)
    check_plugin(lambda: Muon(ns_dtype="float32", adjust_lr="match_rms_adamw"), beside=COMPANIONS)
