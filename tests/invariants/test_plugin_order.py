"""No order of plugins changes the run."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any

import pytest

from accel.engine.select_parts import part_name
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
from accel.plugins.reparam import Reparam
from accel.schema import plugin_registry
from accel.testing import ToyResult, cheap, fit_toy
from accel.testing.check_plugin import unmet_need
from tests.support.drill_length import LONG, times
from tests.support.picture_toy import PictureToy

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
    *map(cheap, ("distill", "fold_bn", "lowbit", "prune", "reparam", "threads")),
]


def outcome(names: list[str]) -> ToyResult | str:
    rare = EVALUATIONS if ACTING.keys() & names else {}
    try:
        return fit_toy([ACTING.get(name, cheap(name))() for name in names], **rare)
    except ConfigError as error:
        return str(error)


REFUSED = {
    frozenset(pair.split())
    for pair in (
        "accumulate step_in_backward", "clip step_in_backward", "finite_guard step_in_backward", "lamb step_in_backward",
        "master_weights step_in_backward", "muon step_in_backward", "norms step_in_backward", "schedule_free step_in_backward",
        "parity step_in_backward", "average schedule_free", "ddp master_weights", "fsdp master_weights",
        "fsdp prune", "prune step_in_backward",
    )
}  # fmt: skip
"""Pairs of plugins of different parts that cannot stand together, each by its own sentence."""
SHARES = 4
"""Tests over which the sets of plugins are spread, for the processes that run them."""


@cache
def runs() -> dict[str, str]:
    """Return the plugins that can work on this machine's CPU, each with its part."""
    plugins = {name: cheap(name)() for name in plugin_registry.names()}
    return {name: part_name(plugin) for name, plugin in plugins.items() if not unmet_need(plugin)}


def stands(first: str, second: str, parts: dict[str, str]) -> bool:
    """Return whether two plugins can stand in one run: they are of different parts, or both watch, and no sentence refuses them."""
    return (parts[first] != parts[second] or parts[first] == "Watch") and frozenset((first, second)) not in REFUSED


@cache
def covering_sets() -> list[list[str]]:
    """Return sets of plugins that can stand together, so that any two which can are in one of them.

    Each set is grown by the plugin that brings the most pairs which no set before had, and ends when none brings any.
    """
    parts = runs()
    left = {frozenset(pair) for pair in combinations(parts, 2) if stands(*pair, parts)}
    sets = []
    while left:
        chosen = [max(parts, key=lambda name: sum(name in pair for pair in left))]
        while new := {
            name: pairs
            for name in parts
            if name not in chosen and all(stands(name, other, parts) for other in chosen)
            if (pairs := sum(frozenset((name, other)) in left for other in chosen))
        }:
            chosen.append(max(new, key=lambda name: new[name]))
        left -= {frozenset(pair) for pair in combinations(chosen, 2)}
        sets.append(chosen)
    return sets


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")  # what has no effect on the toy says so
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.slow
def test_any_two_plugins_in_both_orders_beside_others(share: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A set and its reverse hold each of their pairs in both orders; `make drill` runs each pair alone as well."""
    for names in covering_sets()[share::SHARES]:
        ahead, behind = outcome(names), outcome(names[::-1])
        assert not isinstance(ahead, str), f"{ahead}; where two plugins are refused rightly, they belong in REFUSED"
        assert not isinstance(behind, str), behind
        assert ahead.equals(behind), names


def test_every_two_plugins_are_in_a_set() -> None:
    parts = runs()
    pairs = {frozenset(pair) for names in covering_sets() for pair in combinations(names, 2)}
    assert len(pairs) > 1000
    assert pairs == {frozenset(pair) for pair in combinations(parts, 2) if stands(*pair, parts)}


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("first", plugin_registry.names())
@pytest.mark.slow
def test_every_pair_in_both_orders(first: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the suite, only those that are refused: the others are in the sets of the test above."""
    parts = runs()
    for second in plugin_registry.names():
        may_stand = {first, second} <= parts.keys() and stands(first, second, parts)
        if second <= first or (may_stand and not LONG):
            continue
        ahead, behind = outcome([first, second]), outcome([second, first])
        if isinstance(ahead, str) or isinstance(behind, str):
            assert ahead == behind
            lack = [unmet_need(plugin_registry.load(name)()) for name in (first, second)]
            named = all(name in str(ahead) for name in (first, second))
            assert ahead in lack or named, "two plugins fail together only in a sentence that names both, or for what is not here"
            assert not may_stand, ahead
        else:
            assert ahead.equals(behind), f"{first} and {second}"
            assert may_stand, f"{first} and {second} are not refused, and stand in REFUSED"


def test_every_part_has_a_plugin_in_a_permuted_set() -> None:
    parts = {part_name(cheap(name)()) for name in plugin_registry.names()}
    permuted = {part_name(make()) for make in (*FULL, *SHAPE)}
    assert parts - permuted == {"Compile"}, "what is compiled takes seconds in each run; two orders of it are in the covering sets"


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
    for _ in range(times(5, 1000)):
        order = rng.sample(chosen, len(chosen))
        assert reference.equals(fit_toy([make() for make in order], overflow=[9], **settings))


def test_the_command_line_and_python_agree_on_the_part_of_every_plugin() -> None:
    """The command line reads it from the source text, to tell which plugins cannot stand together."""
    read = {name: plugin_registry.plugin_signature(name).part for name in plugin_registry.names()}
    assert read == {name: part_name(cheap(name)()) for name in plugin_registry.names()}


SHAPED: list[Callable[[], Part]] = [
    lambda: Reparam(kind="acnet"),
    lambda: AMP(dtype="float16", force=True),
    lambda: Accumulate(steps=2),
    AdamW,
    lambda: EMA(decay=0.8),
    *map(cheap, ("channels_last", "clip", "fold_bn", "norms", "oom", "recompute", "threads")),
]
"""Plugins beside those that change the modules of a convolutional model."""


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
def test_permutations_of_a_set_that_changes_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(0)
    reference = fit_toy([make() for make in SHAPED], kind=PictureToy)
    assert "0.horizontal.conv.weight" in reference.spy.run.unwrapped_model.state_dict(), "it has branches"
    for _ in range(times(3, 300)):
        order = rng.sample(SHAPED, len(SHAPED))
        assert reference.equals(fit_toy([make() for make in order], kind=PictureToy))


def test_two_plugins_for_one_part_are_refused_by_name() -> None:
    for first, second in combinations(["adamw", "sgd"], 2):
        with pytest.raises(ConfigError) as error:
            fit_toy([first, second])
        assert str(error.value) == "plugins adamw and sgd both provide Optim; keep one: '~plugins.adamw'"
