"""Threads that inherit the current CUDA device.

CUDA has a current device in each thread, and it is number 0 in a new one. Memory that is pinned there, streams, and tensors that
the user makes by `device="cuda"` go by it. So every thread that accel starts is made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

import torch

__all__ = ["DeviceThread", "current_device", "on_device", "thread_pool"]


def current_device() -> int | None:
    """Return the number of this thread's current CUDA device; None as long as nothing in this process has used CUDA."""
    initialised = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return torch.cuda.current_device() if initialised else None


@contextmanager
def on_device(index: int | None) -> Iterator[None]:
    """Make a CUDA device the current one while the block runs; None changes nothing."""
    if index is None:
        yield
        return
    with torch.cuda.device(index):
        yield


class DeviceThread(Thread):
    """Thread with the current CUDA device of the thread that starts it. Arguments as for `threading.Thread`.

    A subclass that defines `run` does its work inside `on_device(self.device)`.
    """

    device: int | None = None

    def start(self) -> None:
        """Start the thread."""
        self.device = current_device()
        super().start()

    def run(self) -> None:
        """Do the work."""
        with on_device(self.device):
            super().run()


def thread_pool(count: int) -> ThreadPoolExecutor:
    """Return a pool of threads with the current CUDA device of the caller."""
    return ThreadPoolExecutor(count, initializer=_make_current, initargs=(current_device(),))


def _make_current(index: Any) -> None:
    """Make a CUDA device the current one of this thread for good."""
    if index is not None:
        torch.cuda.set_device(index)
