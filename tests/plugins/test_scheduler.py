"""A scheduler named by its class gives the rates that it gives in a loop of torch, to the bit, in a resumed run too."""

from __future__ import annotations

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as torchs

from accel.errors import AccelWarning, ConfigError
from accel.parts.shared.imported.plain_state import unsaveable
from accel.parts.shared.imported.stepped_scheduler import SteppedScheduler
from accel.plugins.batch_lr import BatchLR
from accel.plugins.scheduler import Scheduler
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from accel.testing.toy_run import Spy, Toy


def warm_then_cosine(optimizer: torch.optim.Optimizer, updates: int = 10) -> torchs.LRScheduler:
    warm = torchs.LinearLR(optimizer, 0.1, total_iters=3)
    return torchs.SequentialLR(optimizer, [warm, torchs.CosineAnnealingLR(optimizer, updates - 3)], [3])


def chained(optimizer: torch.optim.Optimizer) -> torchs.LRScheduler:
    return torchs.ChainedScheduler([torchs.ExponentialLR(optimizer, 0.9), torchs.MultiStepLR(optimizer, [2, 7])])


def by_lambda(optimizer: torch.optim.Optimizer) -> torchs.LRScheduler:
    """As those of transformers are made: a function that returns a LambdaLR."""
    return torchs.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))


SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LinearLR": ("torch.optim.lr_scheduler.LinearLR", {}),
    "ExponentialLR": ("torch.optim.lr_scheduler.ExponentialLR", {"gamma": 0.9}),
    "StepLR": ("torch.optim.lr_scheduler.StepLR", {"step_size": 4}),
    "PolynomialLR": ("torch.optim.lr_scheduler.PolynomialLR", {"total_iters": 12, "power": 2.0}),
    "CosineAnnealingLR": ("torch.optim.lr_scheduler.CosineAnnealingLR", {"T_max": 12, "eta_min": 1e-4}),
    "CosineAnnealingWarmRestarts": ("torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2}),
    "OneCycleLR": (torchs.OneCycleLR, {"max_lr": 0.1, "total_steps": 12, "cycle_momentum": False}),
    "OneCycleLR of groups": (torchs.OneCycleLR, {"max_lr": [0.1, 0.02], "total_steps": 12}),
    "CyclicLR": (torchs.CyclicLR, {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}),
    "SequentialLR": (warm_then_cosine, {"updates": 12}),
    "ChainedScheduler": (chained, {}),
    "LambdaLR": (by_lambda, {}),
}


class Rates(Spy):
    """A watch that remembers the rates and the momenta of all groups."""

    def begin(self, run: Any) -> None:
        super().begin(run)
        self.seen: list[Any] = []

    def after(self, step: int, loss: torch.Tensor) -> None:
        groups = self.run.parts.optim.optimizer.param_groups
        self.seen.append([(group["lr"], group["momentum"]) for group in groups])
        super().after(step, loss)


def fit(*plugins: Any, stop: int = 0, **settings: Any) -> Rates:
    spy = Rates(stop=stop)
    try:
        Toy(plugins=[*plugins, spy], watch=(), batch_size=4, device="cpu", **{"epochs": 2, **settings}).fit()
    except Exception as error:
        if type(error).__name__ != "Stop":
            raise
    return spy


def sgd() -> SGD:
    return SGD(lr=0.05, fused=False, groups=[{"match": "0.*", "lr": 0.01}])


