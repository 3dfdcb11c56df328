"""An optimiser named by its class makes the bits of a loop by hand and keeps its state, or is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from accel import Trainer
from accel.cli.train_command import main
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.average import Average
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.ema import EMA
from accel.plugins.optimizer import Optimizer
from accel.plugins.step_in_backward import StepInBackward
from accel.testing import check_plugin, fit_toy
from tests.support.handwritten_loop import hand_loop

OF_TORCH: dict[str, dict[str, Any]] = {
    "RAdam": {"weight_decay": 0.1, "betas": [0.8, 0.9]}, "NAdam": {}, "Adafactor": {}, "Rprop": {}, "Adamax": {"eps": 1e-6},
    "ASGD": {}, "Adagrad": {}, "Adadelta": {}, "RMSprop": {"momentum": 0.5}, "Adam": {"fused": True},
    "SGD": {"nesterov": True, "momentum": 0.9},
}  # fmt: skip


class Averaged(torch.optim.Optimizer):
    """Gradient descent in the manner of the package schedulefree: counters in its groups, and a mode for evaluation."""

    def __init__(self, params: Any, lr: float = 0.1, rounds: bool = False) -> None:
        super().__init__(params, {"lr": lr, "k": 0, "train_mode": False, "rounds": rounds})

    def switch(self, train: bool) -> None:
        for group in self.param_groups:
            for param in group["params"] if group["train_mode"] != train else ():
                if "z" in self.state[param]:
                    param.data.lerp_(self.state[param]["z"].to(param.dtype), 0.3 if train else 1 - 1 / 0.7)
            group["train_mode"] = train

    def eval(self) -> None:
        self.switch(False)

    def train(self) -> None:
        self.switch(True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.state.setdefault("steps", {"all": 0})["all"] += 1  # type: ignore[call-overload]
        for group in self.param_groups:
            if not group["train_mode"]:
                raise RuntimeError("not in train mode")
            group["k"] += 1
            for param in (param for param in group["params"] if param.grad is not None):
                state = self.state[param]
                if not state:
                    state["z"], state["where"] = param.detach().float().clone(), ["host"]
                steps: int = self.state["steps"]["all"]  # type: ignore[index]
                state["z"].sub_(param.grad, alpha=group["lr"] / group["k"] ** 0.5 / (1 + steps))
                param.lerp_(state["z"].to(param.dtype), 1 / (group["k"] + 1))


class Moving(Averaged):
    """An optimiser whose mode for evaluation is counted in its state."""

    def eval(self) -> None:
        super().eval()
        self.param_groups[0]["k"] += 1


class Odd(torch.optim.SGD):
    """An optimiser with a state_dict of a form of its own."""

    def state_dict(self) -> dict[str, Any]:
        return {"mine": super().state_dict()}


class Claiming(torch.optim.SGD):
    """An optimiser that is called fused, and heeds no loss scale."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.defaults["fused"] = True

    def step(self, closure: Any = None) -> Any:
        self.grad_scale = self.found_inf = None
        return super().step(closure)


class Forgetful(torch.optim.SGD):
    """An optimiser that keeps a number outside of its state."""

    calls = 0

    def step(self, closure: Any = None) -> Any:
        self.calls += 1
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.grad.mul_(self.calls)
        return super().step(closure)


class Hidden(torch.optim.SGD):
    """An optimiser whose state no checkpoint can hold."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["who"] = {"a": object()}
        return super().step(closure)


class Coded(Tensor):
    """A tensor as those of torchao in which optimisers keep 8 bits: it does not even let itself be copied."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.clone, Tensor.__deepcopy__):
            raise NotImplementedError("clone of a Coded")
        return super().__torch_function__(func, types, args, kwargs or {})


class InCodes(torch.optim.SGD):
    """An optimiser that keeps such tensors."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param].setdefault("codes", torch.zeros(2).as_subclass(Coded))
        return super().step(closure)


class Noisy(torch.optim.SGD):
    """An optimiser that draws random numbers."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for param in group["params"]:
                param.add_(torch.randn_like(param), alpha=1e-3)
        return super().step(closure)


class Double(torch.optim.SGD):
    """An optimiser whose step needs gradients that can be differentiated again."""

    def step(self, closure: Any = None) -> Any:
        params = [param for group in self.param_groups for param in group["params"]]
        torch.autograd.grad([param.grad for param in params if param.grad is not None], params)
        return super().step(closure)


def in_turn(*batches: Tensor) -> DataLoader[Tensor]:
    """Return ready batches."""
    return DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OF_TORCH)
