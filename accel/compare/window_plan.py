"""Order in which two ways of doing the same are timed."""

from __future__ import annotations

from typing import Literal

__all__ = ["ROUNDS", "Side", "window_plan"]

Side = Literal["base", "other"]
ROUNDS: tuple[tuple[Side, ...], ...] = (("base", "other", "other", "base"), ("other", "base", "base", "other"))
"""Rounds of windows, A/B/B/A and B/A/A/B, in turns: a machine that gets slower at a steady rate slows both sides by the same."""


def window_plan(number: int) -> tuple[Side, ...]:
    """Return whose turn it is in each of the four windows of round `number`, from 0.

    >>> window_plan(0)
    ('base', 'other', 'other', 'base')
    """
    return ROUNDS[number % len(ROUNDS)]
