"""What accumulation computes stands in tests/invariants/test_accumulation_windows.py; here is what it groups."""

import pytest
import torch

from accel.errors import AccelWarning, ConfigError
from accel.plugins.accumulate import Accumulate
from accel.testing import fit_toy
from tests.support.handwritten_loop import hand_loop


def test_windows_know_their_last_and_their_shares() -> None:
    batches = [torch.zeros(n, 2) for n in (4, 4, 2, 4, 3)]
    first, second = Accumulate(steps=3).windows(iter(batches))
    assert (first.batches, first.samples, second.batches, second.samples) == (3, 10, 2, 7)
    assert [micro.weight for micro in first.micros] == [0.4, 0.4, 0.2]
    assert [micro.last for micro in first.micros] == [False, False, True]
    assert [micro.last for micro in second.micros] == [False, True]


def test_a_window_of_one_weighs_exactly_one() -> None:
    (window,) = Accumulate(steps=4).windows(iter([torch.zeros(3, 2)]))
    assert [micro.weight for micro in window.micros] == [1.0]


def test_it_is_the_hand_written_window() -> None:
    actual = fit_toy([Accumulate(steps=4)])
    make = lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)  # noqa: E731
    weights, losses = hand_loop(make, window=4)
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


def test_nothing_to_accumulate_warns() -> None:
    with pytest.warns(AccelWarning, match=r"accumulate.steps=1 has no effect"):
        fit_toy([Accumulate(steps=1)])


def test_steps_are_whole_numbers_from_one() -> None:
    with pytest.raises(ConfigError, match=r"accumulate.steps must be a whole number from 1, not 0"):
        Accumulate(steps=0)
