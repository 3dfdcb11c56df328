"""End of a process with the one that started it, in whatever way that one ends."""

from __future__ import annotations

import os
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess

from accel.device.cuda.device_threads import DeviceThread

__all__ = ["end_with_parent"]


def end_with_parent() -> None:
    """End this process, of multiprocessing, as soon as its parent has: by kill -9 too, and in the middle of whatever it does."""
    DeviceThread(target=_exit_with, args=(parent_process(),), daemon=True).start()


def _exit_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)
