import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest
import torch
from torch import Tensor

from accel.device.cpu import waiting_threads
from accel.device.cpu.waiting_threads import CROWDED, FREE, USER_VARIABLES, WaitingThreads, user_spin
from accel.parts import Backend

CPU = torch.device("cpu")
needs_gnu = pytest.mark.skipif(
    not waiting_threads.has_gnu_openmp() or (os.cpu_count() or 1) < 2, reason="needs GNU's OpenMP, two cores"
)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[WaitingThreads]:
    for name in USER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    waiting = WaitingThreads(CPU)
    yield waiting
    waiting.lengthen()
    torch.set_num_threads(before)


def run_seconds() -> dict[str, float]:
    """The seconds that each thread of this process has computed."""
    paths = Path("/proc/self/task").glob("*/schedstat")
    return {path.parent.name: int(path.read_text().split()[0]) / 1e9 for path in paths}


def spun(tensor: Tensor) -> float:
    """The share of the time between operations in which a thread spins that has nothing to do but to wait."""
    tensor.add_(1)
    before, began, gaps = run_seconds(), perf_counter(), 0.0
    for _ in range(30):
        tensor.add_(1)
        gap = perf_counter()
        while perf_counter() - gap < 0.001:  # shorter than it spins by default
            pass
        gaps += perf_counter() - gap
    after = run_seconds()
    own = str(os.getpid())
    others = sorted(after[thread] - before[thread] for thread in before.keys() & after.keys() if thread != own)
    return others[-1] / (perf_counter() - began)


@needs_gnu
def test_threads_that_wait_sleep_while_it_is_short_and_spin_again_afterwards(waiting: WaitingThreads) -> None:
    tensor = torch.zeros(1 << 16)
    spinning = max(spun(tensor) for _ in range(5))
    waiting.shorten()
    sleeping = min(spun(tensor) for _ in range(5))
    waiting.lengthen()
    again = max(spun(tensor) for _ in range(5))
    assert sleeping < 0.5 * min(spinning, again), (spinning, sleeping, again)


@needs_gnu
def test_they_sleep_for_a_while_and_go_back_to_what_they_did(waiting: WaitingThreads) -> None:
    with waiting.sleeping():
        holders = list(waiting.holders)
        assert holders
        assert all(holder.is_alive() for holder in holders)
        with waiting.sleeping():
            assert waiting.holders == holders
        assert waiting.released is not None
    assert waiting.released is None
    assert not any(holder.is_alive() for holder in holders)


@needs_gnu
def test_it_switches_by_how_many_threads_wait_for_a_core(waiting: WaitingThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_threads, "INTERVAL", 0.0)
    shares = iter([0.0, CROWDED + 0.1, FREE + 0.1, CROWDED + 0.1, FREE - 0.1])
    monkeypatch.setattr(waiting.delay, "share", lambda: next(shares))
    short = []
    for _ in range(5):
        waiting.check()
        short.append(waiting.released is not None)
    assert short == [False, True, True, True, False]
    assert waiting.holders == []
    waiting.began = perf_counter() - waiting.slept  # as if it had been the whole run
    assert "cores were wanted by others" in waiting.notes()[0]


def test_a_system_that_does_not_tell_leaves_it_as_it_is(waiting: WaitingThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_threads, "INTERVAL", 0.0)
    monkeypatch.setattr(waiting.delay, "share", lambda: None)
    waiting.check()
    assert not waiting.active
    assert waiting.notes() == []


@pytest.mark.parametrize("name", USER_VARIABLES)
def test_what_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "7")
    assert not WaitingThreads(CPU).active
    assert user_spin() == f"{name}=7"


def test_runs_on_a_gpu_and_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in USER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert not WaitingThreads(torch.device("cuda")).active
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not waiting_threads.has_gnu_openmp.__wrapped__()


def test_the_end_of_a_run_lets_threads_spin_again(waiting: WaitingThreads) -> None:
    backend = Backend()
    backend.apply(CPU)
    assert backend.waiting is not None
    backend.waiting.shorten()
    holders = list(backend.waiting.holders)
    assert all(holder.is_alive() for holder in holders)
    backend.restore()
    assert not any(holder.is_alive() for holder in holders)
