from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from accel import Trainer
from accel.errors import ConfigError
from accel.parts import Part, Probe, Run, Trial, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.batch_lr import BatchLR
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lr_range import LRRange
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.report.lr_range_plot import centred, read
from accel.schema import plugin_registry
from accel.system.clock import OTHER, PHASES
from accel.testing import fit_toy
from accel.testing.plugin_runs import unmet_need
from accel.testing.toy_run import Spy, Stop
from tests.invariants.test_resume import LOADERS

SETS: dict[str, Callable[[], list[Part]]] = {
    "plain": list,
    "adamw": lambda: [AdamW(), OneCycle(max_lr=0.1, cycle_momentum=True)],
    "unfused": lambda: [AdamW(fused=False)],
    "lamb": lambda: [LAMB(), Accumulate(steps=4)],
    "half": lambda: [AMP(dtype="float16", force=True, growth_interval=3), AdamW(), EMA(decay=0.9), Accumulate(steps=2)],
    "bfloat16": lambda: [AMP(), SGD(), EMA()],
}


class Net(nn.Module):
    """Has whatever a model may keep: BatchNorm, dropout, a buffer that no checkpoint has, one assigned anew, an extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.register_buffer("unsaved", torch.zeros(1), persistent=False)
        self.register_buffer("renewed", torch.zeros(1))
        self.calls = 0

    def get_extra_state(self) -> Any:
        return torch.tensor(self.calls)

    def set_extra_state(self, state: Any) -> None:
        self.calls = int(state)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.frozen.data.mul_(1.01)
            self.unsaved += 0.1
            self.renewed = self.renewed * 0.9 + 0.1
        return self.body(x) * (self.unsaved + self.renewed + self.frozen)  # type: ignore[no-any-return]


def train(plugins: list[Part], data: Any, out: Path | None = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return Trainer(
        Net(), data, data, loss=lambda model, x: (model(x[0] if isinstance(x, list) else x) - 1).square().mean(), plugins=plugins,
        watch=("metrics",), epochs=2, seed=1, out=out, **settings,
    ).fit()  # fmt: skip


@pytest.mark.parametrize("chosen", SETS)
@pytest.mark.parametrize("end", [0.1, 1e6])
def test_the_run_after_it_is_the_run_without_it(chosen: str, end: float, tmp_path: Path) -> None:
    """Also where the trial ends in an explosion. The losses, the records and the checkpoints are those of the run without it."""
    points = torch.randn(22, 2, generator=torch.Generator().manual_seed(0))
    batches = list(points.split(4))  # type: ignore[no-untyped-call]
    probe = LRRange(start=1e-4, end=end, updates=20)
    bare = train(SETS[chosen](), batches, tmp_path / "bare")
    tried = train([probe, *SETS[chosen]()], batches, tmp_path / "tried")
    assert (tmp_path / "tried/lr_range.json").exists()
    assert all(map(torch.equal, bare.model.state_dict().values(), tried.model.state_dict().values()))
    assert torch.equal(bare.model.unsaved, tried.model.unsaved)
    assert bare.model.calls == tried.model.calls
    assert bare.metrics == tried.metrics
    assert (tmp_path / "bare/metrics.jsonl").read_bytes() == (tmp_path / "tried/metrics.jsonl").read_bytes()
    for file in sorted((tmp_path / "bare/checkpoints").glob("*.pt")):
        one, other = (torch.load(tmp_path / name / "checkpoints" / file.name) for name in ("bare", "tried"))
        assert plain(one) == plain({**other, "parts": {k: v for k, v in other["parts"].items() if k in one["parts"]}})


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("name", [name for name in plugin_registry.names() if not issubclass(plugin_registry.load(name), Probe)])
def test_beside_every_plugin_the_run_is_the_run_without_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if reason := unmet_need(plugin_registry.load(name)()):
        pytest.skip(reason)
    assert fit_toy([name]).equals(fit_toy([name, LRRange(end=1e3, updates=15)]))


def plain(value: Any) -> Any:
    """A state that can be compared, except for the part whose null object gave way."""
    if isinstance(value, Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if key not in ("probe", "lr_range")}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("loader", LOADERS)
def test_the_users_own_loader_begins_where_it_would_have(loader: str) -> None:
    size = 4 if loader in ("draws", "stream") else None
    results = [train(plugins, LOADERS[loader](), batch_size=size) for plugins in ([], [LRRange(updates=10)])]
    assert all(map(torch.equal, *(result.model.state_dict().values() for result in results)))


def test_the_workers_of_a_loader_that_keeps_them_go_on() -> None:
    def loader() -> Any:
        return DataLoader(TensorDataset(torch.randn(24, 2)), 2, shuffle=True, num_workers=1, persistent_workers=True)

    results = []
    for plugins in ([], [LRRange(updates=10)]):
        torch.manual_seed(0)
        results.append(train(plugins, loader()))
    assert all(map(torch.equal, *(result.model.state_dict().values() for result in results)))


@dataclass(eq=False)
class Look(Watch):
    """What a watch sees of the trial: nothing."""

    def begin(self, run: Run) -> None:
        self.spent = list(run.clock.spent)
        self.grads = [param.grad for param in run.unwrapped_model.parameters()]
        self.suggested = run.parts.probe.suggestions()
        self.steps: list[int] = []

    def after(self, step: int, loss: Tensor) -> None:
        self.steps.append(step)


def test_no_watch_sees_the_trial_and_its_time_is_no_training() -> None:
    look = Look()
    fit_toy([look, LRRange(updates=12)])
    assert look.steps == list(range(1, 13))
    assert look.grads == [None] * 6
    assert look.suggested
    assert look.spent[OTHER] > 0
    assert not any(look.spent[phase] for phase in range(len(PHASES)) if phase != OTHER)


def test_weights_keep_their_identity_and_buffers_too() -> None:
    @dataclass(eq=False)
    class Same(Probe):
        def explore(self, run: Run, trial: Trial) -> None:
            before = [*run.unwrapped_model.parameters(), *run.unwrapped_model.buffers()]
            with trial() as windows:
                run.parts.update(next(windows))
                run.unwrapped_model.frozen.grad = torch.ones(1)  # type: ignore[union-attr]
            assert all(param.grad is None for param in run.unwrapped_model.parameters())
            assert all(map(lambda a, b: a is b, before, [*run.unwrapped_model.parameters(), *run.unwrapped_model.buffers()]))

    train([Same()], [torch.randn(4, 2)])


def test_a_trial_in_the_midst_of_a_resumed_epoch(tmp_path: Path) -> None:
    @dataclass(eq=False)
    class Always(Probe):
        def explore(self, run: Run, trial: Trial) -> None:
            with trial() as windows:
                for window, _ in zip(windows, range(4), strict=False):
                    run.parts.update(window)

    def go_on(name: str, *plugins: Part, **settings: Any) -> Any:
        return train([*plugins], LOADERS["shuffled"](), tmp_path / name, checkpoint_every=1, **settings)

    with pytest.raises(Stop):
        go_on("one", Spy(stop=3))  # the last checkpoint is of update 2 of the epoch's 3
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    bare, tried = go_on("one", resume=tmp_path / "one"), go_on("other", Always(), resume=tmp_path / "other")
    assert all(map(torch.equal, bare.model.state_dict().values(), tried.model.state_dict().values()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_goes_wrong_on_trial_ends_the_run_as_in_training(error: type[BaseException]) -> None:
    class Bad(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            raise error

    with pytest.raises(error):
        train([LRRange()], Bad(torch.randn(8, 2)))


def test_a_loss_that_is_none_is_refused_and_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="return a scalar tensor"):
        Trainer(
            nn.Linear(2, 1), [torch.ones(1, 2)], loss=lambda m, x: m(x).expand(1, 2), plugins=[LRRange()], out=tmp_path / "run"
        ).fit()
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_tries_nothing_and_says_so(tmp_path: Path) -> None:
    whole = fit_toy([], epochs=3)
    fit_toy([], epochs=3, out=tmp_path / "run", stop=7)
    probe = LRRange(updates=12)
    rest = fit_toy([probe], epochs=3, resume=tmp_path / "run")
    assert all(map(torch.equal, whole.weights, rest.weights)), "it is no part of what makes the run"
    assert probe.plan_notes() == {"rates on trial": "none tried: the run goes on after update 6"}
    assert not (tmp_path / "run/lr_range.json").exists()


def test_a_dry_run_tries_nothing() -> None:
    probe = LRRange(updates=12)
    Trainer(nn.Linear(2, 1), [torch.ones(1, 2)], loss=lambda m, x: m(x).mean(), plugins=[probe], watch=(), dry_run=True).fit()
    assert "to be tried" in probe.said


class Bowl(nn.Module):
    """A weight in a bowl, from whose bottom it is 1 away: gradient descent converges below a rate of 2 / curvature."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def test_it_stops_where_the_loss_explodes_and_finds_the_rate_below(tmp_path: Path) -> None:
    curvature, out = 4.0, tmp_path / "run"
    probe = LRRange(start=1e-5, end=1e3, updates=200, smoothing=0.5)
    result = Trainer(
        Bowl(), [torch.ones(1)] * 50, loss=lambda model, x: (curvature / 2 * model.weight.square() * x + 1e-3).mean(), out=out,
        plugins=[probe, SGD(lr=0.1, momentum=0.0), OneCycle()], watch=("metrics",),
    ).fit()  # fmt: skip
    about = json.loads((out / "lr_range.json").read_text())
    rates, losses = (np.array([point[name] for point in about["points"]]) for name in ("lr", "loss"))
    assert rates[0] == 1e-5
    assert 2 / curvature < rates[-1] < 8, "it must stop soon after the rate at which a step grows the weight"
    assert np.allclose(rates[1:] / rates[:-1], 1e8 ** (1 / 199))
    assert 0.01 < about["steepest"] < about["least"] < 2 / curvature
    # by hand: the weight shrinks by 1 - rate * curvature in each step
    weight = np.cumprod([1.0, *(1 - rates[:-1] * curvature)])
    assert losses == pytest.approx(curvature / 2 * weight**2 + 1e-3, rel=1e-4, abs=1e-6)
    assert result.suggestions == about["suggested"] == {"onecycle.max_lr": pytest.approx(probe.suggested["onecycle.max_lr"])}
    assert json.loads((out / "summary.json").read_text())["suggestions"] == result.suggestions
    assert "suggested onecycle.max_lr=" in json.loads((out / "plan.json").read_text())["facts"]["rates on trial"]
    assert "lr_range.svg" in result.files
    picture = ElementTree.parse(out / "lr_range.svg")
    text = " ".join("".join(node.itertext()) for node in picture.iter() if node.tag.endswith("text"))
    assert "learning rate" in text
    assert f"suggested: steepest descent, {result.suggestions['onecycle.max_lr']:.2g}" in text


