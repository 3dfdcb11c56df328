"""No order of plugins changes the run."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from accel.engine.select_parts import make_plugin, part_name
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.augment import Augment
from accel.plugins.average import Average
from accel.plugins.backend import Backend
from accel.plugins.clip import Clip
from accel.plugins.early_stop import EarlyStop
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.onecycle import OneCycle
from accel.plugins.optimizer import Optimizer
from accel.plugins.plateau import Plateau
from accel.schema import plugin_registry
from accel.testing import ToyResult, cheap, fit_toy
from accel.testing.check_plugin import unmet_need
from tests.support.drill_length import times

ACTING: dict[str, Callable[[], Part]] = {
    "early_stop": lambda: EarlyStop(patience=2, min_delta=9.0),
    "plateau": lambda: Plateau(patience=0, threshold=0.9, factor=0.5),
}
"""Plugins that do nothing in so short a run with their default settings, in some with which they act after some evaluations."""
EVALUATIONS = {"evaluate_every": 3}
"""The run of the toy has four of them then."""
FULL: list[Callable[[], Part]] = [
    lambda: AMP(dtype="float16", force=True),
    lambda: Accumulate(steps=4),
    lambda: Clip(max_norm=0.5),
    AdamW,
    lambda: OneCycle(max_lr=0.05),
    lambda: EMA(decay=0.9),
    lambda: Backend(threads=1),
    Augment,
    FiniteGuard,
    cheap("lr_range"),
    cheap("ddp"),
    plugin_registry.load("progress"),
    plugin_registry.load("metrics"),
]
SHAPE: list[Callable[[], Part]] = [
    lambda: AMP(dtype="float16", force=True),
    lambda: Accumulate(steps=2),
    lambda: Clip(mode="value", max_value=0.1),
    lambda: Optimizer("torch.optim.NAdam", groups=[{"match": "*.bias", "lr_scale": 2}]),
    ACTING["plateau"],
    lambda: EarlyStop(patience=3, min_delta=9.0),
    lambda: Average(last=2, every=1),
    *map(cheap, ("batch_lr", "cache", "channels_last", "extents", "memory", "norms", "oom", "pinned", "prefetch", "recompute")),
    cheap("threads"),
]


def outcome(names: list[str]) -> ToyResult | str:
    rare = EVALUATIONS if ACTING.keys() & names else {}
    try:
        return fit_toy([ACTING.get(name, cheap(name))() for name in names], **rare)
    except ConfigError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")  # what has no effect on the toy says so
@pytest.mark.parametrize("first", plugin_registry.names())
@pytest.mark.slow
def test_every_pair_in_both_orders(first: str, capsys: pytest.CaptureFixture[str]) -> None:
    for second in plugin_registry.names():
        if second <= first:
            continue
        ahead, behind = outcome([first, second]), outcome([second, first])
        if isinstance(ahead, str) or isinstance(behind, str):
            assert ahead == behind
            lack = [unmet_need(plugin_registry.load(name)()) for name in (first, second)]
            named = all(name in str(ahead) for name in (first, second))
            assert ahead in lack or named, "two plugins fail together only in a sentence that names both, or for what is not here"
        else:
            assert ahead.equals(behind), f"{first} and {second}"


def test_every_part_has_a_plugin_in_a_permuted_set() -> None:
    parts = {part_name(make_plugin(cheap(name)())) for name in plugin_registry.names()}
    permuted = {part_name(make_plugin(make())) for make in (*FULL, *SHAPE)}
    assert parts - permuted == {"Compile"}, "what is compiled takes seconds in each run, and the pairs have it"


def test_plugins_that_wait_for_evaluations_act_among_the_pairs() -> None:
    stopped, lowered = (fit_toy([make()], **EVALUATIONS) for make in ACTING.values())
    assert len(stopped.losses) == 9
    assert lowered.spy.run.parts.optim.rate == 0.01 * 0.5**2


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize(
    ("chosen", "settings", "updates"),
    [(FULL, {"epochs": 3}, 6), (SHAPE, {"epochs": 4, "evaluate_every": 2, "freeze": [{"match": "0.*", "until": 3}]}, 8)],
    ids=["full", "shape"],
)
@pytest.mark.slow
def test_permutations_of_a_set(
    chosen: list[Callable[[], Part]], settings: dict[str, Any], updates: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    reference = fit_toy([make() for make in chosen], overflow=[9], **settings)
    assert len(reference.losses) == updates
    for _ in range(times(15, 1000)):
        order = rng.sample(chosen, len(chosen))
        assert reference.equals(fit_toy([make() for make in order], overflow=[9], **settings))


def test_two_plugins_for_one_part_are_refused_by_name() -> None:
    for first, second in combinations(["adamw", "sgd"], 2):
        with pytest.raises(ConfigError) as error:
            fit_toy([first, second])
        assert str(error.value) == "plugins adamw and sgd both provide Optim; keep one: '~plugins.adamw'"
