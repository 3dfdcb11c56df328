"""The plugin evaluates and hands out the average, and trains on what it trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.optim import ScheduleFree as Plain
from accel.parts import Part
from accel.plugins.cosine import Cosine
from accel.plugins.ema import EMA
from accel.plugins.onecycle import OneCycle
from accel.plugins.schedule_free import ScheduleFree
from accel.testing import check_plugin, fit_toy
from tests.support.companions import COMPANIONS
from tests.support.handwritten_loop import hand_loop


@pytest.mark.parametrize("base", ["adamw", "sgd"])
def test_trains_on_y_and_hands_out_x(base: str, tmp_path: Path) -> None:
    settings = {"lr": 0.02, "weight_decay": 0.3, "exclude": "norm_and_bias", "base": base, "warmup": 3}
    second = {"beta2": 0.95, "eps": 1e-6} if base == "adamw" else {}
    actual = fit_toy([ScheduleFree(beta1=0.8, **second, **settings)], out=tmp_path / "run")  # type: ignore[arg-type]
    made: list[Plain] = []

    def make(model: nn.Module) -> torch.optim.Optimizer:
        made.append(Plain(model.parameters(), betas=(0.8, 0.95), eps=1e-6, **settings))  # type: ignore[arg-type]
        return made[0]

    y, losses = hand_loop(make)
    assert all(map(torch.equal, actual.losses, losses))
    assert all(map(torch.equal, actual.spy.states[-1], y)), "in between stood an evaluation"
    with made[0].averaged():
        x = [param.detach().clone() for group in made[0].param_groups for param in group["params"]]
    assert all(map(torch.equal, actual.weights, x))
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(saved[name], param) for name, param in actual.spy.run.unwrapped_model.named_parameters())
    state = torch.load(sorted((tmp_path / "run" / "checkpoints").glob("*.pt"))[-1], weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(state["model"].values(), y, strict=True)), "a checkpoint holds what is trained"


def test_evaluation_sees_the_average() -> None:
    seen: list[list[Tensor]] = []

    class Mine(Trainer):
        def metrics(self, model: nn.Module, batch: Tensor) -> dict[str, float]:
            seen.append([param.detach().clone() for param in model.parameters()])
            return {"score": 0.0}

    data = [torch.ones(3, 2)]
    result = Mine(
        nn.Linear(2, 1), data, data, loss=lambda m, x: m(x).square().mean(), plugins=[ScheduleFree(lr=0.1)], watch=(), epochs=3
    ).fit()
    assert len(seen) == 3 + 1, "and once in the trial before the first update"
    assert all(map(torch.equal, seen[-1], result.model.parameters()))


def test_the_plan_says_how_long_the_warm_up_is() -> None:
    facts = fit_toy([ScheduleFree(warmup=0.25)]).spy.run.plan.facts
    assert facts["optimizer"] == "Schedule-Free AdamW, fused, after 3 updates of warm-up; evaluated at the average"
    assert fit_toy([ScheduleFree(warmup=0.25)]).equals(fit_toy([ScheduleFree(warmup=3)]))


class Endless:
    def __iter__(self) -> Iterator[Tensor]:
        return iter([torch.ones(2, 2)] * 3)


def test_data_without_a_length_needs_a_warm_up_in_updates() -> None:
    def fit(plugin: Part) -> None:
        Trainer(nn.Linear(2, 1), Endless(), loss=lambda m, x: m(x).mean(), plugins=[plugin], watch=()).fit()

    with pytest.raises(ConfigError) as error:
        fit(ScheduleFree())
    assert str(error.value) == (
        "schedule_free.warmup=0.05 is a share of all updates, and the data has no length; give a number of updates, or 0"
    )
    fit(ScheduleFree(warmup=2))
    fit(ScheduleFree(warmup=0))


@pytest.mark.parametrize(
    ("plugins", "says"),
    [
        ([Cosine()], "cosine moves the learning rate of schedule_free, which is to do without; drop one: '~plugins.cosine'"),
        ([EMA()], "ema averages the weights that are trained, and is evaluated in place of schedule_free's own average"),
    ],
)
def test_what_is_against_its_purpose_is_said(plugins: list[Part], says: str) -> None:
    with pytest.warns(AccelWarning, match=says):
        fit_toy([ScheduleFree(), *plugins])


def test_settings_without_effect_and_batchnorm_are_said() -> None:
    with pytest.warns(AccelWarning, match=r"schedule_free.beta2 has no effect with schedule_free.base=sgd"):
        fit_toy([ScheduleFree(base="sgd", beta2=0.9)])
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.warns(AccelWarning, match="the running statistics of BatchNorm are not those of the average"):
        Trainer(model, [torch.randn(3, 2)], loss=lambda m, x: m(x).mean(), plugins=[ScheduleFree()], watch=()).fit()


def test_beta1_is_neither_cycled_nor_zero() -> None:
    with pytest.raises(ConfigError, match=r"onecycle.cycle_momentum needs an optimiser with momentum or betas"):
        fit_toy([ScheduleFree(), OneCycle(cycle_momentum=True)])
    with pytest.raises(ConfigError, match=r"schedule_free.beta1 must be above 0"):
        ScheduleFree(beta1=0.0)


@pytest.mark.slow
def test_common_suite_with_sgd() -> None:
    check_plugin(lambda: ScheduleFree(base="sgd", lr=0.1, warmup=4, exclude="norm_and_bias"), beside=COMPANIONS)
