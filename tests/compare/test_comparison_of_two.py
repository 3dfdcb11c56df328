"""The statistics of two ways of doing the same, on numbers whose result is known."""

from __future__ import annotations

from itertools import combinations
from math import inf, nan

import numpy as np
import pytest

from accel.compare import (
    Limits,
    SpeedRatio,
    decide,
    interleave,
    loss_difference,
    rank_probability,
    speed_ratio,
    studentized_bounds,
    take_turns,
    trimmed_mean,
    turn_order,
    window_plan,
)


def test_rounds_are_mirrored_and_each_side_leads_in_turn() -> None:
    for number in range(4):
        assert window_plan(number) == window_plan(number)[::-1]
    assert {window_plan(number)[0] for number in range(2)} == {"base", "other"}


@pytest.mark.parametrize("sides", ["ab", "abc", "abcd"])
def test_each_of_several_sides_has_every_place_in_turn(sides: str) -> None:
    rounds = [turn_order(number, list(sides)) for number in range(len(sides))]
    assert all(one == one[::-1] and sorted(one) == sorted(sides * 2) for one in rounds)
    assert all({one[place] for one in rounds} == set(sides) for place in range(len(sides)))


def test_several_sides_go_on_until_all_of_their_ratios_are_narrow() -> None:
    noise, clock = np.random.default_rng(0), iter(np.exp(0.01 * np.arange(4000)))
    steady = take_turns({"a": lambda: 3.0 * next(clock), "b": lambda: next(clock), "c": lambda: 2.0 * next(clock)}, "c")
    assert len(steady["a"]) == Limits().min_rounds
    assert speed_ratio(steady["a"], steady["c"]).ratio == pytest.approx(1.5)
    assert speed_ratio(steady["b"], steady["c"]).ratio == pytest.approx(0.5)
    noisy = {"a": lambda: 1.0, "b": lambda: float(np.exp(0.2 * noise.standard_normal())), "c": lambda: 1.0}
    assert len(take_turns(noisy, "c", Limits(seconds=1e9, max_rounds=20))["a"]) == 20


def test_a_steady_slow_down_of_the_machine_changes_no_ratio() -> None:
    clock = iter(np.exp(0.01 * np.arange(400)))
    ratio = interleave(lambda: 3.0 * next(clock), lambda: 2.0 * next(clock), Limits(min_rounds=8))
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    assert ratio.rounds == 8


def test_one_window_that_was_struck_changes_nothing() -> None:
    quiet = [[1.0 + 0.001 * round_, 1.0] for round_ in range(10)]
    struck = [list(windows) for windows in quiet]
    struck[4][0] = 50.0
    assert speed_ratio(quiet, struck).ratio == pytest.approx(1.0, abs=2e-3)


def test_a_measurement_goes_on_until_its_bounds_are_narrow_or_the_time_is_up() -> None:
    noise = np.random.default_rng(0)

    def window() -> float:
        return float(np.exp(0.2 * noise.standard_normal()))

    wide = interleave(window, window, Limits(seconds=1e9, max_rounds=40))
    assert wide.rounds == 40
    assert interleave(window, window, Limits(seconds=0.0)).rounds == Limits().min_rounds
    assert interleave(lambda: 1.0, lambda: 1.0).rounds == Limits().min_rounds


def test_the_other_side_sees_the_inverse() -> None:
    ratio = SpeedRatio(2.0, 1.6, 2.5, 12)
    assert (ratio.inverse.ratio, ratio.inverse.low, ratio.inverse.high) == (0.5, 0.4, 0.625)


def test_bounds_of_one_value_are_infinitely_wide() -> None:
    bounds = studentized_bounds([3.0])
    assert (bounds.value, bounds.low, bounds.high) == (3.0, -inf, inf)
    assert decide(speed_ratio([[1.0]], [[2.0]])) == "neutral"
    assert trimmed_mean([1.0, 2.0]) == 1.5


def test_more_values_and_a_lower_level_make_narrower_bounds() -> None:
    values = np.random.default_rng(0).standard_normal(80)
    few, many = studentized_bounds(values[:20]), studentized_bounds(values)
    assert many.high - many.low < few.high - few.low
    assert studentized_bounds(values, 0.8).high < many.high


@pytest.mark.parametrize(("n", "m"), [(2, 3), (4, 4), (5, 4)])
def test_the_probability_of_ranks_is_that_of_all_orders_counted(n: int, m: int) -> None:
    ranks = range(n + m)
    wins = {}
    for chosen in combinations(ranks, n):
        rest = [rank for rank in ranks if rank not in chosen]
        wins[chosen] = sum(a > b for a in chosen for b in rest)
    for chosen, number in wins.items():
        rest = [rank for rank in ranks if rank not in chosen]
        expected = min(1.0, 2 * sum(other <= min(number, n * m - number) for other in wins.values()) / len(wins))
        assert rank_probability(list(map(float, chosen)), list(map(float, rest))) == pytest.approx(expected)


def test_losses_are_compared_with_the_noise_between_seeds() -> None:
    base = [1.0, 1.1, 0.9, 1.05]
    same = loss_difference(base, base)
    assert (same.difference, same.is_beyond_noise, same.seeds) == (0.0, False, 4)
    assert same.noise == pytest.approx(np.std(base, ddof=1))
    assert loss_difference(base, [loss + 1 for loss in base]).is_worse
    assert loss_difference(base, [loss - 0.5 for loss in base]).is_better
    assert not loss_difference(base[:3], [loss + 1 for loss in base[:3]]).is_beyond_noise, "three seeds are too few"
    diverged = loss_difference(base, [nan, nan, inf, 7.0])
    assert diverged.is_worse
    assert diverged.difference == inf


def test_a_higher_loss_is_harmful_whatever_the_speed() -> None:
    fast, base = SpeedRatio(2.0, 1.9, 2.1, 20), [1.0, 1.1, 0.9, 1.05]
    worse, better = loss_difference(base, [3.0] * 4), loss_difference(base, [0.1] * 4)
    assert decide(fast, worse) == "harmful"
    assert decide(fast, better) == decide(fast, None) == "keep"
    assert decide(fast.inverse, better) == "harmful"
    assert (decide(None, better), decide(None, worse), decide(None, None)) == ("keep", "harmful", "neutral")


def test_what_no_speed_is_worth_is_neutral() -> None:
    assert decide(SpeedRatio(1.008, 1.005, 1.011, 60)) == "neutral"
    assert decide(SpeedRatio(1.03, 1.02, 1.04, 60)) == "keep"
    assert decide(SpeedRatio(1.03, 1.02, 1.04, 60), negligible=0.05) == "neutral"
