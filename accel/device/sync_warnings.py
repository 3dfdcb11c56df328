"""Tells what makes the host wait for the device, within stretches of code."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from accel.device.host_reads import HostReads, source_line
from accel.system.call_stack import caller

SYNC_WARNING = "called a synchronizing CUDA operation"
"""What torch warns with (`torch.cuda.set_sync_debug_mode`)."""


class HostReadReporter(HostReads):
    """On a CPU, where nothing waits: tells what would wait on CUDA. `start` and `stop` may be called again and again, in turn.

    Args:
        tell: is given file and line of each read, in the midst of it; what it raises is raised there.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.report, self.active = tell, False

    def start(self) -> None:
        """From here on every read is told."""
        if not self.active:
            self.__enter__()  # type: ignore[no-untyped-call]
            self.active = True

    def stop(self) -> None:
        """Up to here."""
        if self.active:
            self.active = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def record(self, where: str) -> None:
        self.report(where)


class SyncReporter:
    """On CUDA: tells what does wait, as torch warns of it; otherwise the same as `Reads`."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.report = tell
        self.undo = ExitStack()

    def start(self) -> None:
        """From here on every wait is told; other warnings are shown as before."""
        self.stop()
        self.undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("always", f".*{SYNC_WARNING}")
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        self.undo.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
        self.show = warnings.showwarning
        warnings.showwarning = self.show_warning
        torch.cuda.set_sync_debug_mode("warn")

    def stop(self) -> None:
        """Up to here; everything is as it was."""
        self.undo.close()

    def show_warning(self, message: Warning | str, *about: Any, **more: Any) -> None:
        """In place of `warnings.showwarning`: called in the midst of what waits."""
        if SYNC_WARNING in str(message):
            self.report(source_line(*caller()))
        else:
            self.show(message, *about, **more)