def test_the_bits_of_the_same_optimiser_in_a_loop_by_hand(name: str) -> None:
    args = OF_TORCH[name]
    kind: Any = getattr(torch.optim, name)
    actual = fit_toy([Optimizer(f"torch.optim.{name}", lr=0.01, args=args)])
    more = {} if args.get("fused") or name == "Adafactor" else {"foreach": True}
    weights, losses = hand_loop(lambda model: kind(model.parameters(), lr=0.01, **args, **more))
    assert all(map(torch.equal, actual.losses, losses))
    assert all(map(torch.equal, actual.weights, weights))


@pytest.mark.parametrize(("name", "stop"), [("RAdam", 2), ("NAdam", 8)])
def test_resumed_at_any_update_it_ends_the_same(name: str, stop: int, tmp_path: Path) -> None:
    check_resumed(lambda: [Optimizer(f"torch.optim.{name}", lr=0.01), Cosine()], stop, tmp_path)


@pytest.mark.parametrize("stop", [2, 9])
def test_counters_of_groups_and_modes_are_resumed(stop: int, tmp_path: Path) -> None:
    check_resumed(lambda: [Optimizer(Averaged, lr=0.05, groups=[{"match": "0.*", "lr_scale": 2}])], stop, tmp_path)


def check_resumed(plugins: Callable[[], list[Part]], stop: int, folder: Path) -> None:
    whole = fit_toy(plugins())
    fit_toy(plugins(), out=folder / "run", checkpoint_every=stop - 1, stop=stop)
    rest = fit_toy(plugins(), resume=folder / "run")
    assert all(map(torch.equal, whole.spy.states[-1], rest.spy.states[-1]))
    assert whole.metrics == rest.metrics


def test_it_trains_in_one_mode_and_is_evaluated_in_the_other() -> None:
    seen: list[list[Tensor]] = []

    class Mine(Trainer):
        def metrics(self, model: nn.Module, batch: Tensor) -> dict[str, float]:
            seen.append([param.detach().clone() for param in model.parameters()])
            return {"score": 0.0}

    torch.manual_seed(1)
    net, data = nn.Linear(2, 1), in_turn(*[torch.randn(3, 2)] * 2)
    start = [param.detach().clone() for param in net.parameters()]

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).square().mean()

    result = Mine(
        net, data, in_turn(torch.ones(1, 2)), loss, plugins=[Optimizer(Averaged, lr=0.1)], watch=(), epochs=2, device="cpu"
    ).fit()
    params = [param.requires_grad_(True) for param in start]
    optimizer = Averaged(params, lr=0.1)
    optimizer.train()
    for epoch in range(2):
        for batch in data:
            optimizer.zero_grad()
            nn.functional.linear(batch, *params).square().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        trained = [param.detach().clone() for param in params]
        optimizer.eval()
        assert all(map(torch.equal, params, seen[epoch + 1])), "before the first update one is made on trial"
        assert not any(map(torch.equal, params, trained))
        optimizer.train()
        for param, value in zip(params, trained, strict=True):  # train() itself comes back but for a rounding
            param.data.copy_(value)
    assert all(map(torch.equal, result.model.parameters(), seen[-1]))


def test_evaluations_in_between_change_no_bit() -> None:
    rare, often = (fit_toy([Optimizer(Averaged, lr=0.05)], evaluate_every=every) for every in (12, 1))
    assert all(map(torch.equal, rare.spy.states[-1], often.spy.states[-1]))


def test_state_keeps_its_dtype_beside_weights_of_16_bits(tmp_path: Path) -> None:
    class Short(Trainer):
        def model(self) -> nn.Module:
            torch.manual_seed(0)
            return nn.Linear(4, 3).bfloat16()

        def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
            return model(batch.bfloat16()).square().mean()

    def fit(**settings: Any) -> list[Tensor]:
        data = in_turn(*(torch.full((2, 4), 0.3 * step) for step in range(6)))
        run = Short(data=data, plugins=[Optimizer(Averaged, lr=0.01)], watch=(), device="cpu", **settings)
        with pytest.warns(AccelWarning, match="weights of 16 bits"):
            return [param.detach().clone() for param in run.fit().model.parameters()]

    whole = fit()
    fit(updates=3, out=tmp_path / "run")
    assert all(map(torch.equal, whole, fit(resume=tmp_path / "run")))


