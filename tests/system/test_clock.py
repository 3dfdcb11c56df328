"""Every second of a run is booked once, compiling apart."""

from __future__ import annotations

import pytest

from accel.system import clock
from accel.system.clock import COMPILE, EVALUATION, FORWARD, OTHER, PHASES, Clock, ThroughputMark


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    now = [100.0]
    monkeypatch.setattr(clock, "perf_counter", lambda: now[0])
    return now


def test_compiling_stays_compiling_in_a_trial(seconds: list[float]) -> None:
    times = Clock()
    with times.attribute_to(OTHER):
        seconds[0] += 2
        times.lap(EVALUATION)
        seconds[0] += 30
        times.book_within_lap(30, COMPILE)
        seconds[0] += 1
    assert (times.spent[OTHER], times.spent[COMPILE], sum(times.spent)) == (3, 30, 33)
    seconds[0] += 7
    times.lap(FORWARD)
    assert times.spent[FORWARD] == 7
    assert times.shares()["compile"] == 75


def test_what_is_outside_the_run_is_booked_nowhere(seconds: list[float]) -> None:
    times = Clock()
    seconds[0] += 1
    with times.stopped():
        seconds[0] += 50
    times.lap(FORWARD)
    assert times.spent == [1.0 if phase == FORWARD else 0.0 for phase in range(len(PHASES))]
    assert "compile" not in times.shares(), "without compiling there is no row"


def test_compiling_slows_no_samples_down(seconds: list[float]) -> None:
    times = Clock()
    begun = ThroughputMark.now(times, 0)
    seconds[0] += 90
    times.book_within_lap(80, COMPILE)
    assert ThroughputMark.now(times, 100).since(begun)[0] == pytest.approx(10)
