"""Bounds of a mean where values are all but equal."""

from __future__ import annotations

import pytest

from accel.compare import studentized_bounds


def test_values_that_differ_by_rounding_have_bounds_as_equal_ones_do() -> None:
    third = 1.0 / 3.0
    bounds = studentized_bounds([third, third + 6e-17] * 6)
    assert bounds.low == bounds.high == bounds.value == pytest.approx(third)