def test_counters_stay_when_parameters_are_thawed() -> None:
    class Thawing(Trainer):
        def model(self) -> nn.Module:
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
            self.net[0].requires_grad_(False)
            return self.net

        def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 3:
                self.net[0].requires_grad_(True)
            return model(batch).square().mean()

    plugin = Optimizer(Averaged, lr=0.1)
    Thawing(data=in_turn(*[torch.ones(2, 2)] * 3), plugins=[plugin], watch=(), epochs=3, device="cpu").fit()
    groups = plugin.optimizer.param_groups
    assert [group["k"] for group in groups] == [9]
    assert sum(len(group["params"]) for group in groups) == 4


def test_a_loss_scale_accumulation_and_steps_in_the_backward_pass() -> None:
    scaled = [Optimizer("torch.optim.RAdam"), AMP(dtype="float16", force=True, init_scale=4.0), Clip(max_norm=0.1)]
    result = fit_toy([*scaled, Accumulate(steps=2)], overflow=[3])
    assert all(map(torch.equal, result.spy.states[0], result.spy.states[1])), "the second update overflows"
    assert not all(map(torch.equal, result.spy.states[1], result.spy.states[2]))
    clipped, claimed = (fit_toy([Optimizer(kind), Clip(max_norm=0.1)]) for kind in (torch.optim.SGD, Claiming))
    assert clipped.equals(claimed)
    plain = fit_toy([Optimizer("torch.optim.RAdam")])
    assert plain.equals(fit_toy([Optimizer("torch.optim.RAdam"), StepInBackward()]))
    with pytest.raises(ConfigError, match="Averaged may keep or compute something for several parameters"):
        fit_toy([Optimizer(Averaged), StepInBackward()])


def test_another_average_beside_it_is_said_or_refused() -> None:
    with pytest.warns(AccelWarning, match=r"ema averages the weights that are trained, and is evaluated in place of those of"):
        fit_toy([Optimizer(Averaged), EMA()])
    with pytest.raises(ConfigError, match="plugins average and optimizer both average the weights"):
        fit_toy([Optimizer(Averaged), Average()])


def test_the_plan_names_it() -> None:
    facts = fit_toy([Optimizer(Averaged)]).spy.run.plan.facts
    assert facts["optimizer"] == f"{__name__}.Averaged, not fused; evaluated in its own mode for that"
    facts = fit_toy([Optimizer("torch.optim.RAdam", groups=[{"match": "*", "beta1": 0.5}])]).spy.run.plan.facts
    assert facts["optimizer"] == "torch.optim.RAdam, not fused"
    assert "beta1 0.5" in facts["parameter groups"]


