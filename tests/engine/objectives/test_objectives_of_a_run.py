"""Several objectives at the border of a run: the plan, what is logged, evaluation, resumed runs, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import accel
from accel import Minimize, Trainer
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Run, Update, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.metrics import Metrics
from accel.plugins.norms import Norms
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from tests.support.toy_gan import Gan, fit


class Given(Gan):
    """Its objectives are given."""

    def __init__(self, made: Callable[[Any, Any], Any], **run: Any) -> None:
        super().__init__(**run)
        self.made = made

    def objectives(self, model: Any) -> Any:
        return self.made(self, model)


def refusal(made: Callable[[Any, Any], Any], *plugins: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Given(made, plugins=plugins, watch=(), updates=1, device="cpu", **settings).fit()
    return str(caught.value)


def critic(task: Any, model: Any, **changed: Any) -> Minimize:
    given = {"name": "critic", "parameters": model["critic"], "loss": task.critic_loss, **changed}
    return Minimize(**given)


def score(model: Any, batch: Any) -> Any:
    return model["critic"](batch).mean()


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "no list": (lambda task, model: critic(task, model), r"objectives\(model\) returned .*Minimize; return a list of Minimize"),
    "none": (lambda task, model: [], r"returned no objective"),
    "something else": (lambda task, model: [task.critic_loss], r"returned a list with a method; each must be a Minimize"),
    "no name": (lambda task, model: [critic(task, model, name="a b")], r"the name 'a b' cannot be one"),
    "twice": (lambda task, model: [critic(task, model), critic(task, model)], r"names two objectives 'critic'"),
    "every": (lambda task, model: [critic(task, model, every=0)], r"every=0 of critic must be a whole number from 1 on"),
    "never": (lambda task, model: [critic(task, model, every=2)], r"in which none of critic moves; give one of them every=1"),
    "no function": (lambda task, model: [critic(task, model, loss=3)], r"the loss of critic is a int; give a function"),
    "no parameters": (lambda task, model: [critic(task, model, parameters=3)], r"the parameters of critic are a int; give model"),
    "no parameter": (lambda task, model: [critic(task, model, parameters=[3])], r"critic is given a int for a parameter"),
    "an empty iterable": (lambda task, model: [critic(task, model, parameters=[])], r"critic has no parameter to train: it is giv"),
    "all are frozen": (
        lambda task, model: [critic(task, model, parameters=model["critic"].requires_grad_(False).parameters())],
        r"critic has no parameter to train: all that it is given are frozen",
    ),
    "of another model": (
        lambda task, model: [critic(task, model, parameters=nn.Linear(2, 2))], r"which is no parameter of the model; take those"
    ),
    "a pattern": (
        lambda task, model: [critic(task, model, parameters="critik.*")], r"parameters of critic: 'critik\.\*' matches no parameter"
    ),
    "shared": (
        lambda task, model: [critic(task, model), critic(task, model, name="other", parameters="*")],
        r"both critic and other move critic.0.weight; give it to one of them",
    ),
    "a dict": (lambda task, model: [{"name": "critic", "loss": task.critic_loss}], r"the objective 'critic' lacks parameters"),
    "a key": (lambda task, model: [{"nam": "critic"}], r"an objective has no 'nam'; did you mean 'name'"),
    "a plugin of the run": (
        lambda task, model: [critic(task, model, plugins=[Cosine()])], r"have a Schedule, cosine, and may have an Optim and a Clip"
    ),
    "two optimisers": (lambda task, model: [critic(task, model, plugins=[SGD(), AdamW()])], r"have both sgd and adamw, for one"),
    "no plugin": (lambda task, model: [critic(task, model, plugins=AdamW())], r"plugins of critic must be a list of plugins"),
    "not a scalar": (
        lambda task, model: [critic(task, model, loss=lambda model, batch: batch)],
        r"objectives\(model\), critic: loss\(model, batch\) returned",
    ),
    "another's loss": (
        lambda task, model: [critic(task, model, parameters=model["generator"], loss=score)],
        r"critic: its loss does not use generator.0.weight or any other of its",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
def test_what_cannot_be_is_refused_in_words(name: str) -> None:
    made, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words):
        Given(made, watch=(), updates=1, device="cpu").fit()


def test_a_list_in_place_of_the_method_is_refused() -> None:
    class Listed(Gan):
        objectives = [critic(Gan(), nn.ModuleDict({"critic": nn.Linear(1, 1)}))]

    with pytest.raises(ConfigError, match=r"objectives\(model\) is a list; define it as a method that returns the list"):
        Listed(watch=(), device="cpu").fit()


def test_a_loss_beside_objectives_is_refused() -> None:
    class Both(Gan):
        def loss(self, model: Any, batch: Any) -> Any:
            return self.critic_loss(model, batch)

    for task in (Both(watch=(), device="cpu"), Gan(loss=lambda model, batch: batch.sum(), watch=(), device="cpu")):
        with pytest.raises(ConfigError, match=r"the task has both a loss and objectives\(model\)"):
            task.fit()


def test_data_to_evaluate_on_needs_metrics() -> None:
    class Silent(Gan):
        metrics = Trainer.metrics

        def data(self, split: str) -> Any:
            return super().data(split) if split == "train" or self.seed else None

        seed = 1

    with pytest.raises(ConfigError, match=r"Silent has objectives, and no metrics to evaluate by"):
        fit(kind=Silent)
    Silent.seed = 0
    assert fit(kind=Silent).metrics == {}


def test_a_plugin_that_needs_one_loss_is_left_out_of_a_bundle() -> None:
    class Whole(Update):
        pass

    assert "whole cannot work with several objectives: it makes the update of one loss" in refusal(Gan.objectives, Whole())
    task = Gan(plugins=["lr_range", AdamW()], bundled=["lr_range"], watch=(), updates=1, device="cpu")
    task.plugins = [*task.plugins, keeper := Keeper()]
    task.fit()
    row = next(row for row in keeper.run.plan.rows if row.plugin == "lr_range")
    assert row.status == "skipped: lr_range cannot work with several objectives: it reads one rate off one loss"


class Keeper(Watch):
    """Keeps the run."""

    def begin(self, run: Run) -> None:
        self.run = run


def test_the_plan_has_a_row_for_each() -> None:
    plan = fit([AdamW(lr=2e-3), Clip()], own=[Clip(max_norm=0.5)], updates=1).spy.run.plan
    assert plan.facts["objective critic"] == (
        "33 parameters (critic.0.weight and 3 more), AdamW, fused, lr 0.004, every update; of its own: adamw"
    )
    assert plan.facts["objective generator"] == (
        "74 parameters (generator.0.weight and 5 more), AdamW, fused, lr 0.002, one of 2 updates; of its own: clip"
    )
    assert "optimizer" not in plan.facts
    assert plan.warnings == []


def test_what_has_no_effect_is_told() -> None:
    def made(task: Any, model: Any) -> Any:
        return [critic(task, model, plugins=["sgd"])]

    with pytest.warns(AccelWarning) as caught:
        Given(made, plugins=[AdamW()], watch=(), updates=1, device="cpu").fit()
    assert [str(one.message) for one in caught] == [
        "adamw has no effect: every objective has an optimiser of its own",
        "objectives(model): no objective moves generator.0.weight and 5 more, which nothing trains then; "
        "give each to one, or freeze it",
    ]


def test_each_loss_is_logged_by_name(tmp_path: Path) -> None:
    spy = fit([Norms(every=2)], watch=[Metrics(curves=False)], out=tmp_path, updates=3).spy
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "lr" in row]
    both = {"critic/loss", "critic/grad_norm", "generator/loss", "generator/mean", "generator/update_ratio"}
    assert both < rows[0].keys()
    assert both < rows[2].keys()
    assert {name for name in rows[1] if "/" in name} == {"critic/loss"}
    assert rows[0]["loss"] == pytest.approx(rows[0]["critic/loss"] + rows[0]["generator/loss"])
    assert rows[1]["loss"] == rows[1]["critic/loss"] == pytest.approx(float(spy.losses[1]))
    assert 0 < rows[0]["critic/update_ratio"] != rows[0]["generator/update_ratio"]
    assert rows[0]["lr"] == 4e-3, "the rate of the first"


def test_norms_of_parts_are_those_of_the_objective_that_moves_them() -> None:
    logged = fit([Norms(every=1, match=["critic.*", "generator.0.*"])], updates=1).spy.logged[0]
    assert logged["critic/grad_norm/critic.*"] == pytest.approx(logged["critic/grad_norm"])
    assert logged["generator/grad_norm/generator.0.*"] < logged["generator/grad_norm"]
    assert "critic/grad_norm/generator.0.*" not in logged
    with pytest.raises(ConfigError, match=r"norms.match\[0\]: 'critik.\*' matches no parameter"):
        fit([Norms(match=["critik.*"])], updates=1)


class Fewer(Gan):
    def objectives(self, model: Any) -> Any:
        return super().objectives(model)[:1]


class Reversed(Gan):
    def objectives(self, model: Any) -> Any:
        return super().objectives(model)[::-1]


class Other(Gan):
    def objectives(self, model: Any) -> Any:
        first, second = super().objectives(model)
        return [first, replace(second, name="second")]


class Moved(Gan):
    def objectives(self, model: Any) -> Any:
        first, second = super().objectives(model)
        return [replace(first, parameters="critic.0.*"), second]


class Plain(Gan):
    objectives = Trainer.objectives
    loss = Gan.critic_loss


class Apart(Gan):
    """Its losses draw nothing, and neither sees what the other moves."""

    def model(self) -> Any:
        return nn.ModuleDict({"generator": nn.Linear(2, 2), "critic": nn.Linear(2, 2)})

    def metrics(self, model: Any, batch: Any) -> Any:
        return {"score": model["critic"](batch).mean()}

    def critic_loss(self, model: Any, batch: Any) -> Any:
        return model["critic"](batch).square().mean()

    def generator_loss(self, model: Any, batch: Any) -> Any:
        return model["generator"](batch).square().mean()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"every": 3}, "objectives.generator.every was 2 and is now 3"),
        ({"own": [AdamW()]}, "objectives.generator.plugins.adamw was not set and is now"),
        ({"kind": Reversed}, r"generator.place was 1 and is now 0; objectives.critic.place was 0 and is now 1; .* accept the "),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:objectives")
def test_a_resumed_run_has_the_same_objectives(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    fit(updates=2, out=tmp_path)
    with pytest.raises(ConfigError, match=words):
        fit(updates=4, resume=tmp_path, **changed)


@pytest.mark.filterwarnings("ignore:objectives")
@pytest.mark.parametrize("kind", ["Fewer", "Other", "Moved", "Plain"])
def test_other_objectives_are_refused_whatever_is_allowed(kind: str, tmp_path: Path) -> None:
    fit(updates=2, out=tmp_path)
    words = {
        "Fewer": r"objectives.generator was \{.* and is now not set",
        "Other": r"objectives.second was not set and is now \{.*; objectives.generator was",
        "Moved": r"objectives.critic.parameters was 4 \(.* and is now 2 \(",
        "Plain": r"objectives was \{.* and is now not set",
    }[kind]
    fix = r"; go on with what the run began with, or begin a new run with its weights, .*init=.*update-0*2.*; resume.allow cannot"
    for allow in ((), ("objectives",)):
        with pytest.raises(ConfigError, match=words + ".*" + fix):
            fit(updates=4, resume=tmp_path, kind=globals()[kind], allow=allow)


@pytest.mark.filterwarnings("ignore:resume=.*code")
@pytest.mark.parametrize("allow", [["objectives"], ["objectives.critic.place", "objectives.generator.place"]])
def test_another_order_goes_on_if_it_is_allowed(allow: list[str], tmp_path: Path) -> None:
    fit(updates=2, out=tmp_path, kind=Apart)

    class Swapped(Apart):
        def objectives(self, model: Any) -> Any:
            return super().objectives(model)[::-1]

    resumed = fit(updates=5, resume=tmp_path, kind=Swapped, allow=allow)
    whole = fit(updates=5, kind=Apart)
    assert list(resumed.spy.run.parts.optim.members) == ["generator", "critic"]
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights, whole.weights, strict=True)), "nothing is drawn"


def test_other_rates_go_on_if_they_are_allowed(tmp_path: Path) -> None:
    fit(updates=2, out=tmp_path, own=[AdamW()])
    spy = fit(updates=4, resume=tmp_path, own=[AdamW(lr=1e-2)], allow=["objectives.generator.plugins"]).spy
    assert len(spy.losses) == 2
    assert 1e-2 in spy.run.parts.optim.rates


@pytest.mark.filterwarnings("ignore:schedule_free. the running statistics")
def test_averages_of_schedule_free_are_evaluated() -> None:
    averaged = fit(own=[ScheduleFree(lr=0.1, warmup=0)], updates=3)
    plain = fit([SGD(lr=0.1)], updates=3)
    assert averaged.metrics != plain.metrics
    run = averaged.spy.run
    before = [param.detach().clone() for param in run.unwrapped_model.parameters()]
    with run.weights():
        moved = [not torch.equal(a, b) for a, b in zip(before, run.unwrapped_model.parameters(), strict=True)]
    assert moved == [True] * 6 + [False] * 4, "the critic has an optimiser that keeps no average"


def test_a_layer_is_frozen_and_unfrozen_between_epochs(tmp_path: Path) -> None:
    class Thaw(Watch):
        def begin(self, run: Run) -> None:
            self.model: Any = run.unwrapped_model

        def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
            self.model["generator"][0].requires_grad_(epoch >= 1)
            self.model["critic"][0].requires_grad_(epoch < 1)

    class Head(Gan):
        def model(self) -> Any:
            model: Any = super().model()
            model["generator"][0].requires_grad_(False)
            return model

    class Added(Thaw):
        def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
            self.model.more = nn.Linear(2, 2)

    whole = fit([Thaw()], Head, epochs=3)
    start = fit(kind=Head, updates=1).weights
    assert not torch.equal(whole.weights[0], start[0])
    fit([Thaw()], Head, epochs=3, stop=12, out=tmp_path, checkpoint_every=1)
    resumed = fit([Thaw()], Head, epochs=3, resume=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights, whole.weights, strict=True))
    with pytest.raises(ConfigError, match=r"the model made more.weight and 1 more, which no objective moves"):
        fit([Added()])


def test_freeze_counts_in_every_objective(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"generator has no parameter to train: all that it is given are frozen"):
        fit(freeze=["generator.*"], updates=2)
    rules = [{"match": "generator.0.*", "until": 3}]
    whole = fit(freeze=rules, updates=6, out=tmp_path, checkpoint_every=2, checkpoint_keep=9)
    assert not torch.equal(whole.weights[0], fit(freeze=["generator.0.*"], updates=6).weights[0])
    resumed = fit(freeze=rules, updates=6, resume=sorted((tmp_path / "checkpoints").glob("*.pt"))[0])
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights, whole.weights, strict=True))


def test_an_error_says_which_objective_it_is_of() -> None:
    with pytest.raises(TrainingError, match=r"^objectives\(model\), critic: finite_guard: .* update 2 "):
        fit([FiniteGuard(in_a_row=1)], bad=[1])


def test_everything_random_comes_in_the_order_of_the_objectives() -> None:
    def swapped(task: Any, model: Any) -> Any:
        return Gan.objectives(task, model)[::-1]

    assert not fit().equals(fit(kind=type("Swapped", (Gan,), {"objectives": lambda self, model: swapped(self, model)})))


def test_it_can_be_a_dict_and_the_class_is_public() -> None:
    def made(task: Any, model: Any) -> Any:
        return [vars(objective) for objective in Gan.objectives(task, model)]

    assert accel.Minimize is Minimize
    assert fit(kind=type("Dicts", (Gan,), {"objectives": made}), updates=2).equals(fit(updates=2))


@pytest.mark.filterwarnings("ignore:amp")
def test_a_run_of_one_objective_is_the_run_of_its_loss() -> None:
    class Single(Gan):
        def objectives(self, model: Any) -> Any:
            return [Minimize("all", model, self.both)]

        def both(self, model: Any, batch: Any) -> Any:
            return self.critic_loss(model, batch) + self.generator_loss(model, batch)[0]

    class Plain(Gan):
        objectives = Trainer.objectives
        loss = Single.both

    for plugins in ([], [AMP(), Clip(max_norm=0.1), AdamW()]):
        assert fit(plugins, Single).equals(fit(plugins, Plain))