def test_it_is_named_for_what_sets_the_rate_and_in_the_unit_in_which_that_is_written() -> None:
    found = []
    for times, plugins in ((1, []), (1, [AdamW()]), (4, [AdamW(), BatchLR(reference=1)])):  # batches of 4
        probe = LRRange(start=1e-4 / times, end=1.0 / times, updates=40)
        fit_toy([probe, *plugins])
        found.append(probe.suggested)
    assert [list(each) for each in found] == [["sgd.lr"], ["adamw.lr"], ["adamw.lr"]]
    assert found[1]["adamw.lr"] == pytest.approx(4 * found[2]["adamw.lr"])


def test_a_loss_that_falls_nowhere_suggests_nothing() -> None:
    probe = LRRange(start=1e-30, end=1e-20, updates=10)
    result = train([probe], [torch.ones(4, 2)])
    model = nn.Linear(1, 1)
    Trainer(
        model, [torch.ones(1, 1)] * 3, loss=lambda m, x: 0 * m(x).mean() + 1.0, plugins=[probe := LRRange(updates=10)], watch=()
    ).fit()
    assert probe.suggestions() == {}
    assert probe.said == "10 tried, from 1e-06 to 10; nothing suggested, for the loss fell at none; lower lr_range.start"
    assert result.updates == 2


