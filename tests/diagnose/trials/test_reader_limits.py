"""Readers are bounded by cores, memory and /dev/shm, each within what is free."""

from __future__ import annotations

import multiprocessing as mp
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from accel.data.batches.mapped import MapBatches
from accel.diagnose.machine.host_memory import HostMemory
from accel.diagnose.trials import reader_limits
from accel.diagnose.trials.reader_limits import MOST_READERS, first_count, most_readers, private_bytes
from accel.parts import Loader
from accel.plugins import Threads, Workers

MB = 2**20


def memory(free: int | None = None, shared: int | None = None) -> HostMemory:
    return HostMemory(None, free, None, None, shared)


def loader(kind: type[Any], count: int) -> Loader:
    made = kind()
    made.reader_count = count
    return made  # type: ignore[no-any-return]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> MapBatches:
    monkeypatch.setattr(reader_limits, "private_bytes", lambda: 20 * MB)
    return MapBatches(TensorDataset(torch.zeros(8, 2)), 4, 0, shuffle=False)


def test_readers_begin_with_one_for_each_core_of_the_rank() -> None:
    assert [first_count(*each) for each in ((8, 1), (8, 2), (1, 1), (1, 4))] == [8, 4, 1, 1]


def test_threads_are_bounded_by_number_alone(batches: MapBatches) -> None:
    scarce = memory(free=MB, shared=0)
    assert most_readers(loader(Threads, 2), batches, 10 * MB, scarce, 2, 1)[0] == MOST_READERS
    assert most_readers(loader(Threads, 2), batches, 10 * MB, scarce, 100, 1)[0] == 200


def test_processes_are_bounded_by_their_memory(batches: MapBatches) -> None:
    """Two take 20 MB of their own, and each reads two batches of 5 MB ahead: 20 MB each, within half of 160 MB."""
    most, bound = most_readers(loader(Workers, 2), batches, 5 * MB, memory(free=160 * MB), 2, 1)
    assert most == 2 + 4
    assert "of memory, of which 168 MB are free" in bound
    assert most_readers(loader(Workers, 2), batches, 5 * MB, memory(free=160 * MB), 2, 2)[0] == 2 + 2


def test_processes_are_bounded_by_what_they_can_share(batches: MapBatches) -> None:
    most, bound = most_readers(loader(Workers, 2), batches, 5 * MB, memory(free=10**12, shared=64 * MB), 2, 1)
    assert most == 3
    assert "/dev/shm" in bound
    assert most_readers(loader(Workers, 2), batches, 5 * MB, memory(free=10**12, shared=0), 2, 1)[0] == 1
    batches.has_fill = True  # then they write into memory of their own
    assert most_readers(loader(Workers, 2), batches, 5 * MB, memory(free=10**12, shared=0), 2, 1)[0] == MOST_READERS


def test_what_the_system_does_not_tell_bounds_nothing(batches: MapBatches) -> None:
    assert most_readers(loader(Workers, 2), batches, 5 * MB, memory(), 2, 1)[0] == MOST_READERS


def hold(ready: Any, end: Any) -> None:
    block = bytearray(64 * MB)
    block[::4096] = b"x" * len(block[::4096])
    ready.set()
    end.wait()


def test_the_memory_of_processes_is_measured() -> None:
    context = mp.get_context("fork")
    before = private_bytes()
    ready, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(ready, end), daemon=True)
    process.start()
    ready.wait()
    try:
        assert 64 * MB <= private_bytes() - before < 256 * MB
    finally:
        end.set()
        process.join()
