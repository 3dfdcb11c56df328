"""A run of several objectives is the loop that one would write by hand, bit for bit, and goes on after any update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from accel.errors import ConfigError
from accel.parts import Average, Compile, Group, Guard, Optim, Part, Precision, Schedule
from accel.parts import Clip as ClipPart
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.master_weights import MasterWeights
from accel.plugins.metrics import Metrics
from accel.plugins.optimizer import Optimizer
from accel.plugins.scheduler import Scheduler
from accel.schema import plugin_registry
from accel.testing import cheap
from tests.support.toy_gan import Gan, Outcome, Spy, fit, hand_loop

HALF: dict[str, Any] = {"dtype": "float16", "force": True, "init_scale": 2.0**20}
CASES: dict[str, tuple[list[Part], dict[str, Any], dict[str, Any]]] = {
    "plain": ([], {}, {}),
    "every update": ([], {"every": 1}, {"every": 1}),
    "every third": ([], {"every": 3}, {"every": 3}),
    "accumulate": ([Accumulate(steps=2)], {}, {"window": 2}),
    "clip": ([Clip(max_norm=0.2)], {}, {"norms": (0.2, 0.2)}),
    "a clip of one alone": ([], {"own": [Clip(max_norm=0.01)]}, {"norms": (None, 0.01)}),
    "bfloat16": ([AMP()], {}, {"dtype": torch.bfloat16}),
    "float16": ([AMP(**HALF), AdamW()], {}, {"dtype": torch.float16, "scale": 2.0**20}),
    "all": (
        [AMP(**HALF), AdamW(), Accumulate(steps=2), Clip(max_norm=0.2)], {"own": [Clip(max_norm=0.01)]},
        {"dtype": torch.float16, "scale": 2.0**20, "window": 2, "norms": (0.2, 0.01)},
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:amp")
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_loop_written_by_hand(name: str) -> None:
    plugins, settings, by_hand = CASES[name]
    actual = fit(plugins, **settings)
    weights, losses, objectives = hand_loop(**by_hand)
    assert len(actual.spy.losses) == len(losses)
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    exact = by_hand.get("window", 1) == 1  # the mean over a window is summed in another order
    for one, other in zip(actual.spy.losses, losses, strict=True):
        assert torch.equal(one, other) if exact else torch.allclose(one, other, rtol=1e-5 if "dtype" not in by_hand else 1e-2)
    if "scale" in by_hand:
        precision = actual.spy.run.parts.precision.state_dict()
        assert [float(state["scale"]) for state in precision.values()] == [float(each.scale) for each in objectives]  # type: ignore[arg-type]
        skipped = [each.skipped for each in objectives]
        assert [float(state["skipped"]) for state in precision.values()] == skipped
        assert sum(skipped) > 0, "no overflow was tried"
        assert float(actual.spy.run.parts.guard.skipped) == sum(skipped)  # type: ignore[arg-type]


SETS: dict[str, list[Part]] = {
    "plain": [],
    "much": [AMP(**HALF), Accumulate(steps=2), Clip(max_norm=0.2), Cosine(), EMA(decay=0.5), FiniteGuard()],
    "masters": [MasterWeights(), AdamW(), EMA()],
}


@pytest.mark.filterwarnings("ignore:master_weights", "ignore:finite_guard")
@pytest.mark.parametrize("name", SETS)
def test_a_run_goes_on_after_any_update(name: str, tmp_path: Path) -> None:
    whole = fit(SETS[name], out=tmp_path, checkpoint_every=1, checkpoint_keep=99)
    for file in checkpoints(tmp_path)[-2:0:-5]:  # a run that goes on takes the later ones away
        resumed = fit(SETS[name], resume=file, checkpoint_keep=99)
        start = resumed.spy.run.first_step  # type: ignore[attr-defined]
        whole_tail = Outcome(whole.weights, Spy(), whole.metrics)
        whole_tail.spy.losses = whole.spy.losses[start:]
        assert start > 0
        assert resumed.equals(whole_tail)
        assert resumed.spy.logged == whole.spy.logged[start:]


def checkpoints(out: Path) -> list[Path]:
    return sorted((out / "checkpoints").glob("*.pt"))


KEPT = (Average, ClipPart, Compile, Group, Guard, Optim, Precision, Schedule)
"""Parts of an update, with which it is resumed as well."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("name", plugin_registry.names())
def test_every_plugin_goes_along_or_is_refused_in_words(name: str, tmp_path: Path) -> None:
    def run(**settings: Any) -> Any:
        try:
            return fit([Metrics(curves=False) if name == "metrics" else cheap(name)()], updates=4, **settings)
        except ConfigError as error:
            return str(error)

    whole = run(out=tmp_path, checkpoint_every=3, checkpoint_keep=9)
    if isinstance(whole, str):
        assert name in whole, whole
        return
    if not isinstance(cheap(name)(), KEPT):
        return
    resumed = run(resume=checkpoints(tmp_path)[0])
    assert 0 < len(resumed.spy.losses) < 4
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights, whole.weights, strict=True))
    assert resumed.metrics == whole.metrics


