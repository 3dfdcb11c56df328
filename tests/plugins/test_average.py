"""The means are those of torch's AveragedModel, BatchNorm's statistics those of its update_bn, and the training is not moved."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import IterableDataset, TensorDataset

import accel
from accel.data.sampling import permutation
from accel.errors import ConfigError
from accel.parts import Run, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.average import Average
from accel.plugins.optimizer import Optimizer
from accel.plugins.schedule_free import ScheduleFree
from accel.testing import fit_toy
from accel.testing.graph_replay import taped_graph
from accel.testing.run_checks import check_accumulation, check_host_reads, check_replay, check_skipped_update
from accel.trainer import Trainer
from tests.support.drill_length import LONG
from tests.support.handwritten_loop import hand_loop

torch.manual_seed(0)
X, Y = torch.randn(26, 5), torch.randint(0, 3, (26,))
PER_EPOCH = 7
"""Updates of an epoch of these points, in batches of 4."""


class Net(nn.Module):
    """A layer with BatchNorm, another one that is kept in evaluation mode, and a buffer that training moves."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.frozen = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8)
        self.dropout, self.head = nn.Dropout(0.3), nn.Linear(8, 3)
        self.register_buffer("passes", torch.zeros(()))

    def train(self, mode: bool = True) -> Net:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.passes += self.training
        out: Tensor = self.head(self.dropout(self.frozen(self.norm(self.first(x)).relu())))
        return out


class Snapshots(Watch):
    """A watch that keeps the model after each update."""

    def begin(self, run: Run) -> None:
        self.run, self.models = run, list[nn.Module]()

    def after(self, step: int, loss: Tensor) -> None:
        self.models.append(copy.deepcopy(self.run.unwrapped_model))


class Points(Trainer):
    """A task that counts how often its loss is called in training."""

    def __init__(self, **run: Any) -> None:
        super().__init__(**run)
        self.calls = 0

    def model(self) -> nn.Module:
        return Net()

    def data(self, split: str) -> Any:
        return TensorDataset(X, Y) if split == "train" else TensorDataset(X[:9], Y[:9])

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        self.calls += model.training
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


def fit(*plugins: Any, **settings: Any) -> Any:
    return Points(plugins=plugins, watch=(), device="cpu", **{"epochs": 3, "batch_size": 4, **settings})


def averaged(models: list[nn.Module]) -> AveragedModel:
    mean = AveragedModel(models[0])
    for model in models:
        mean.update_parameters(model)
    return mean


@pytest.mark.parametrize(("last", "every", "start"), [(3, 2, 0.0), (3, 5, 0.0), (None, 2, 0.0), (None, 1, 0.5), (2, 3, 4.0)])
def test_it_is_torchs_averaged_model(last: int | None, every: int, start: float) -> None:
    """To the bit; so the handed out weights are the mean of the snapshots that a loop by hand takes."""
    models: list[nn.Module] = []
    hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True),
        after_step=lambda model: models.append(copy.deepcopy(model)),
    )
    first = start * len(models) if start < 1 else start
    chosen = [model for number, model in enumerate(models, 1) if number % every == 0 and number > first]
    actual = fit_toy([Average(last=last, every=every, start=start)])
    assert all(map(torch.equal, actual.weights, averaged(chosen[-(last or 99) :]).parameters()))
    assert all(map(torch.equal, actual.spy.states[-1], models[-1].parameters())), "what is trained is not moved"


@pytest.mark.parametrize("batches", [2, None])
def test_statistics_are_those_of_update_bn(batches: int | None) -> None:
    snapshots = Snapshots()
    task = fit(Average(last=2, batch_norm=batches), snapshots)
    result = task.fit()
    mean = averaged(snapshots.models[PER_EPOCH - 1 :: PER_EPOCH][-2:])
    mean.train()
    order = permutation(len(X), 0, 3).split(4)[:batches]  # type: ignore[no-untyped-call]
    random = torch.get_rng_state()
    update_bn([X[keys] for keys in order], mean.module)
    torch.set_rng_state(random)
    state, theirs = result.model.state_dict(), mean.module.state_dict()
    assert all(torch.equal(state[name], theirs[name]) for name in state if name.startswith(("norm.", "first.", "head.")))
    trained = snapshots.models[-1].state_dict()
    assert all(torch.equal(state[name], trained[name]) for name in state if name.startswith("frozen.") and "running" in name)
    assert not torch.equal(state["norm.running_mean"], trained["norm.running_mean"])
    assert state["passes"] == task.calls == 3 * PER_EPOCH, "what a forward pass of the training moves is put back"


def test_those_of_a_frozen_norm_stand_still() -> None:
    for until, is_estimated in ((None, False), (PER_EPOCH, True)):
        freeze = {"match": ["first.*", "norm.*"], **({} if until is None else {"until": until})}
        result = fit(Average(last=2, batch_norm=2), freeze=[freeze]).fit()
        assert bool(result.model.norm.running_mean.any()) == is_estimated  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("every", [None, PER_EPOCH, 3])
