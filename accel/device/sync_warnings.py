"""Reports of code that makes the host wait for the device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from accel.device.host_reads import HostReads, source_line
from accel.system.call_stack import caller

__all__ = ["SYNC_WARNING", "HostReadReporter", "SyncReporter"]

SYNC_WARNING = "called a synchronizing CUDA operation"
"""The text of torch's warning (`torch.cuda.set_sync_debug_mode`)."""


class HostReadReporter(HostReads):
    """Reports the host reads on a CPU, where nothing waits: each would wait on CUDA. `start` and `stop` may be called in turn.

    Args:
        report: takes file and line of each read, during the read; its exceptions are raised there.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__()
        self.report, self.active = report, False

    def start(self) -> None:
        """Report every read from here on."""
        if not self.active:
            self.__enter__()  # type: ignore[no-untyped-call]
            self.active = True

    def stop(self) -> None:
        """Report no more reads."""
        if self.active:
            self.active = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def record(self, line: str) -> None:
        """Report one read."""
        self.report(line)


class SyncReporter:
    """Reports the waits on CUDA, as torch warns of them; otherwise like `HostReadReporter`.

    Args:
        report: takes file and line of each wait, during the wait; its exceptions are raised there.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self.undo = ExitStack()

    def start(self) -> None:
        """Report every wait from here on; other warnings are shown as before."""
        self.stop()
        self.undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("always", f".*{SYNC_WARNING}")
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        self.undo.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
        self.show = warnings.showwarning
        warnings.showwarning = self.show_warning
        torch.cuda.set_sync_debug_mode("warn")

    def stop(self) -> None:
        """Report no more waits, and put `warnings` and torch's mode back."""
        self.undo.close()

    def show_warning(self, message: Warning | str, *args: Any, **kwargs: Any) -> None:
        """Report a wait, or show another warning: in place of `warnings.showwarning`, called during the wait."""
        if SYNC_WARNING in str(message):
            self.report(source_line(*caller()))
        else:
            self.show(message, *args, **kwargs)
