from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from accel.data import DataLoaderX
from accel.data.loaders.device_copy import map_tensors, prefetch_one
from accel.data.loaders.read_ahead import read_ahead
from accel.data.randomness.rng_guard import global_rng_state
from accel.errors import AccelWarning
from tests.support.sample_datasets import Global, Plain, md5, readers, unfinished_readers
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert unfinished_readers() == []
    yield
    assert unfinished_readers() == []


class Counted:
    """The numbers 1, 2, 3 and so on, how many of them were read, and the most that were read before they were taken."""

    def __init__(self) -> None:
        self.read = self.taken = self.most_ahead = 0

    def __iter__(self) -> Iterator[int]:
        for self.read in count(1):
            self.most_ahead = max(self.most_ahead, self.read - self.taken)
            yield self.read


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_so_many_are_read_ahead_and_no_more(depth: int) -> None:
    data = Counted()
    with closing(read_ahead(iter(data), depth, "x")) as items:  # type: ignore[type-var]
        for number in range(1, 301):
            data.taken = number  # the thread may read one more as soon as this one is handed over
            assert next(items) == number
            if number <= 100:
                wait_until(lambda: data.read >= data.taken + depth, f"item {number + depth}")
    assert data.most_ahead == depth


def test_stopping_early_ends_the_thread() -> None:
    items = read_ahead(iter(Counted()), 2, "x")
    next(items), next(items)
    assert len(readers()) == 1
    del items
    assert unfinished_readers() == []


@pytest.mark.parametrize("error", [KeyError("here"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_is_raised_passes_through(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise error

    actual = read_ahead(items(), 2, "x")
    assert [next(actual), next(actual), next(actual)] == [1, 2, 3]
    with pytest.raises(type(error)) as raised:
        next(actual)
    assert raised.value is error


def test_what_draws_global_random_numbers_is_read_in_its_turn() -> None:
    def mixed(items: Iterator[Any]) -> list[float]:
        """The consumer draws too."""
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        return [value for x, _ in items for value in (float(x.sum()), float(torch.rand(())), random.random())]

    def loader(kind: Any) -> Any:
        return kind(Global(), batch_size=4, shuffle=True)

    expected = mixed(iter(loader(torch.utils.data.DataLoader)))
    with pytest.warns(AccelWarning, match="DataLoaderX has no effect: the data draws from the global random numbers"):
        assert mixed(iter(loader(DataLoaderX))) == expected


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(())])
def test_a_number_drawn_is_noticed(draw: Any) -> None:
    before = global_rng_state()
    assert global_rng_state() == before
    draw()
    assert global_rng_state() != before


def test_the_seed_of_a_sampler_is_drawn_in_its_turn_and_the_rest_is_read_ahead() -> None:
    def read(loader: Any) -> tuple[list[str], Any]:
        torch.manual_seed(5)
        return md5(loader), torch.get_rng_state().tolist()

    plain = torch.utils.data.DataLoader(Plain(), batch_size=4, shuffle=True)
    assert read(DataLoaderX(Plain(), batch_size=4, shuffle=True)) == read(plain)


def test_a_dataloader_with_workers_too() -> None:
    expected = md5(torch.utils.data.DataLoader(Plain(), batch_size=4))
    assert md5(DataLoaderX(Plain(), batch_size=4, num_workers=1)) == expected


def test_a_depth_that_is_none() -> None:
    with pytest.raises(ValueError, match="depth must be a whole number from 1, not 0"):
        DataLoaderX(Plain(), depth=0)


class Events(list[str]):
    """What happened, in order."""

    def note(self, what: str, item: int) -> int:
        self.append(f"{what} {item}")
        return item


def test_the_next_item_has_departed_when_one_arrives() -> None:
    events = Events()

    for item in prefetch_one(iter([1, 2, 3]), partial(events.note, "depart"), partial(events.note, "arrive")):
        events.note("use", item)
    assert events == [
        "depart 1", "depart 2", "arrive 1", "use 1", "depart 3", "arrive 2", "use 2", "arrive 3", "use 3",
    ]  # fmt: skip


def test_nothing_departs_early_that_draws_global_random_numbers() -> None:
    events = Events()

    def items() -> Iterator[int]:
        for item in (1, 2, 3):
            random.random()
            yield item

    for item in prefetch_one(items(), partial(events.note, "depart"), lambda item: item):
        events.note("use", item)
    assert events == ["depart 1", "use 1", "depart 2", "use 2", "depart 3", "use 3"]
    assert list(prefetch_one(iter([]), lambda item: item, lambda item: item)) == []


def test_a_batch_keeps_its_structure() -> None:
    batch = {"a": [torch.zeros(2), "text"], "b": (torch.ones(1), 3)}
    actual = map_tensors(batch, lambda tensor: tensor + 1)
    assert actual["a"][0].tolist() == [1, 1]
    assert actual["b"][0].tolist() == [2]
    assert (actual["a"][1], actual["b"][1]) == ("text", 3)