def in_torch(target: Any, args: dict[str, Any], updates: int) -> list[Any]:
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 0.01}, {"params": weights[1:]}], lr=0.05, momentum=0.9)
    make = getattr(torchs, target.rpartition(".")[2]) if isinstance(target, str) else target
    scheduler, seen = make(optimizer, **args), []
    for _ in range(updates):
        seen.append([(group["lr"], group["momentum"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("name", SCHEDULERS)
def test_rates_and_momenta_are_torchs_to_the_bit(name: str) -> None:
    target, args = SCHEDULERS[name]
    length = 11 if name.startswith("OneCycle") else 12  # the loop of torch steps once more at the end
    assert fit(sgd(), Scheduler(target, args)).seen[:length] == in_torch(target, args, length)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_its_state_is_where_it_was_at_every_update(name: str) -> None:
    target, args = SCHEDULERS[name]
    make = getattr(torchs, target.rpartition(".")[2]) if isinstance(target, str) else target
    groups = [{"lr": lr, "momentum": 0.9} for lr in (0.01, 0.05)]

    def begun() -> SteppedScheduler:
        return SteppedScheduler(name, lambda optimizer: make(optimizer, **args), groups, {"lr": 0.1, "momentum": 0.9})

    whole, seen = begun(), []
    for step in range(12):
        whole.advance(step)
        seen.append((whole.rates, whole.momenta))
    for stop in range(12):
        first, second = begun(), begun()
        first.advance(stop)
        state = first.state_dict()
        assert state["scheduler"] is not None
        assert not unsaveable(state)
        second.load_state_dict(deepcopy(state))
        for step in range(stop, 12):
            second.advance(step)
            assert (second.rates, second.momenta) == seen[step]


@pytest.mark.parametrize(("name", "stop"), [("OneCycleLR of groups", 2), ("SequentialLR", 8)])
def test_resumed_at_any_update_the_rates_go_on(name: str, stop: int, tmp_path: Path) -> None:
    target, args = SCHEDULERS[name]
    whole = fit(sgd(), Scheduler(target, args))
    fit(sgd(), Scheduler(target, args), out=tmp_path, checkpoint_every=stop - 1, stop=stop)
    rest = fit(sgd(), Scheduler(target, args), resume=tmp_path)
    assert rest.seen == whole.seen[-len(rest.seen) :]
    assert all(map(torch.equal, rest.states[-1], whole.states[-1]))


def test_the_word_updates_is_the_number_of_updates(tmp_path: Path) -> None:
    cosine = {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "args": {"T_max": "updates"}}
    assert fit(sgd(), Scheduler(**cosine)).seen == in_torch(cosine["target"], {"T_max": 12}, 12)
    fit(sgd(), Scheduler(**cosine), out=tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match="updates was 6 and is now 12"):
        fit(sgd(), Scheduler(**cosine), resume=tmp_path / "run")
    longer = fit(sgd(), Scheduler(**cosine), resume=tmp_path / "run", allow=["updates"])
    assert longer.seen == in_torch(cosine["target"], {"T_max": 12}, 12)[6:], "as if it had been so long from the start"


@pytest.mark.parametrize("kind", [list, tuple])
def test_the_word_updates_is_a_number_in_a_list_too(kind: Any) -> None:
    plugin = Scheduler("torch.optim.lr_scheduler.MultiStepLR", {"milestones": kind([2, "updates"])})
    fit(sgd(), plugin)
    assert plugin.arguments == {"milestones": kind([2, 12])}


def test_another_length_is_no_other_schedule_if_it_does_not_count_updates(tmp_path: Path) -> None:
    plugin = {"target": "torch.optim.lr_scheduler.ExponentialLR", "args": {"gamma": 0.9}}
    fit(sgd(), Scheduler(**plugin), out=tmp_path / "run", epochs=1)
    assert fit(sgd(), Scheduler(**plugin), resume=tmp_path / "run").seen == fit(sgd(), Scheduler(**plugin)).seen[6:]


def test_the_rates_that_are_written_follow_the_batch() -> None:
    plugin = Scheduler("torch.optim.lr_scheduler.ExponentialLR", {"gamma": 0.5})
    factor = fit(sgd(), plugin, BatchLR(reference=8)).run.parts.rate.factor
    assert factor != 1
    assert plugin.past.tolist() == [0.05 * factor * 0.5**step for step in range(12)]
    assert [plugin.lr(step) for step in (0, 11)] == [0.05 * factor, 0.05 * factor * 0.5**11]


def drawn(optimizer: torch.optim.Optimizer) -> torchs.LRScheduler:
    return torchs.MultiplicativeLR(optimizer, lambda step: 0.5 + random.random())


def test_one_that_is_no_function_of_the_update_is_said_and_resumed(tmp_path: Path) -> None:
    says = "drawn gives other rates when it is made again, so it is no function of the update"
    with pytest.warns(AccelWarning, match=says):
        whole = fit(sgd(), Scheduler(drawn))
    with pytest.warns(AccelWarning, match=says):
        fit(sgd(), Scheduler(drawn), out=tmp_path / "run", checkpoint_every=5, stop=6)
    with pytest.warns(AccelWarning, match=says):
        assert fit(sgd(), Scheduler(drawn), resume=tmp_path / "run").seen == whole.seen[5:]


def test_it_follows_parameters_that_are_thawed() -> None:
    class Thawing(Toy):
        def model(self) -> torch.nn.Module:
            self.net: Any = super().model()
            self.net[0].requires_grad_(False)
            return self.net  # type: ignore[no-any-return]

        def loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
            loss = super().loss(model, batch)
            self.net[0].requires_grad_(self.calls > 3)
            return loss

    spy = Rates()
    plugin = Scheduler("torch.optim.lr_scheduler.ExponentialLR", {"gamma": 0.5})
    Thawing(plugins=[sgd(), plugin, spy], watch=(), batch_size=4, device="cpu", epochs=2).fit()
    assert [len(groups) for groups in spy.seen] == [1] * 6 + [2] * 6
    assert spy.seen[6] == [(0.01 * 0.5**6, 0.9), (0.05 * 0.5**6, 0.9)]
    assert plugin.past.tolist() == [0.05 * 0.5**step for step in range(12)]


def test_the_plan_says_where_it_goes() -> None:
    facts = fit_toy([SGD(lr=0.3), Scheduler()]).spy.run.plan.facts
    assert facts["learning rate"] == "torch.optim.lr_scheduler.LinearLR: 0.1 at first, at most 0.3, 0.3 at last"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a metric": (
        {"target": "torch.optim.lr_scheduler.ReduceLROnPlateau"},
        "scheduler.target: torch.optim.lr_scheduler.ReduceLROnPlateau follows a metric of the evaluations; take the plugin plateau",
    ),
    "a metric, in a function": (
        {"target": lambda optimizer: torchs.ReduceLROnPlateau(optimizer)},
        "follows a metric of the evaluations; take the plugin plateau",
    ),
    "too few steps": (
        {"target": "torch.optim.lr_scheduler.OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 6}},
        "scheduler.target: torch.optim.lr_scheduler.OneCycleLR fails at update 8: Tried to step 7 times. The specified number of "
        "total steps is 6; the run has 12 updates",
    ),
    "an argument that lacks": (
        {"target": "torch.optim.lr_scheduler.StepLR"},
        "scheduler.args: torch.optim.lr_scheduler.StepLR needs step_size; add it, as in scheduler.args={step_size:VALUE}",
    ),
    "a wrong argument": (
        {"target": "torch.optim.lr_scheduler.StepLR", "args": {"step_sise": 3}},
        "scheduler.args: torch.optim.lr_scheduler.StepLR takes no step_sise; did you mean 'step_size'?",
    ),
    "a wrong value": (
        {"target": "torch.optim.lr_scheduler.LinearLR", "args": {"start_factor": 3}},
        "scheduler.target: torch.optim.lr_scheduler.LinearLR cannot be made: Starting multiplicative factor expected to be greater "
        "than 0 and less or equal to 1.",
    ),
    "no scheduler": (
        {"target": "builtins.repr"},
        "scheduler.target: builtins.repr makes a str, and no scheduler such as torch.optim.lr_scheduler.ExponentialLR",
    ),
    "no name": (
        {"target": 3},
        "scheduler.target must be the dotted name of a class or a function, such as torch.optim.lr_scheduler.ExponentialLR, "
        "not a int",
    ),
    "not finite": (
        {"target": "torch.optim.lr_scheduler.ExponentialLR", "args": {"gamma": 1e200}},
        "scheduler.target: torch.optim.lr_scheduler.ExponentialLR gives a rate that is not finite at update 3",
    ),
    "not finite from the first": (
        {"target": "torch.optim.lr_scheduler.LambdaLR", "args": {"lr_lambda": lambda step: float("nan")}},
        "scheduler.target: torch.optim.lr_scheduler.LambdaLR gives a rate that is not finite at update 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_words(case: str) -> None:
    settings, sentence = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        fit_toy([Scheduler(**settings)])
    if case.endswith("function"):
        assert str(error.value).endswith(sentence)
    else:
        assert str(error.value) == sentence
