"""Worker processes that hang, found out as soon as they do, and not after seconds in which a busy worker looks the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from accel.data.loaders import worker_pool
from accel.data.loaders.worker_pool import WorkerPool


def hang(folder: Path, stop: bool = False) -> None:
    """Hang this worker process, and write its number into `folder` for `time_out_when_hung`.

    Args:
        folder: the same as there.
        stop: whether the system stops the process, instead of Python sleeping in it.
    """
    (folder / f"hung-{os.getpid()}").touch()
    if stop:
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)


def time_out_when_hung(workers: WorkerPool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pool's time limit run out for a worker that has called `hang`, and for no other.

    The pool waits as it always does, a moment at a time. A limit in seconds would have to be short, for the test to be quick, and
    long, for a worker on a busy machine to answer in time.
    """
    wait = worker_pool.wait

    def wait_or_time_out(objects: list[Any], timeout: float | None) -> list[Any]:
        assert timeout == workers.timeout is not None
        (worker,) = (worker for worker in workers.workers if worker.pipe in objects)
        while True:
            hung = (folder / f"hung-{worker.process.pid}").exists()
            ready = wait(objects, 0.002)
            if ready or hung:
                return ready

    monkeypatch.setattr(worker_pool, "wait", wait_or_time_out)