def test_updates_that_are_replayed_have_the_same(every: int | None) -> None:
    """Also where a snapshot falls on the end of an epoch, after which no Python has run until the next update."""
    graph = taped_graph(warmup=1)
    plain, replayed = (fit(Average(last=2, every=every, batch_norm=2), *more).fit() for more in ([], [graph]))
    assert graph.recorder.replays
    assert torch.equal(plain.model.norm.running_mean, replayed.model.norm.running_mean)


def test_without_an_estimate_they_are_those_of_the_training() -> None:
    snapshots = Snapshots()
    result = fit(Average(batch_norm=0), snapshots).fit()
    assert torch.equal(result.model.norm.running_mean, snapshots.models[-1].norm.running_mean)  # type: ignore[union-attr]


@pytest.mark.parametrize("stop", [4, 7, 9, 14] if LONG else [7, 14])
@pytest.mark.parametrize("settings", [{"last": 2}, {"last": 3, "every": 4}, {"last": None, "every": 3, "start": 0.3}], ids=str)
def test_resumed_at_any_update_it_ends_the_same(settings: dict[str, Any], stop: int, tmp_path: Path) -> None:
    rare: dict[str, Any] = {"evaluate_every": 5, "evaluate_epochs": 2}

    class Stop(Watch):
        def after(self, step: int, loss: Tensor) -> None:
            if step == stop + 1:
                raise KeyError

    whole = fit(Average(**settings, batch_norm=2), **rare).fit()
    saved: dict[str, Any] = {"checkpoint_every": stop, "checkpoint_epochs": 9, "out": tmp_path / "run"}
    with pytest.raises(KeyError):
        fit(Average(**settings, batch_norm=2), Stop(), **rare, **saved).fit()
    rest = fit(Average(**settings, batch_norm=2), **rare, resume=tmp_path / "run").fit()
    ends = zip(whole.model.state_dict().values(), rest.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in ends)
    assert whole.history == rest.history


def test_a_snapshot_after_skipped_updates_alone_does_not_count() -> None:
    average = Average(last=4, every=1)
    overflow: dict[str, Any] = {"overflow": [5, 6, 11], "dropout": 0.0}
    outcome = fit_toy([average, AMP(dtype="float16", force=True, init_scale=1024.0)], **overflow)
    moved = [state[: len(outcome.weights)] for number, state in enumerate(outcome.spy.states, 1) if number not in (5, 6, 11)]
    of_all = Average(last=None, every=1)
    mean = [sum(each) / len(moved) for each in zip(*moved, strict=True)]
    other = fit_toy([of_all, AMP(dtype="float16", force=True, init_scale=1024.0)], **overflow)
    assert float(of_all.kept.mean().count) == 9
    assert float(average.kept.mean().count) == 3, "of the last four, one moved nothing"
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(other.weights, mean, strict=True))
    rare = Average(last=None, every=6)
    fit_toy([rare, AMP(dtype="float16", force=True, init_scale=1024.0)], **overflow)
    assert float(rare.kept.mean().count) == 2, "updates 1 to 4 had moved the weights, though 6 did not"


@pytest.mark.parametrize("last", [2, None])
def test_a_snapshot_of_every_update_keeps_the_promises_of_a_plugin(last: int | None) -> None:
    average = partial(Average, last=last, every=1)
    check_skipped_update(average)
    check_accumulation(average, tolerance=1e-5)
    check_host_reads(average)
    check_replay(average)


def test_16_bit_weights_are_averaged_in_float32() -> None:
    model = nn.Linear(3, 1, bias=False).bfloat16()
    snapshots, average = Snapshots(), Average(last=3, every=1)
    data = [torch.randn(4, 3).bfloat16() for _ in range(5)]
    with pytest.warns(UserWarning, match="weights of 16 bits"):
        result = Trainer(
            model,
            data,
            loss=lambda model, batch: model(batch).float().square().mean(),
            plugins=[AdamW(lr=0.1), average, snapshots],
            watch=(),
            device="cpu",
        ).fit()
    mean = torch.stack([one.weight.float() for one in snapshots.models[-3:]]).mean(0)  # type: ignore[union-attr]
    assert average.kept.mean().local[0].dtype == torch.float32
    assert torch.allclose(average.kept.mean().local[0], mean, atol=1e-7)
    assert torch.equal(result.model.weight, mean.bfloat16())


def test_a_parameter_that_is_thawed_joins_with_what_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.detach().clone()

    class Thaw(Snapshots):
        def after(self, step: int, loss: Tensor) -> None:
            super().after(step, loss)
            model[0].weight.requires_grad_(step >= PER_EPOCH)

    watch = Thaw()
    loss = lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    result = Trainer(
        model, TensorDataset(X, Y), loss=loss, plugins=[Average(), watch], epochs=3, batch_size=4, watch=(), device="cpu"
    ).fit()
    chosen = watch.models[PER_EPOCH - 1 :: PER_EPOCH]
    assert torch.equal(chosen[0][0].weight, frozen)  # type: ignore[index]
    assert all(map(torch.equal, result.model.parameters(), averaged(chosen).parameters()))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(list(zip(X, Y, strict=True)))


