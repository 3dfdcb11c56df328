"""Parameter groups hold for every optimiser, and the state goes to the parameter of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Optim
from accel.plugins.adamw import AdamW
from accel.plugins.batch_lr import BatchLR
from accel.plugins.cosine import Cosine
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.schema import plugin_registry
from accel.testing import fit_toy
from accel.testing.toy_run import Toy, ToyResult
from tests.support.handwritten_loop import hand_loop

OPTIMISERS = sorted(name for name in plugin_registry.names() if issubclass(plugin_registry.load(name), Optim))
OWN = {"exclude": "none"}


def make(name: str, **settings: Any) -> Optim:
    plugin: Any = plugin_registry.load(name)
    keep = {key: value for key, value in {**OWN, **settings}.items() if key in plugin().settings}
    if name == "optimizer":
        keep["args"] = {key: value for key, value in settings.items() if key == "weight_decay"}
    made: Optim = plugin(**keep)
    return made


def fit(*plugins: Any, **settings: Any) -> ToyResult:
    return fit_toy(list(plugins), epochs=settings.pop("epochs", 1), **settings)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_values_for_all_are_the_settings_themselves(name: str) -> None:
    settings = {"weight_decay": 0.3}
    expected = fit(make(name, lr=0.004, adamw_lr=0.004, **settings))
    assert expected.equals(fit(make(name, lr=0.02, groups=[{"match": "*", "lr": 0.004, **settings}])))
    scaled = fit(
        make(name, lr=0.008, adamw_lr=0.008, weight_decay=0.6, groups=[{"match": "*", "lr_scale": 0.5, "weight_decay_scale": 0.5}])
    )
    assert expected.equals(scaled)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_rate_of_0_moves_nothing(name: str) -> None:
    result = fit(make(name, lr=0.05, groups=[{"match": "0.*", "lr": 0}]))
    start = [param.detach() for param in seeded_toy().parameters()]
    moved = [not torch.equal(a, b) for a, b in zip(start, result.weights, strict=True)]
    assert moved == [False, False, True, True, True, True]


def seeded_toy() -> nn.Module:
    torch.manual_seed(3)
    return Toy().model()


def named(model: nn.Module, *names: str) -> list[Tensor]:
    return [dict(model.named_parameters())[name] for name in names]


def grouped(model: nn.Module) -> list[dict[str, Any]]:
    return [
        {"params": named(model, "0.weight", "0.bias"), "lr": 0.002, "weight_decay": 0.0},
        {"params": named(model, "1.weight"), "lr": 0.01},
        {"params": named(model, "1.bias", "4.bias"), "lr": 0.005, "betas": (0.5, 0.99)},
        {"params": named(model, "4.weight"), "lr": 0.01},
    ]


RULES: list[dict[str, Any]] = [
    {"match": "0.*", "lr": 0.002, "weight_decay": 0},
    {"match": ["re:[14][.]bias"], "lr_scale": 0.5, "beta1": 0.5, "beta2": 0.99},
    {"match": "*.bias", "lr": 7.0},
]


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_torchs_own_groups_and_the_first_match_counts(fused: bool) -> None:
    def torchs(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(grouped(model), lr=0.01, weight_decay=0.1, fused=fused, foreach=not fused)

    weights, _ = hand_loop(torchs)
    with pytest.warns(AccelWarning, match=r"adamw.groups\[2\] has no effect: rules before it take all"):
        actual = fit(AdamW(lr=0.01, weight_decay=0.1, fused=fused, groups=RULES), epochs=2)
    assert all(map(torch.equal, actual.weights, weights))


def test_schedules_and_batch_lr_keep_the_ratios() -> None:
    spy = fit(SGD(lr=0.1, groups=[{"match": "0.*", "lr": 0.3}]), OneCycle(max_lr=0.5), BatchLR(reference=2)).spy
    rates = {tuple(names): group["lr"] for names, group in by_names(spy.run.parts.optim)}
    rest = next(rate for names, rate in rates.items() if "0.weight" not in names)
    assert rates[("0.weight", "0.bias")] == pytest.approx(3 * rest)
    assert "lr 0.6 (3 times the optimiser's)" in spy.run.plan.facts["parameter groups"]


def by_names(optim: Optim) -> list[tuple[list[str], dict[str, Any]]]:
    return [([optim.names[id(param)] for param in group["params"]], group) for group in optim.optimizer.param_groups]


def test_the_plan_says_what_matched() -> None:
    facts = fit(
        SGD(lr=0.1, groups=[{"match": "0.*", "lr": 1, "weight_decay": 0}, {"match": "*.bias", "lr_scale": 2}])
    ).spy.run.plan.facts
    assert facts["parameter groups"] == (
        "0.*: 2 tensors of 112 numbers, lr 1 (10 times the optimiser's), weight_decay 0; "
        "*.bias: 2 tensors of 19 numbers, lr 0.2 (2 times the optimiser's); others: 2 tensors of 64 numbers"
    )


@pytest.mark.parametrize("plugin", [AdamW, Muon])
def test_exclude_keeps_biases_without_decay(plugin: Any) -> None:
    rules = [{"match": "*", "weight_decay": 0.5}]
    optim = fit(plugin(exclude="norm_and_bias", groups=rules)).spy.run.parts.optim
    decays = {name: group["weight_decay"] for names, group in by_names(optim) for name in names}
    assert decays == {
        f"{index}.{kind}": 0.5 if kind == "weight" and index != 1 else 0.0 for index in (0, 1, 4) for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ([{"match": "emb.*", "lr": 1}], r"adamw.groups\[0\].match: 'emb.\*' matches no parameter"),
        ([{"match": "0.wieght", "lr": 1}], r"'0.wieght' matches no parameter; .*'0.weight'"),
        ([{"match": ["0.*", "x"], "lr": 1}], r"'x' matches no parameter"),
        ([{"match": "0.*"}], r"adamw.groups\[0\] sets nothing"),
        ([{"lr": 1}], r"adamw.groups\[0\] must be a dict with match"),
        (["0.*"], r"adamw.groups\[0\] must be a dict with match"),
        ([{"match": 3, "lr": 1}], r"adamw.groups\[0\].match must be a pattern"),
        ([{"match": "re:(", "lr": 1}], r"no regular expression"),
        ([{"match": "0.*", "lr": -1}], r"adamw.groups\[0\].lr must be a number from 0, not -1"),
        ([{"match": "0.*", "lr": "0.1x"}], r"adamw.groups\[0\].lr must be a number from 0"),
        ([{"match": "0.*", "lr": float("nan")}], r"adamw.groups\[0\].lr must be a number from 0"),
        ([{"match": "0.*", "beta1": 1.0}], r"adamw.groups\[0\].beta1 must be a number from 0 to below 1"),
        ([{"match": "0.*", "lr": 1, "lr_scale": 2}], r"has both lr and lr_scale"),
        ([{"match": "0.*", "weight_decay": 1, "weight_decay_scale": 2}], r"has both weight_decay and weight_decay_scale"),
        ([{"match": "0.*", "momentum": 0.5}], r"a group of adamw has no momentum"),
        ([{"match": "0.*", "wieght_decay": 0}], r"a group of adamw has no wieght_decay; .*weight_decay"),
        ({"match": "0.*"}, r"adamw.groups must be a list"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(groups: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        fit(AdamW(groups=groups))


def test_what_an_optimiser_cannot_have_per_group_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sgd.groups\[0\] sets momentum, which cycle_momentum moves for all"):
        fit(SGD(groups=[{"match": "*", "momentum": 0.1}]), OneCycle(cycle_momentum=True))
    with pytest.raises(ConfigError, match=r"a group of schedule_free has no beta1"):
        ScheduleFree(groups=[{"match": "*", "beta1": 0.1}])
    with pytest.raises(ConfigError, match=r"muon.groups\[0\] sets momentum, which muon does not have for 4.weight"):
        fit(Muon(groups=[{"match": "*", "momentum": 0.1}]))


@pytest.mark.parametrize("plugins", [["accumulate", "clip"], ["amp", "ema"], ["master_weights"], ["step_in_backward"]])
def test_other_plugins_see_the_same_groups(plugins: list[Any], tmp_path: Path) -> None:
    def parts() -> list[Any]:
        return [AdamW(lr=0.01, groups=RULES[:2]), Cosine(), *plugins]

    whole = fit(*parts(), epochs=2)
    fit(*parts(), epochs=2, stop=2, out=tmp_path, checkpoint_every=1)
    assert all(map(torch.equal, whole.weights, fit(*parts(), epochs=2, resume=tmp_path).weights))


def test_state_goes_to_its_parameter_where_groups_change(tmp_path: Path) -> None:
    square = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    data = [torch.randn(4, 6, generator=torch.Generator().manual_seed(step)) for step in range(4)]

    def optim(groups: Any, **settings: Any) -> Optim:
        run = Trainer(
            square, data, loss=lambda m, x: m(x).square().mean(), plugins=[AdamW(groups=groups)], watch=(), epochs=2,
            allow=["plugins"] if "resume" in settings else [], **settings,
        )  # fmt: skip
        run.fit()
        actual: Optim = next(plugin for plugin in run.plugins if isinstance(plugin, AdamW))
        return actual

    def moments(optim: Optim) -> dict[str, Tensor]:
        return {optim.names[id(param)]: state["exp_avg"] for param, state in optim.optimizer.state.items()}

    first = optim(None, out=tmp_path / "a")
    for groups in ([{"match": "2.*", "lr_scale": 1.5}], [{"match": "*.bias", "lr": 0.5}, {"match": "1.*", "lr": 1}], None):
        after = optim(groups, resume=tmp_path / "a")
        assert after.optimizer.param_groups[0]["lr"] == after.rates[0]
        assert all(torch.equal(moments(first)[name], value) for name, value in moments(after).items())


def test_old_identities_have_no_groups() -> None:
    assert not {"groups", "layer_decay"} & (AdamW().identity() or {}).keys()
    assert (AdamW(layer_decay=0.5).identity() or {})["layer_decay"] == 0.5


def test_a_frozen_parameter_gets_its_group_when_it_is_thawed() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    net[0].requires_grad_(False)

    class Data:
        epochs = 0

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Any:
            self.epochs += 1
            net[0].requires_grad_(self.epochs > 2)
            return iter([torch.ones(2, 4)] * 2)

    plugin = SGD(lr=0.1, groups=[{"match": "0.*", "lr": 0.01}])
    Trainer(net, Data(), loss=lambda m, x: m(x).square().mean(), plugins=[plugin], watch=(), epochs=4).fit()
    assert [(names, group["lr"]) for names, group in by_names(plugin)] == [
        (["0.weight", "0.bias"], pytest.approx(0.01)),
        (["1.weight", "1.bias"], 0.1),
    ]


def test_a_tied_parameter_is_matched_by_each_of_its_names() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    plugin = SGD(groups=[{"match": "1.weight", "lr": 0.5}])
    Trainer(net, [torch.ones(2, 4)], loss=lambda m, x: m(x).square().mean(), plugins=[plugin], watch=()).fit()
    assert next(group["lr"] for names, group in by_names(plugin) if names == ["0.weight"]) == 0.5
