"""Tells what makes the host wait for the device, within stretches of code."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from accel.device.host_reads import HostReads, place
from accel.system.call_stack import caller

__all__ = ["WAITS", "Reads", "Waits"]

WAITS = "called a synchronizing CUDA operation"
"""What torch warns with (`torch.cuda.set_sync_debug_mode`)."""


class Reads(HostReads):
    """On a CPU, where nothing waits: tells what would wait on CUDA. `start` and `stop` may be called again and again, in turn.

    Args:
        tell: is given file and line of each read, in the midst of it; what it raises is raised there.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.tell, self.on = tell, False

    def start(self) -> None:
        """From here on every read is told."""
        if not self.on:
            self.__enter__()  # type: ignore[no-untyped-call]
            self.on = True

    def stop(self) -> None:
        """Up to here."""
        if self.on:
            self.on = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def found(self, where: str) -> None:
        self.tell(where)


class Waits:
    """On CUDA: tells what does wait, as torch warns of it; otherwise the same as `Reads`."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.undo = ExitStack()

    def start(self) -> None:
        """From here on every wait is told; other warnings are shown as before."""
        self.stop()
        self.undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("always", f".*{WAITS}")
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        self.undo.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
        self.show = warnings.showwarning
        warnings.showwarning = self.warned
        torch.cuda.set_sync_debug_mode("warn")

    def stop(self) -> None:
        """Up to here; everything is as it was."""
        self.undo.close()

    def warned(self, message: Warning | str, *about: Any, **more: Any) -> None:
        """In place of `warnings.showwarning`: called in the midst of what waits."""
        if WAITS in str(message):
            self.tell(place(*caller()))
        else:
            self.show(message, *about, **more)