def partial_groups(params: list[Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(params[:2], lr)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no dotted name": (
        {"target": "RAdam"},
        "optimizer.target must be a dotted name, such as torch.optim.RAdam, not 'RAdam'; did you mean torch.optim.RAdam?",
    ),
    "not installed": (
        {"target": "schedule_freee.AdamW"},
        "optimizer.target=schedule_freee.AdamW: there is no module 'schedule_freee'; install its package (pip install "
        "schedule-freee), or mend the name",
    ),
    "mistyped": (
        {"target": "torch.optim.RAdm"},
        "optimizer.target=torch.optim.RAdm: torch.optim has no 'RAdm'; did you mean 'RAdam'?",
    ),
    "a module": (
        {"target": "torch.optim"},
        "optimizer.target must be the dotted name of a class or a function, such as torch.optim.RAdam, not a module",
    ),
    "no optimiser": (
        {"target": "torch.nn.Linear"},
        "optimizer.target: torch.nn.Linear is no optimiser (torch.optim.Optimizer), as torch.optim.RAdam is",
    ),
    "makes none": (
        {"target": "torch.nn.functional.normalize"},
        "optimizer.args: torch.nn.functional.normalize takes no lr; it takes p, dim, eps, out",
    ),
    "a wrong argument": (
        {"target": "torch.optim.RAdam", "args": {"wieght_decay": 0.1}},
        "optimizer.args: torch.optim.RAdam takes no wieght_decay; did you mean 'weight_decay'?",
    ),
    "the rate among them": (
        {"args": {"lr": 0.1}},
        "optimizer.args has lr: write optimizer.lr=...; leave it out there",
    ),
    "a wrong value": (
        {"target": "torch.optim.RAdam", "args": {"betas": [2, 0.9]}},
        "optimizer.target: torch.optim.RAdam cannot be made: Invalid beta parameter at index 0: 2",
    ),
    "a closure": (
        {"target": "torch.optim.LBFGS"},
        "optimizer.target: torch.optim.LBFGS needs a closure that computes the loss anew within a step, and here each gradient is "
        "computed once; take another optimiser",
    ),
    "sparse alone": (
        {"target": "torch.optim.SparseAdam"},
        "optimizer.target: torch.optim.SparseAdam takes sparse gradients alone, and these are dense; take another optimiser",
    ),
    "matrices alone": (
        {"target": "torch.optim.Muon"},
        "optimizer.target: torch.optim.Muon cannot be made: Muon only supports 2D parameters whereas we found a parameter with "
        "size: torch.Size([3])",
    ),
    "gradients of gradients": (
        {"target": Double},
        f"optimizer.target: {__name__}.Double needs gradients that can be differentiated again (create_graph=True), and these are "
        "plain numbers; take another optimiser",
    ),
    "an evaluation that counts": (
        {"target": Moving},
        f"optimizer.target: {__name__}.Moving has a mode for evaluation that changes its state, so an evaluation would move the "
        "run; take another optimiser",
    ),
    "a state of its own form": (
        {"target": Odd},
        f"optimizer.target: {__name__}.Odd has a state_dict without state and param_groups, from which nothing could go on; "
        "take another optimiser",
    ),
    "some parameters": (
        {"target": partial_groups},
        f"optimizer.target: {__name__}.partial_groups leaves out 1.weight; it must move each parameter that it is given once",
    ),
    "an unknown group": (
        {"groups": [{"match": "*", "beta1": 0.1}]},
        "optimizer.groups[0]: a group of optimizer has no beta1; did you mean 'beta'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_words(case: str) -> None:
    settings, sentence = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        fit_toy([Optimizer(**settings)])
    if case != "an unknown group":
        assert str(error.value) == sentence
    else:
        assert str(error.value).startswith("optimizer.groups[0]: a group of optimizer has no beta1")


def test_a_state_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    with pytest.warns(AccelWarning, match="Forgetful keeps more than its state_dict has, so a resumed run is not to the bit"):
        fit_toy([Optimizer(Forgetful)])
    fit_toy([Optimizer(Hidden)])
    with pytest.raises(ConfigError, match=r"Hidden keeps a object in state\.0\.who\.a, which no checkpoint can"):
        fit_toy([Optimizer(Hidden)], out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"InCodes keeps a Coded in state\.0\.codes, which no checkpoint can; take another"):
        fit_toy([Optimizer(InCodes)], out=tmp_path / "run")


def test_the_trial_draws_no_random_number() -> None:
    plugin = Optimizer(Noisy)
    weights, _ = hand_loop(lambda model: Noisy(model.parameters(), lr=0.001))
    assert all(map(torch.equal, fit_toy([plugin]).weights, weights))
    assert plugin.trial is not None
    assert plugin.trial.draws
    assert plugin.trial.exact


def test_another_class_is_another_run(tmp_path: Path) -> None:
    fit_toy([Optimizer("torch.optim.RAdam")], out=tmp_path / "run", epochs=1)
    again = fit_toy([Optimizer(torch.optim.RAdam)], resume=tmp_path / "run")
    assert len(again.losses) == 6, "the class and its name are the same"
    with pytest.raises(ConfigError, match=r"plugins\.optimizer\.target was"):
        fit_toy([Optimizer("torch.optim.NAdam")], resume=tmp_path / "run")
    with pytest.raises(ConfigError, match="adamw"):
        fit_toy([AdamW()], resume=tmp_path / "run")


@pytest.mark.slow
def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["+plugins=[optimizer]", "plugins.optimizer.target=torch.optim.RAdam", "plugins.optimizer.args={weight_decay:0.01}"]
    cosine = ["+plugins=[scheduler]", "plugins.scheduler.target=torch.optim.lr_scheduler.CosineAnnealingLR"]
    assert main([*words, *cosine, "plugins.scheduler.args={T_max:updates}", "dry_run=true"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "torch.optim.RAdam, not fused" in shown
    assert "CosineAnnealingLR: 0.001 at first, at most" in shown
    assert main([*words, "plugins.optimizer.args={weight_decai:0.01}", "dry_run=true"]) == 2
    assert "takes no weight_decai; did you mean 'weight_decay'?" in capsys.readouterr().err


def test_those_of_other_packages(tmp_path: Path) -> None:
    schedulefree = pytest.importorskip("schedulefree", reason="it comes with nothing of accel")
    check_resumed(lambda: [Optimizer(schedulefree.AdamWScheduleFree, lr=0.01, args={"warmup_steps": 4})], 5, tmp_path)


@pytest.mark.slow
def test_common_suite_with_modes() -> None:
    check_plugin(lambda: Optimizer(Averaged, lr=0.05), beside=["ema"])
