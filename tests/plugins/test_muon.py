"""The plugin finds the hidden matrices, hands its settings over, and says what went where."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.optim import Muon as Plain
from accel.plugins.batch_lr import BatchLR
from accel.plugins.cosine import Cosine
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.report.result import Result
from accel.testing import check_plugin, fit_toy
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


def test_settings_of_adamw_without_a_parameter_have_no_effect() -> None:
    with pytest.warns(AccelWarning, match=r"muon.adamw_lr has no effect: Muon moves every parameter"):
        fit(nn.Linear(4, 2, bias=False), Muon(matrices=["weight"], adamw_lr=1.0))


def test_a_parameter_with_gaps_in_memory_is_refused_by_name() -> None:
    model = nn.Linear(4, 4)
    model.bias = nn.Parameter(torch.zeros(4, 2)[:, 0])
    with pytest.raises(ConfigError, match="muon: AdamW's fused kernel cannot move bias"):
        fit(model, Muon())


@pytest.mark.slow
def test_common_suite_with_other_settings() -> None:
    check_plugin(lambda: Muon(matrices=["*"], nesterov=False, exclude="none"), tolerance=1e-2)
    check_plugin(lambda: Muon(ns_dtype="float32", adjust_lr="match_rms_adamw"))
