from __future__ import annotations

import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from accel.data import Ring
from accel.data.loaders.buffer_pool import BufferPool
from accel.data.loaders.thread_pool import BatchRead, ThreadPool, chunk_ranges
from accel.data.sampling import sample_rng
from accel.errors import ConfigError
from tests.support.sample_datasets import Drawn, Each, Filled, Wide, md5, unfinished_readers
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert unfinished_readers() == []
    yield
    assert unfinished_readers() == []


def test_a_slot_is_free_when_nobody_holds_it() -> None:
    slots = BufferPool((4, 2), np.uint8, pin=False)
    first = slots.borrow(4)
    view = first[1:]
    del first
    second = slots.borrow(3)
    assert slots.allocated == 2, "a view holds it"
    assert second.shape == (3, 2)
    address = view.data_ptr() - 2
    del view
    third = slots.borrow(4)
    assert slots.allocated == 2
    assert third.data_ptr() == address


def test_what_autograd_has_saved_holds_a_slot() -> None:
    slots = BufferPool((2,), np.float32, pin=False)
    x = slots.borrow(2).fill_(3)
    weight = torch.ones(2, requires_grad=True)
    loss = (x * weight).sum()
    del x
    slots.borrow(2).fill_(-1)
    assert slots.allocated == 2
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3, 3]


def test_a_batch_that_is_kept_never_changes() -> None:
    with Ring(Filled(), 4, threads=2, depth=1) as ring:
        kept = list(ring.epoch(0))
        copies = [x.clone() for x, _ in kept]
        for _ in ring.epoch(1):
            pass
        assert all(torch.equal(x, copy) for (x, _), copy in zip(kept, copies, strict=True))
        assert ring.pool is not None
        assert ring.pool.allocated >= len(kept)


def test_nothing_is_allocated_for_a_batch_after_the_first_few() -> None:
    with Ring(Wide(), 8, threads=2, depth=2) as ring:
        for _ in ring.epoch(0):
            pass
        assert ring.pool is not None
        assert ring.pool.allocated == 3 + 1, "the next batch, those read ahead of it, and the one in use"
        tracemalloc.start()
        for _ in ring.epoch(1):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert ring.pool.allocated == 3 + 1
        assert peak < ring.pool.bytes, "all 50 batches of an epoch together take less than one batch"


class Gated:
    """Work of three samples, each read once its gate is open."""

    keys = [0, 1, 2]

    def __init__(self, gate: threading.Event) -> None:
        self.gate, self.begun = gate, list[int]()

    def reading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fill_slots(self, places: range) -> Iterator[int]:
        for place in places:
            yield place
            self.begun.append(place)
            assert self.gate.wait(60)

    def finish(self) -> str:
        return "batch"


def test_a_thread_that_lingers_after_a_batch_does_not_hold_its_memory() -> None:
    gate, end = threading.Event(), threading.Event()
    work, pool = Gated(gate), ThreadPool(1)
    memory = weakref.ref(work)
    reading = BatchRead(pool, work, "batch 1", 1)
    done = reading.done.set
    reading.done.set = lambda: (done(), end.wait(60))  # the thread is held up when the batch can be taken
    del work
    gate.set()
    try:
        assert reading.take() == "batch"
        assert memory() is None
    finally:
        end.set()
        pool.close()


def test_a_part_that_is_wanted_no_longer_ends_after_the_sample_in_work() -> None:
    gate = threading.Event()
    work, pool = Gated(gate), ThreadPool(1)
    reading = BatchRead(pool, work, "batch 1", 1)
    wait_until(lambda: len(work.begun) == 1, "the first sample")
    reading.cancel(0.0)
    gate.set()
    assert reading.done.wait(60)
    pool.close()
    assert work.begun == [0]


class EachAlone(Each):
    """Can be read several together, and no other way."""

    def fill_each(self, keys: list[int], seed: int, epoch: int, out: Any) -> Iterator[int]:
        for key, row in zip(keys, out, strict=False):
            yield Filled.fill(self, key, sample_rng(seed, epoch, key), row)

    def fill(self, index: int, rng: np.random.Generator, out: Any) -> int:
        raise KeyError(index)


class Changed(EachAlone):
    """Has changed the one way, and inherits the other."""

    def fill(self, index: int, rng: np.random.Generator, out: Any) -> int:
        return Filled.fill(self, index, rng, out) + 2


def test_samples_are_read_several_together() -> None:
    with Ring(EachAlone(), 4, threads=2) as ring, Ring(Filled(), 4, threads=2) as other:
        assert md5(ring.epoch(0)) == md5(other.epoch(0))
    with Ring(Changed(), 4, threads=2) as ring:
        assert {label for _, y in ring.epoch(0) for label in y.tolist()} == {2, 3}


