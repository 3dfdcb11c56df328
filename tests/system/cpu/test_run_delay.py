import os
from pathlib import Path
from threading import Thread

import pytest
import torch

from accel.system.cpu import run_delay
from accel.system.cpu.run_delay import RunDelay

needs_linux = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not tell")


def compute() -> None:
    """Compute for a while, without the lock of the interpreter."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    matrix = torch.ones(400, 400)
    for _ in range(20):
        matrix @ matrix
    torch.set_num_threads(before)


@needs_linux
def test_two_threads_on_one_core_wait_for_each_other() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        delay = RunDelay()
        threads = [Thread(target=compute) for _ in range(2)]
        for thread in threads:
            thread.start()
        delay.share()  # the threads are known from here on
        compute()
        share = delay.share()
        for thread in threads:
            thread.join()
    finally:
        os.sched_setaffinity(0, cores)
    assert share is not None
    assert share > 0.3


def test_a_system_that_does_not_tell_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_delay, "delays", dict)
    assert RunDelay().share() is None
