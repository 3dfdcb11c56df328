"""The curve of losses over rates: where it ends, and the rate that it suggests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from accel import Trainer
from accel.errors import ConfigError
from accel.plugins.adamw import AdamW
from accel.plugins.batch_lr import BatchLR
from accel.plugins.lr_range import LRRange
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.report.lr_range_plot import centred, read
from accel.testing import fit_toy
from tests.support.range_tests import train


class Bowl(nn.Module):
    """A weight in a bowl, from whose bottom it is 1 away: gradient descent converges below a rate of 2 / curvature."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


@pytest.mark.filterwarnings("ignore:data is a list whose elements may be samples or ready batches")
@pytest.mark.slow
@pytest.mark.draws
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
    actual = []
    for times, plugins in ((1, []), (1, [AdamW()]), (4, [AdamW(), BatchLR(reference=1)])):  # batches of 4
        probe = LRRange(start=1e-4 / times, end=1.0 / times, updates=40)
        fit_toy([probe, *plugins])
        actual.append(probe.suggested)
    assert [list(each) for each in actual] == [["sgd.lr"], ["adamw.lr"], ["adamw.lr"]]
    assert actual[1]["adamw.lr"] == pytest.approx(4 * actual[2]["adamw.lr"])


@pytest.mark.filterwarnings("ignore:data is a list")
def test_a_loss_that_falls_nowhere_suggests_nothing() -> None:
    probe = LRRange(start=1e-30, end=1e-20, updates=10)
    result = train([probe], [torch.ones(4, 2)])
    model = nn.Linear(1, 1)
    Trainer(
        model, [torch.ones(1, 1)] * 3, loss=lambda m, x: 0 * m(x).mean() + 1.0, plugins=[probe := LRRange(updates=10)], watch=()
    ).fit()
    assert probe.suggestions() == {}
    assert probe.outcome == "10 tried, from 1e-06 to 10; nothing suggested, for the loss fell at none; lower lr_range.start"
    assert result.updates == 2


@pytest.mark.filterwarnings("ignore:data is a list whose elements may be samples or ready batches")
def test_an_infinite_loss_ends_the_trial() -> None:
    probe = LRRange(start=1e-3, end=1e3, updates=10)
    Trainer(
        Bowl(), [torch.ones(1)], loss=lambda m, x: (m.weight.neg().exp() * x / (m.weight < 2)).mean(), plugins=[probe], watch=()
    ).fit()
    assert probe.outcome.startswith("6 tried, from 0.001 to 2.2; suggested sgd.lr=")


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
