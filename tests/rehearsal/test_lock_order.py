"""Threads that work on null devices do not wait for each other for ever, whatever other locks they hold."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from nullcuda import devices

runtime = ctypes.CDLL("libcudart.so.13")
NOT_READY = 600


@pytest.fixture(autouse=True)
def lazy() -> Iterator[None]:
    with devices.configured(lazy=1):
        yield


def test_work_may_want_a_lock_that_a_caller_holds() -> None:
    """As torch's allocators do: they call the runtime with a mutex held, and a piece of work that ends lets go of memory."""
    mutex, begun, wanted = threading.Lock(), threading.Event(), list[bool]()

    def work() -> None:
        begun.set()
        wanted.append(mutex.acquire(timeout=5))

    devices.enqueue(0, work)
    with mutex:
        thread = threading.Thread(target=torch.cuda.synchronize)
        thread.start()
        begun.wait()
        torch.cuda.current_stream().query()
        devices.count("cudaMalloc")
    thread.join()
    assert wanted == [True]


def test_two_threads_wait_for_two_streams_that_wait_for_each_other() -> None:
    """Each does one stream's work and comes to a wait for that of the other."""
    streams, order = [torch.cuda.Stream(), torch.cuda.Stream()], list[int]()
    for number in range(40):
        here, there = streams[number % 2], streams[(number + 1) % 2]
        devices.enqueue(here.cuda_stream, partial(order.append, number))
        there.wait_stream(here)
    threads = [threading.Thread(target=stream.synchronize) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == list(range(40))


def test_a_query_of_native_code_does_no_work() -> None:
    """It may come from an allocator, with its mutex held, and work takes Python's lock."""
    torch.zeros(4, device="cuda")
    passed = torch.cuda.Event()
    passed.record()
    handle = ctypes.c_void_p(passed.cuda_event)
    assert {int(runtime.cudaEventQuery(handle)) for _ in range(5)} == {NOT_READY}, "ctypes lets go of Python's lock"
    runtime.cudaGetLastError()
    assert devices.pending() > 0
    passed.synchronize()
    assert runtime.cudaEventQuery(handle) == 0
