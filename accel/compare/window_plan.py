"""Order in which ways of doing the same are timed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

__all__ = ["Side", "turn_order", "window_plan"]

Side = Literal["base", "other"]
Name = TypeVar("Name", bound=str)
SIDES: tuple[Side, ...] = ("base", "other")


def turn_order(number: int, sides: Sequence[Name]) -> tuple[Name, ...]:
    """Return whose turn it is in each window of round `number`, from 0: there and back, begun by another side in each round.

    Each side has two windows of a round, as far from its middle: a machine that gets slower at a steady rate slows all by the same.

    >>> turn_order(1, ("a", "b", "c"))
    ('b', 'c', 'a', 'a', 'c', 'b')
    """
    start = number % len(sides)
    order = (*sides[start:], *sides[:start])
    return (*order, *reversed(order))


def window_plan(number: int) -> tuple[Side, ...]:
    """Return whose turn it is in each of the four windows of round `number`, from 0, of two sides.

    >>> window_plan(0)
    ('base', 'other', 'other', 'base')
    """
    return turn_order(number, SIDES)
