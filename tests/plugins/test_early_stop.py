"""The run ends after so many evaluations without a gain, saved, and does not train on when it is resumed."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from accel.errors import AccelWarning, ConfigError
from accel.parts import Watch
from accel.plugins.early_stop import EarlyStop
from accel.testing import fit_toy
from accel.trainer import Trainer

X = torch.arange(24.0)[:, None] / 24
PER_EPOCH = 6


class Scripted:
    """Metrics that an evaluation finds in a list, one value for each evaluation of one batch."""

    def __init__(self, values: list[float], name: str = "loss") -> None:
        self.values, self.name, self.calls = values, name, 0  # set back after the trial, and resumed with the run

    def __call__(self, model: nn.Module, batch: Any) -> dict[str, float]:
        self.calls += 1
        return {"other": 1.0, self.name: self.values[self.calls - 1]}


def fit(values: list[float], stop: EarlyStop | None = None, name: str = "loss", **settings: Any) -> Any:
    """Train, one evaluation after each 2 updates."""
    settings = {"evaluate_every": 2, "epochs": 100, **settings}
    plugins = [] if stop is None else [stop]
    return Trainer(
        nn.Linear(1, 1), TensorDataset(X), TensorDataset(X[:4]), lambda model, batch: model(batch[0]).square().mean(),
        Scripted(values, name), plugins=plugins, watch=settings.pop("watch", ()), batch_size=4, device="cpu", **settings,
    ).fit()  # fmt: skip


@pytest.mark.parametrize(
    ("values", "settings", "evaluations"),
    [
        ([3.0, 2.0, 2.0, 2.5, 1.0], {"patience": 2}, 4),
        ([3.0, 2.0, 2.0, 1.5, 1.6, 1.7], {"patience": 2}, 6),
        ([3.0, 3.0], {"patience": 1}, 2),
        ([3.0, 2.9, 2.8, 2.0, 1.95], {"patience": 2, "min_delta": 0.25}, 3),
        ([3.0, 2.9, 2.7, 2.0, 1.95, 1.9], {"patience": 2, "min_delta": 0.25}, 6),
        ([nan, inf, 1.0], {"patience": 2}, 2),
        ([2.0, nan, 1.0, nan, nan], {"patience": 2}, 5),
        ([1.0, 2.0, 2.0, 1.0], {"metric": "max:loss", "patience": 2}, 4),
    ],
)
def test_it_ends_after_evaluations_without_a_gain(values: list[float], settings: dict[str, Any], evaluations: int) -> None:
    result = fit(values, EarlyStop(**settings))
    assert (result.updates, len(result.history)) == (2 * evaluations, evaluations)
    assert result.stopped.startswith(f"early_stop: {settings['patience']} evaluation")


@pytest.mark.parametrize(("name", "values"), [("accuracy", [0.1, 0.5, 0.5, 0.6]), ("val/error_rate", [0.9, 0.5, 0.5, 0.4])])
def test_the_end_that_is_better_follows_from_the_name(name: str, values: list[float]) -> None:
    result = fit(values, EarlyStop(name, patience=1), name)
    assert result.updates == 6
    assert f"est {name} was 0.5" in result.stopped


def test_it_ends_at_the_end_of_an_epoch_too() -> None:
    result = fit([1.0, 1.0], EarlyStop(patience=1), evaluate_every=None, evaluate_epochs=1)
    assert (result.updates, result.epochs, result.history[-1]["epoch"]) == (2 * PER_EPOCH, 2, 2)


@pytest.mark.parametrize("stop_within_epoch", [True, False])
def test_a_stopped_run_is_saved_says_so_and_stays_so(stop_within_epoch: bool, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"out": tmp_path / "run"}
    if not stop_within_epoch:
        settings |= {"evaluate_every": None, "evaluate_epochs": 1}
    values = [2.0, 1.0, 1.0, 1.0]
    first = fit(values, EarlyStop(patience=1), **settings)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["stopped"] == first.stopped != ""
    with pytest.warns(AccelWarning, match="the run has ended early .early_stop: 1 evaluation without a gain in loss; the lowest"):
        again = fit(values, EarlyStop(patience=1), resume=tmp_path / "run", **settings)
    assert (again.updates, again.stopped, again.history) == (first.updates, first.stopped, first.history)
    assert all(map(torch.equal, first.model.parameters(), again.model.parameters()))


@pytest.mark.filterwarnings("ignore:.*has a state of early_stop")
@pytest.mark.parametrize("later", [EarlyStop(patience=3), EarlyStop(patience=1, metric="other"), None])
def test_with_another_setting_it_goes_on_as_if_that_had_always_held(later: EarlyStop | None, tmp_path: Path) -> None:
    values = [2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    long = fit(values, None if later is None else EarlyStop(**later.settings), updates=14)
    fit(values, EarlyStop(patience=1), updates=14, out=tmp_path / "run")
    rest = fit(values, later, updates=14, resume=tmp_path / "run")
    if later is None or later.metric == "loss":
        assert rest.updates == long.updates > 6
        assert all(map(torch.equal, long.model.parameters(), rest.model.parameters()))
    else:
        assert rest.updates == 10, "evaluations by another metric are none of its own"


def test_an_evaluation_that_only_ends_the_run_does_not_count(tmp_path: Path) -> None:
    first = fit([1.0, 1.0], EarlyStop(patience=1), updates=3, out=tmp_path / "run")
    assert (first.stopped, len(first.history)) == ("", 2)
    rest = fit([1.0] * 9, EarlyStop(patience=1), updates=30, resume=tmp_path / "run")
    assert rest.updates == 4


class Looks(Watch):
    def begin(self, run: Any) -> None:
        raise AssertionError("an update would follow")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_metric_that_there_is_not_is_refused_before_the_first_update(dry_run: bool) -> None:
    sentence = r"early_stop\.metric=acuracy: the evaluation gives other, accuracy; did you mean 'accuracy'\?"
    with pytest.raises(ConfigError, match=sentence):
        fit([1.0], EarlyStop("acuracy"), "accuracy", watch=[Looks()], dry_run=dry_run)


def test_also_by_a_run_that_goes_on_with_another_metric(tmp_path: Path) -> None:
    fit([2.0, 1.0, 1.0], updates=3, out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"early_stop\.metric=lss: the evaluation gives other, loss; did you mean 'loss'\?"):
        fit([2.0, 1.0, 1.0], EarlyStop("lss"), updates=9, resume=tmp_path / "run", watch=[Looks()])


def test_it_needs_data_to_evaluate_on() -> None:
    with pytest.raises(ConfigError, match="early_stop needs data to evaluate on, and there is none"):
        Trainer(nn.Linear(1, 1), TensorDataset(X), loss=lambda model, batch: 0, plugins=[EarlyStop()], watch=(), device="cpu").fit()


def test_it_changes_nothing_before_it_stops() -> None:
    assert fit_toy([EarlyStop()]).equals(fit_toy([]))