def test_a_step_that_is_skipped_leaves_the_other_objective_alone() -> None:
    one = fit([FiniteGuard()], every=1, updates=1)
    spoilt = fit([FiniteGuard()], every=1, updates=2, bad=[1])
    names = [name for name, _ in spoilt.spy.run.unwrapped_model.named_parameters()]
    unmoved = {name for name, a, b in zip(names, one.weights, spoilt.weights, strict=False) if torch.equal(a, b)}
    assert {name for name in names if name.startswith("critic.")} <= unmoved
    assert "generator.3.weight" not in unmoved
    parts = spoilt.spy.run.parts
    assert float(parts.guard.skipped) == 1  # type: ignore[arg-type]
    assert parts.optim.state_dict()["critic"]["state"][0]["step"] == 1
    batch_norm: Any = dict(spoilt.spy.run.unwrapped_model.named_buffers())["generator.1.num_batches_tracked"]
    assert batch_norm == 3, "of the four forward passes, that of the skipped step is undone"


def test_an_average_moves_unless_all_have_skipped() -> None:
    averages = []
    for updates, bad in ((1, []), (2, [1]), (3, [1])):
        run = fit([FiniteGuard(), EMA(decay=0.5)], every=2, updates=updates, bad=bad).spy.run
        averages.append(run.parts.average.state_dict()["average"]["generator.3.weight"])
    assert torch.equal(averages[0], averages[1]), "the critic alone was due, and skipped its step"
    assert not torch.equal(averages[1], averages[2])


def test_a_schedule_moves_all_rates_and_keeps_their_ratio() -> None:
    spy = fit([Cosine(), AdamW(lr=1e-3)], stop=9).spy
    rates = [state["param_groups"][0]["lr"] for state in spy.run.parts.optim.state_dict().values()]
    assert rates == pytest.approx([spy.run.parts.schedule.lr(8), spy.run.parts.schedule.lr(8) / 4])
    assert spy.run.parts.schedule.lr(8) < 4e-3


def test_a_torch_scheduler_moves_the_groups_of_all() -> None:
    target = "torch.optim.lr_scheduler.ExponentialLR"
    settings: dict[str, Any] = {"own": [AdamW(lr=1e-3, groups=[{"match": "*.bias", "lr_scale": 2.0}])]}
    spy = fit([Scheduler(target=target, args={"gamma": 0.5})], stop=3, **settings).spy
    groups = [group["lr"] for state in spy.run.parts.optim.state_dict().values() for group in state["param_groups"]]
    assert groups == pytest.approx([1e-3, 2.5e-4, 5e-4])


def test_a_scheduler_of_torch_moves_the_groups_of_the_first() -> None:
    halves = Scheduler("torch.optim.lr_scheduler.ExponentialLR", {"gamma": 0.5})
    optim: Any = fit([halves, Optimizer("torch.optim.RAdam", lr=0.01)]).spy.run.parts.optim
    rates = [[group["lr"] for group in member.optimizer.param_groups] for member in optim.members.values()]
    assert rates == [[4e-3 * 0.5**15], [pytest.approx(0.01 * 0.5**15)]]
    assert halves.lr(15) == 4e-3 * 0.5**15


def test_gradients_of_the_others_are_neither_computed_nor_kept() -> None:
    reached: list[str] = []

    class Hooked(Gan):
        def model(self) -> Any:
            model = super().model()
            for name, param in model.named_parameters():
                param.register_hook(lambda grad, name=name: reached.append(name))  # type: ignore[no-untyped-call]
            return model

        def generator_loss(self, model: Any, batch: Any) -> Any:
            assert all(param.grad is None for param in model.parameters())
            reached.clear()
            return super().generator_loss(model, batch)

    fit(kind=Hooked, updates=3)
    assert sorted(set(reached)) == ["generator.0.bias", "generator.0.weight", "generator.1.bias", "generator.1.weight",
                                    "generator.3.bias", "generator.3.weight"]  # fmt: skip


def test_a_gradient_penalty_and_requires_grad_of_the_users_own() -> None:
    class Penalised(Gan):
        def critic_loss(self, model: Any, batch: Any) -> Any:
            points = batch.clone().requires_grad_()
            (slope,) = torch.autograd.grad(model["critic"](points).sum(), points, create_graph=True)
            return super().critic_loss(model, batch) + slope.square().sum()

    class Frozen(Penalised):
        def generator_loss(self, model: Any, batch: Any) -> Any:
            model["critic"].requires_grad_(False)
            loss = super().generator_loss(model, batch)
            model["critic"].requires_grad_(True)
            return loss

    assert not fit(kind=Penalised).equals(fit())
    assert fit(kind=Frozen).equals(fit(kind=Penalised))
