"""Mixed precision: as few layers in floats as let the rest have 8 bits and the export still hold, the worst ones first."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["fewest_floats"]


def fewest_floats(holds: Callable[[int], bool], layers: int) -> int:
    """Return how many of the worst layers have to stay in floats; `layers` if it does not hold with all but one of them.

    Numbers are doubled until one holds, and the least is sought between it and the last that did not. That is the least there is
    where one more layer in floats never does harm; what is returned holds in any case.

    Args:
        holds: whether an export holds whose worst layers, as many as the argument says, are in floats. It did not hold for 0.
        layers: how many there are.
    """
    low, high = 0, 1
    while high < layers and not holds(high):
        low, high = high, min(2 * high, layers - 1) if high < layers - 1 else layers
    if high >= layers:
        return layers
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
