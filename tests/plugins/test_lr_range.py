from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lr_range import LRRange
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.schema import plugin_registry
from accel.system.clock import OTHER, PHASES
from accel.testing import fit_toy
from accel.testing.check_plugin import unmet_need
from accel.testing.toy_run import Spy, Stop
from tests.invariants.test_resume import LOADERS
from tests.support.drill_length import LONG
from tests.support.own_loaders import own_loader
from tests.support.range_tests import train

SETS: dict[str, Callable[[], list[Part]]] = {
    "plain": list,
    "adamw": lambda: [AdamW(), OneCycle(max_lr=0.1, cycle_momentum=True)],
    "unfused": lambda: [AdamW(fused=False)],
    "lamb": lambda: [LAMB(), Accumulate(steps=4)],
    "half": lambda: [AMP(dtype="float16", force=True, growth_interval=3), AdamW(), EMA(decay=0.9), Accumulate(steps=2)],
    "bfloat16": lambda: [AMP(), SGD(), EMA()],
}


@pytest.mark.parametrize(("chosen", "end"), [("plain", 0.1), *((name, 1e6) for name in SETS)])
@pytest.mark.slow
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


@pytest.mark.parametrize("loader", LOADERS if LONG else list(LOADERS)[::3])
@pytest.mark.slow
def test_the_users_own_loader_begins_where_it_would_have(loader: str) -> None:
    size = 4 if loader in ("draws", "stream") else None
    results = []
    for plugins in ([], [LRRange(updates=10)]):
        with own_loader(LOADERS[loader]) as data:
            results.append(train(plugins, data, batch_size=size))
    assert all(map(torch.equal, *(result.model.state_dict().values() for result in results)))


def test_the_workers_of_a_loader_that_keeps_them_go_on() -> None:
    def loader() -> Any:
        return DataLoader(TensorDataset(torch.randn(24, 2)), 2, shuffle=True, num_workers=1, persistent_workers=True)

    results = []
    for plugins in ([], [LRRange(updates=10)]):
        torch.manual_seed(0)
        with own_loader(loader) as data:
            results.append(train(plugins, data))
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


@pytest.mark.slow
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
    assert "to be tried" in probe.outcome
