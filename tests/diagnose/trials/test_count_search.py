"""The search of a number finds the best, and says why it stopped; it never leaves its bounds."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from accel.compare import SpeedRatio
from accel.diagnose.trials.count_search import MODEL_IS_THE_LIMIT, SearchResult, search_count, search_fewer

Seconds = Callable[[int], float]


def faster(seconds: Seconds, noise: float = 0.0) -> Callable[[int, int], SpeedRatio]:
    def compare(base: int, other: int) -> SpeedRatio:
        ratio = seconds(base) / seconds(other)
        return SpeedRatio(ratio, ratio * (1 - noise), ratio * (1 + noise), 8)

    return compare


def search(seconds: Seconds, first: int = 2, most: int = 64, noise: float = 0.0, enough: float = inf) -> SearchResult:
    return search_count(first, most, "the test says so", faster(seconds, noise), lambda count: count >= enough)


@pytest.mark.parametrize(
    ("seconds", "found", "end"),
    [
        (lambda count: 1 / count, 64, "more than 64 are not possible: the test says so"),
        (lambda count: 1 / min(count, 8), 8, "16 bring nothing beyond the noise"),
        (lambda count: 1.0, 2, "4 bring nothing beyond the noise"),
        (lambda count: 1 + 0.1 * count, 1, "there are no fewer"),
    ],
)
def test_it_finds_where_more_bring_nothing(seconds: Seconds, found: int, end: str) -> None:
    result = search(seconds)
    assert (result.count, result.end) == (found, end)


def test_between_the_last_two_there_may_be_a_better_one() -> None:
    result = search(lambda count: 1 / count if count <= 6 else 1 / 4, first=2)
    assert [(step.base, step.other) for step in result.steps] == [(2, 4), (4, 8), (4, 6)]
    assert result.count == 6


def test_what_is_within_the_noise_is_not_followed() -> None:
    result = search(lambda count: count**-0.05, noise=0.05)
    assert result.count == 2
    assert [step.is_faster for step in result.steps] == [False, False]


def test_it_stops_where_the_model_is_the_limit() -> None:
    result = search(lambda count: 1 / count, enough=4)
    assert (result.count, result.end) == (4, MODEL_IS_THE_LIMIT)
    assert [step.other for step in result.steps] == [4]


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_it_never_leaves_its_bounds(most: int) -> None:
    tried: list[int] = []

    def seconds(count: int) -> float:
        tried.append(count)
        return 1 / count

    assert search(seconds, first=2, most=most).count == most
    assert max([*tried, most]) == most


def test_depth_is_never_lowered() -> None:
    result = search_count(4, 16, "", faster(lambda count: float(count)), lambda count: False, fewer=False)
    assert result.count == 4
    assert len(result.steps) == 1


def test_fewer_are_taken_while_that_is_faster() -> None:
    assert search_fewer(16, faster(lambda count: max(count, 4.0))).count == 4
    assert search_fewer(1, faster(lambda count: 1.0)).count == 1
