"""States of random generators that data in its own order has to itself, through one epoch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from accel.data.randomness.sample_randomness import SampleRandomness

__all__ = ["OwnStates", "Result"]

Result = TypeVar("Result")


class OwnStates:
    """States of the generators that one reading draws from: seeded first, then where that reading has left them.

    The generators are set to them while something is read, and are afterwards where they were.

    Args:
        randomness: the generators of the data.
        seed: returns the seed of a generator, by its number.
    """

    def __init__(self, randomness: SampleRandomness, seed: Callable[[int], int]) -> None:
        self.randomness, self.seed = randomness, seed
        self.states: dict[int, Any] = {}

    def read(self, action: Callable[[], Result]) -> tuple[list[Result], bool]:
        """Return the result of reading something, in a list, and whether a generator has moved that was not seeded for it.

        Raises:
            BaseException: of the reading, if nothing new has moved.
            ConfigError: if something has, and that is refused.
        """
        return self.randomness.attempt(partial(self._set, action))

    def _set(self, action: Callable[[], Result]) -> Result:
        """Return the result of an action, during which the generators are in these states."""
        randomness = self.randomness
        handles, numbers = randomness.handles, sorted(randomness.moving | randomness.watched)
        for number in numbers:
            if number in self.states:
                handles[number].restore(self.states[number])
            else:
                handles[number].seed(self.seed(number))
        marks = {number: handles[number].mark() for number in randomness.watched}
        try:
            return action()
        finally:
            self.states = {number: handles[number].state() for number in numbers}
            randomness.moving |= {number for number, mark in marks.items() if handles[number].mark() != mark}
