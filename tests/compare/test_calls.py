"""How often a difference is seen where there is none, and how often one is that there is: on a machine that others use as well."""

from __future__ import annotations

import numpy as np
import pytest

from accel.compare import Limits, Verdict, decide, interleave, studentized_bounds
from tests.support.shared_machine import SharedMachine

PAIRS = 200
LIMITS = Limits(max_rounds=72, step=12)


def verdicts(factor: float, jitter: float = 0.02) -> list[Verdict]:
    calls = []
    for seed in range(PAIRS):
        machine = SharedMachine(seed, jitter)
        calls.append(decide(interleave(machine.windows(1.0), machine.windows(factor), LIMITS)))
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("jitter", [0.005, 0.02, 0.1])
def test_equal_runs_are_called_different_in_at_most_five_percent(jitter: float) -> None:
    calls = verdicts(1.0, jitter)
    assert len(calls) - calls.count("neutral") <= 0.05 * PAIRS


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "verdict"), [(1.05, "harmful"), (1 / 1.05, "keep")])
def test_five_percent_are_seen_in_at_least_nine_of_ten(factor: float, verdict: Verdict) -> None:
    calls = verdicts(factor)
    assert calls.count(verdict) >= 0.9 * PAIRS


def test_bounds_hold_the_true_value_where_single_values_are_far_off() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(PAIRS):
        bounds = studentized_bounds(rng.standard_t(3, size=12))
        held += bounds.low <= 0 <= bounds.high
    assert held >= 0.97 * PAIRS