def test_an_infinite_loss_ends_the_trial() -> None:
    probe = LRRange(start=1e-3, end=1e3, updates=10)
    Trainer(
        Bowl(), [torch.ones(1)], loss=lambda m, x: (m.weight.neg().exp() * x / (m.weight < 2)).mean(), plugins=[probe], watch=()
    ).fit()
    assert probe.said.startswith("6 tried, from 0.001 to 2.2; suggested sgd.lr=")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"start": 1.0, "end": 0.1}, r"lr_range.start=1 must be below lr_range.end=0.1"),
        ({"updates": 3}, r"lr_range.updates=3 are too few to show a slope; take 10 or more"),
        ({"stop": 1.0}, r"lr_range.stop=1 must be above 1: it is a multiple of the best loss"),
    ],
)
def test_wrong_settings_get_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        LRRange(**settings)


def test_the_smoothed_loss_is_not_behind() -> None:
    values = np.abs(np.arange(41.0) - 20)
    assert centred(values, 0.9).argmin() == 20
    assert np.allclose(centred(values, 0.0), values)
    assert centred(np.full(5, 3.0), 0.9) == pytest.approx(3.0)


def test_reading_a_curve() -> None:
    rates = 10.0 ** np.linspace(-6, 0, 61)
    place = np.linspace(0, 6, 61)
    losses = np.where(place < 4, 2 - 1 / (1 + np.exp(-4 * (place - 3))), 1.0 + 3 * (place - 4.5).clip(0))
    reading = read(rates, losses, 0.0)
    assert reading.steepest == pytest.approx(1e-3, rel=0.3)
    assert reading.least == pytest.approx(10.0 ** (-6 + 3.9), rel=0.3)
    assert read(rates, np.arange(61.0), 0.5).least is None
    losses[50:] = 1e6
    again = read(rates, losses, 0.8)
    assert again.least == pytest.approx(reading.least, rel=1.0), "an explosion does not move the minimum away"
    assert read(np.zeros(0), np.zeros(0), 0.5).least is None
