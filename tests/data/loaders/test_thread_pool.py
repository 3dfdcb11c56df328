"""Threads of a pool end when nobody holds it any longer, whatever was read with it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from accel.data import Ring
from accel.data.loaders.thread_pool import ThreadPool
from tests.support.sample_datasets import Filled, Global, unfinished_readers


class Broken(Filled):
    """Has a sample that cannot be read."""

    def fill(self, index: int, rng: Any, out: Any) -> int:
        if index == 9:
            raise ValueError("sample 9 is broken")
        return super().fill(index, rng, out)


def begun(ring: Ring) -> list[Any]:
    epoch = ring.epoch(0)
    return [next(epoch), next(epoch)]


def broken(ring: Ring) -> None:
    with pytest.raises(ValueError, match="sample 9"):
        list(ring.epoch(0))


@pytest.mark.parametrize(
    ("data", "use"),
    [
        (Filled(), lambda ring: None),
        (Filled(), lambda ring: len(list(ring.epoch(0)))),
        (Filled(), lambda ring: begun(ring) and None),
        (Filled(), begun),
        (Broken(), broken),
        pytest.param(Global(), lambda ring: len(list(ring)), marks=pytest.mark.filterwarnings("ignore:Ring")),
    ],
    ids=["unused", "read", "left in an epoch", "its batches are held", "broken", "reads in turn"],
)
def test_a_ring_that_is_let_go_of_ends_its_threads(data: Any, use: Callable[[Ring], Any]) -> None:
    ring = Ring(data, 4, threads=2, depth=3)
    kept = use(ring)
    del ring
    gc.collect()  # errors have frames that hold it
    assert unfinished_readers() == []
    del kept


def test_a_pool_may_be_let_go_of_by_its_own_thread() -> None:
    pool = ThreadPool(2)
    pool.work.put(lambda holder=[pool]: None)  # type: ignore[misc]
    del pool
    gc.collect()
    assert unfinished_readers() == []


def test_closing_twice_leaves_nothing() -> None:
    pool = ThreadPool(2)
    pool.close()
    pool.close()
    assert pool.work.empty()
    assert unfinished_readers() == []
