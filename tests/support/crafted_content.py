"""Content that accel never writes, under checksums that are right: numbers, types and places that lead nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

NUMBERS = [0, 1, 2, 7, 255, 4095, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1]
"""For fields of any width: they are cut to it."""
DEEP: Any = json.loads("[" * 400 + "]" * 400)
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**63, 2**64, 10**400, -(10**30), 0.5, -1.5, float("inf"), float("nan")),
    *("", "x", "0", "\x1b[2J", "\ud800", "é", "a/b", "..", "/", "\0"),
    *([], [[]], [None], ["x"], [1], {}, {"x": 1}, {"": None}, DEEP),
]


def other_value(random: Random, values: list[Any] = VALUES) -> Any:
    return deepcopy(random.choice(values))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value inside."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, item in inner[:20] for place in places(item, (*path, key)))]


def mutated(value: Any, random: Random, change: Callable[[Any], Any] | None = None) -> Any:
    """Return a copy in which one value, anywhere, is another, is gone, is there twice, or has company."""
    value = deepcopy(value)
    path = random.choice([place for place in places(value) if place] or [()])
    if not path:
        return other_value(random)
    owner = value
    for key in path[:-1]:
        owner = owner[key]
    kind = random.randrange(5)
    if kind == 0 and isinstance(owner, dict):
        del owner[path[-1]]
    elif kind == 1 and isinstance(owner, list):
        owner.insert(path[-1], deepcopy(owner[path[-1]]))
    elif kind == 2 and isinstance(owner, dict):
        owner["another"] = other_value(random)
    else:
        owner[path[-1]] = other_value(random) if change is None else change(owner[path[-1]])
    return value


def mutated_numbers(numbers: list[int], bits: int, random: Random) -> list[int]:
    """Return a copy of the fields of a binary format, of which one or two are others."""
    numbers = list(numbers)
    for _ in range(random.choice((1, 1, 2))):
        place = random.randrange(len(numbers))
        near = [numbers[place] + step for step in (-33, -32, -8, -1, 1, 8, 32, 4096)]
        numbers[place] = random.choice([*NUMBERS, *near, *random.sample(numbers, 1)]) % (1 << bits)
    return numbers