def sentence(*plugins: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as error:
        fit(*plugins, **settings).fit()
    return str(error.value)


class Streaming(Points):
    def data(self, split: str) -> Any:
        return Stream()


def test_what_cannot_work_is_refused() -> None:
    assert "plugins average and schedule_free both average the weights; keep one" in sentence(Average(), ScheduleFree())
    assert "plugins average and ema both provide Average" in sentence(Average(), "ema")
    assert "finds no multiple of average.every=22 in the run of 21 updates; set a smaller" in sentence(Average(every=22))
    assert "finds no end of an epoch in the run of 5 updates; set a smaller average.every" in sentence(Average(), updates=5)
    assert "finds no end of an epoch in the run of 21 updates after average.start=21" in sentence(Average(start=21))
    for plugins, words in (
        ([Average(batch_norm=0, start=0.5)], "average.start=0.5 is a share of the run, and its length is unknown; give a number"),
        ([Average()], "this data cannot be read a second time while an epoch is under way; set average.batch_norm=0"),
    ):
        with pytest.raises(ConfigError) as error:
            Streaming(plugins=plugins, watch=(), device="cpu").fit()
        assert words in str(error.value)
    Streaming(plugins=[Average(batch_norm=0)], watch=(), device="cpu", batch_size=4).fit()


class Own(torch.optim.SGD):
    """An optimiser that has an average of its own to evaluate."""

    def train(self) -> None:
        pass

    def eval(self) -> None:
        pass


def test_an_optimiser_by_its_name_that_averages_is_refused_too() -> None:
    assert "plugins average and optimizer both average the weights" in sentence(Average(), Optimizer(Own, lr=0.1))
    fit(Average(), Optimizer(torch.optim.SGD, lr=0.1), epochs=1).fit()


def test_a_checkpoint_is_loaded_as_it_was_evaluated(tmp_path: Path) -> None:
    result = fit(Average(last=2, batch_norm=3), out=tmp_path / "run").fit()
    newest = max((tmp_path / "run/checkpoints").glob("*.pt"))
    state = accel.load(newest, model=Net()).state_dict()
    assert all(torch.equal(state[name], value) for name, value in result.model.state_dict().items())


def test_the_losses_of_several_objectives_are_all_called() -> None:
    class Two(Points):
        loss = Trainer.loss

        def objectives(self, model: Any) -> Any:
            def first(model: Any, batch: Any) -> Tensor:
                return nn.functional.cross_entropy(model(batch[0]), batch[1])

            def second(model: Any, batch: Any) -> Tensor:
                return first(model, (2 * batch[0], batch[1]))

            return [accel.Minimize("body", ["first.*", "norm.*", "frozen.*"], first), accel.Minimize("head", model.head, second)]

        def metrics(self, model: nn.Module, batch: Any) -> Any:
            return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}

    model = Two(plugins=[Average(batch_norm=3)], watch=(), device="cpu", batch_size=4, epochs=2).fit().model
    assert model.norm.num_batches_tracked == 6


def test_another_length_is_another_run_where_the_start_is_a_share(tmp_path: Path) -> None:
    fit(Average(start=0.5), epochs=2, out=tmp_path / "run").fit()
    assert "updates was 14 and is now 21" in sentence(Average(start=0.5), resume=tmp_path / "run")


def test_the_plan_says_what_it_costs() -> None:
    run: list[Run] = []

    class Look(Watch):
        def begin(self, started: Run) -> None:
            run.append(started)

    fit(Average(every=2, start=0.5), Look(), dry_run=True).fit()
    facts = run[0].plan.facts
    assert facts["average"] == "of the last 5 snapshots, every 2 updates from update 11 on; 5 copies of 0.0 MB, in checkpoints too"
    assert facts["BatchNorm"] == "of an average, estimated anew on 100 batches in the first evaluation after each snapshot"
    with pytest.warns(UserWarning, match=r"average\.batch_norm has no effect: the model has no BatchNorm"):
        fit_toy([Average(batch_norm=3)])


def test_a_loss_that_needs_gradients_is_told() -> None:
    class Penalised(Points):
        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            points = batch[0].clone().requires_grad_()
            (slope,) = torch.autograd.grad(model(points).sum(), points, create_graph=True)
            return super().loss(model, batch) + slope.square().mean()

        def metrics(self, model: nn.Module, batch: Any) -> Any:
            return {"loss": super().loss(model, batch)}

    with pytest.raises(ConfigError, match=r"average\.batch_norm calls the loss without gradients, and it needs some; set"):
        Penalised(plugins=[Average()], watch=(), device="cpu", batch_size=4).fit()


def test_the_end_of_an_epoch_that_comes_twice_is_one() -> None:
    """As in a run that was interrupted in the evaluation there, and is resumed."""
    average = Average(last=2)
    fit(average).fit()
    before = [mean.clone() for mean in average.kept.mean().local]
    average.end_epoch()
    assert float(average.kept.mean().count) == 2
    assert all(map(torch.equal, before, average.kept.mean().local))
