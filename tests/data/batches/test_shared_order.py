"""Ranks read data in its own order alike, whatever it draws and whenever it begins to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from accel.data.randomness.tripwire import ReadInTurn, reading_ahead
from accel.data.ranks.shared_order import SharedOrder
from accel.device.rng import host_rng_state

DRAWS: dict[str, Callable[[], Any]] = {
    "python": lambda: random.random(), "numpy": lambda: float(np.random.randn()), "torch": lambda: float(torch.rand(())),
}  # fmt: skip
FIRST = (0, 1, 2, 5, 9, 100)
"""Items at which data begins to draw."""


class Drawn:
    """Eleven items, of which those from one on are drawn."""

    def __init__(self, draw: Callable[[], Any], first: int) -> None:
        self.draw, self.first = draw, first

    def __iter__(self) -> Iterator[Any]:
        for number in range(11):
            yield number if number < self.first else self.draw()


def read(data: Any, rank: int, epoch: int = 0, ahead_from: int = 99) -> list[Any]:
    """Return all items as a rank reads them, whose training draws; from one list on in a thread that reads ahead."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(rank)
    items: list[Any] = []
    lists: Iterator[list[Any]] = iter(SharedOrder(data, 2, 3, epoch))
    for number in range(9):
        random.random(), np.random.rand(), torch.rand(())
        before = host_rng_state()
        try:
            with reading_ahead(number >= ahead_from):
                one = next(lists, [])
        except ReadInTurn as signal:
            lists, ahead_from = signal.resume(), 99
            one = next(lists, [])
        assert host_rng_state() == before, "the training's own numbers, apart from a trace in torch's"
        items += one
    return items


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("kind", DRAWS)
def test_all_ranks_read_the_same(kind: str, first: int) -> None:
    data = Drawn(DRAWS[kind], first)
    items = read(data, 0)
    assert items[: min(first, 11)] == list(range(min(first, 11)))
    assert len(items) == 11
    assert read(data, 1) == items
    if first < 11:
        assert read(data, 0, epoch=1) != items
    if kind == "torch":  # in a thread nothing is drawn; what others draw there can be told only afterwards
        assert read(data, 1, ahead_from=1) == items


def test_the_numbers_are_those_of_former_versions() -> None:
    triples = Drawn(lambda: (random.randrange(99), int(np.random.randint(99)), int(torch.randint(99, ()))), 0)
    assert read(triples, 0)[:4] == [(7, 91, 27), (57, 62, 55), (42, 75, 64), (11, 71, 7)]