def test_parts_of_what_is_read_together_are_large_and_enough_for_all_threads() -> None:
    class Many(Each):
        def __len__(self) -> int:
            return 1000

    for size, threads, depth, parts in ((64, 3, 3, 4), (8, 2, 3, 1), (64, 16, 3, 8), (16, 16, 0, 32), (512, 2, 3, 8)):
        with Ring(Many(), size, threads=threads, depth=depth) as ring:
            assert ring._parts() == parts


def test_memory_of_a_slot_is_seen_by_tracemalloc_where_it_is_allocated_anew() -> None:
    tracemalloc.start()
    kept = np.empty(10**6, np.uint8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak >= kept.nbytes


class Bad(Filled):
    def fill(self, index: int, rng: np.random.Generator, out: Any) -> int:
        if index in (9, 10):
            raise KeyError(index)
        return super().fill(index, rng, out)


@pytest.mark.slow
def test_an_exception_passes_through_with_the_first_bad_sample() -> None:
    for _ in range(20):
        with Ring(Bad(), 4, threads=4) as ring, pytest.raises(KeyError) as raised:
            list(ring.epoch(0))
        assert raised.value.args == (9,)
        assert raised.value.__notes__ == ["threads: raised over sample 9 (batch 3 of epoch 1)"]


def test_batches_before_the_bad_one_are_given() -> None:
    with Ring(Bad(), 4, threads=2) as ring:
        batches = ring.epoch(0)
        assert [y.tolist() for _, y in (next(batches), next(batches))] == [[0, 1, 0, 1], [0, 1, 0, 1]]
        with pytest.raises(KeyError):
            next(batches)


def test_stopping_early_ends_the_reading_and_gives_the_memory_back() -> None:
    with Ring(Filled(), 4, threads=2, depth=3) as ring:
        batches = ring.epoch(0)
        next(batches)
        del batches
        assert ring.pool is not None
        wait_until(ring.threads.work.empty, "the parts that are read no longer")
        made = ring.pool.allocated
        assert len(list(ring.epoch(1))) == 6
        assert len(ring.pool.free) >= made


def test_closed_in_the_midst_of_an_epoch() -> None:
    ring = Ring(Filled(), 4, threads=2, depth=3)
    batches = ring.epoch(0)
    next(batches)
    ring.close()
    batches.close()  # type: ignore[attr-defined]
    assert unfinished_readers() == []
    assert ring.threads.work.empty(), "nothing is left to be read"


def test_what_it_refuses() -> None:
    class Odd(Filled):
        dtype = object  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="dtype is object, which no tensor has"):
        Ring(Odd(), 4)
    with pytest.raises(ConfigError, match="data is a list; a Ring reads a data set"):
        Ring([torch.zeros(4, 2)], 4)


def test_data_without_fill_is_collated() -> None:
    for data in (Drawn(), TensorDataset(torch.arange(23.0))):
        with Ring(data, 4) as ring:
            assert ring.pool is None
            assert len(list(ring.epoch(0))) == 6


def test_parts_of_a_batch() -> None:
    for size in (1, 3, 7, 64):
        for parts in (1, 4, 8):
            assert [place for span in chunk_ranges(size, parts) for place in span] == list(range(size))
            assert len(list(chunk_ranges(size, parts))) == min(size, parts)


def test_a_loop_over_the_ring_goes_on_with_the_next_epoch() -> None:
    with Ring(Drawn(), 4, seed=3, shuffle=True, threads=2) as ring:
        expected = [list(ring.epoch(number)) for number in (0, 1, 5)]
        first, second = list(ring), list(ring)
        ring.set_epoch(5)
        assert len(ring) == len(first) == 6
        for batches, same in zip((first, second, list(ring)), expected, strict=True):
            assert all(torch.equal(x, y) for pair in zip(batches, same, strict=True) for x, y in zip(*pair, strict=True))
        assert not torch.equal(first[0][0], second[0][0])


def test_a_loop_that_is_left_early_ends_the_reading() -> None:
    with Ring(Filled(), 4, threads=2) as ring:
        for _ in ring:
            break
        assert len(list(ring)) == 6


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bad": "skips"}, "Ring's bad must be raise or skip or substitute, not 'skips'; did you mean 'skip'"),
        ({"bad_limit": 2}, "Ring's bad_limit must be a number from 0 to 1"),
        ({"batch_size": 0}, "Ring's batch_size must be a whole number from 1, not 0"),
        ({"threads": 0}, "Ring's threads must be a whole number from 1, or null, not 0"),
        ({"depth": -1}, "Ring's depth must be a whole number from 0, not -1"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Ring(Filled(), **{"batch_size": 4} | settings)


def test_a_batch_size_of_numpy_is_one() -> None:
    with Ring(Filled(), np.int64(4), threads=1) as ring:  # type: ignore[arg-type]
        assert len(ring) == 6
