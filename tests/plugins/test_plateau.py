"""The rates are those of torch's ReduceLROnPlateau, and go on exactly when the run does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from accel.errors import ConfigError
from accel.parts import Progress
from accel.plugins.adamw import AdamW
from accel.plugins.plateau import Plateau
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from accel.trainer import Trainer

METRICS = st.lists(st.one_of(st.floats(0.01, 4.0), st.sampled_from([0.5, 1.0, 1.0001, float("nan"), float("inf")])), max_size=40)


def ready(schedule: Plateau, lr: float = 0.3) -> Plateau:
    optim = SimpleNamespace(lr=lr, scale=1.0)
    run: Any = SimpleNamespace(parts=SimpleNamespace(optim=optim), updates=None, held_out=object(), progress=Progress())
    schedule.setup(run)
    return schedule


@settings(max_examples=60)
@given(METRICS, st.floats(0.0, 0.99), st.integers(0, 3), st.floats(0.0, 0.5), st.integers(0, 2), st.floats(0.0, 0.4), st.booleans())
def test_it_is_torchs(
    values: list[float], factor: float, patience: int, threshold: float, cooldown: int, min_lr: float, lower: bool
) -> None:
    """An infinite metric counts in torch as a gain where more is better; here it never does."""
    values = values if lower else [value for value in values if value != float("inf")]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    names = {"factor": factor, "patience": patience, "threshold": threshold, "cooldown": cooldown, "min_lr": min_lr}
    theirs = ReduceLROnPlateau(optimizer, "min" if lower else "max", **names)  # type: ignore[arg-type]
    schedule = ready(Plateau("loss" if lower else "accuracy", **names))  # type: ignore[arg-type]
    for step, value in enumerate(values):
        assert schedule.lr(step) == optimizer.param_groups[0]["lr"]
        schedule.progress.step = step + 1
        schedule.evaluated(step + 1, {schedule.metric: value})
        theirs.step(value)
        again = ready(Plateau(**schedule.settings))
        again.load_state_dict(schedule.state_dict())
        assert [again.lr(past) for past in range(step + 2)] == [schedule.lr(past) for past in range(step + 2)], "the past is kept"
    assert schedule.lr(len(values)) == optimizer.param_groups[0]["lr"]


def test_of_a_metric_below_zero_the_threshold_is_a_share_of_its_size() -> None:
    schedule = ready(Plateau("min:energy", threshold=0.1))
    for value, without_gain in [(-1.0, 0), (-0.95, 1), (-1.05, 2), (-1.2, 0)]:
        schedule.evaluated(1, {"energy": value})
        assert schedule.without_gain == without_gain


def plateau() -> list[Any]:
    return [Plateau(factor=0.5, patience=0, threshold=0.9), AdamW(lr=0.02)]


@pytest.mark.parametrize("stop", [2, 3, 7, 9])
def test_resumed_at_any_update_it_ends_the_same(stop: int, tmp_path: Path) -> None:
    rare: dict[str, Any] = {"epochs": 3, "evaluate_every": 4}
    whole = fit_toy(plateau(), **rare)
    assert len(set(whole.spy.run.parts.schedule.rates)) > 1, "the rate falls"  # type: ignore[attr-defined]
    fit_toy(plateau(), **rare, out=tmp_path / "run", checkpoint_every=1, stop=stop)
    rest = fit_toy(plateau(), **rare, resume=tmp_path / "run")
    assert all(map(torch.equal, whole.spy.states[-1], rest.spy.states[-1]))
    assert whole.metrics == rest.metrics


@pytest.mark.parametrize("updates", [4, 5, 6, 8, 9])
def test_a_run_that_is_made_longer_is_the_long_one(updates: int, tmp_path: Path) -> None:
    whole = fit_toy(plateau(), updates=14, evaluate_every=4)
    fit_toy(plateau(), updates=updates, evaluate_every=4, out=tmp_path / "run")
    rest = fit_toy(plateau(), updates=14, evaluate_every=4, resume=tmp_path / "run")
    assert all(map(torch.equal, whole.spy.states[-1], rest.spy.states[-1]))


def test_another_turn_of_evaluation_is_another_run(tmp_path: Path) -> None:
    Toy(plugins=plateau(), updates=4, evaluate_every=4, out=tmp_path / "run", watch=()).fit()
    with pytest.raises(ConfigError, match=r"evaluate\.every was 4 and is now 2"):
        Toy(plugins=plateau(), updates=8, evaluate_every=2, resume=tmp_path / "run", watch=()).fit()


def test_it_needs_data_to_evaluate_on_and_its_metric() -> None:
    net = torch.nn.Linear(1, 1)
    run: dict[str, Any] = {"loss": lambda model, batch: model(batch).square().mean(), "watch": (), "device": "cpu"}
    with pytest.raises(ConfigError, match="plateau needs data to evaluate on, and there is none"):
        Trainer(net, [torch.ones(2, 1)], plugins=[Plateau()], **run).fit()
    with pytest.raises(ConfigError, match=r"plateau\.metric=losss: the evaluation gives loss; did you mean 'loss'\?"):
        Trainer(net, [torch.ones(2, 1)], [torch.ones(2, 1)], plugins=[Plateau("losss")], **run).fit()
