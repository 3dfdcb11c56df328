"""The peak of memory in use since the last reading."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

__all__ = ["CLEAR", "STATUS", "DeviceMemoryPeak", "ProcessMemoryPeak", "peak_rss"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class DeviceMemoryPeak:
    """The memory that torch has allocated on a CUDA device. It asks torch's allocator and does not wait for the device.

    Args:
        device: a CUDA device.
    """

    resets = True
    description = "allocated on the device"

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def read_and_reset(self) -> int:
        """Return the peak in bytes since the last call."""
        peak = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak


class ProcessMemoryPeak:
    """The physical memory of this process, libraries and data included, as Linux counts it."""

    description = "resident memory of the process"

    def __init__(self) -> None:
        self.resets = self.reset()

    def read_and_reset(self) -> int:
        """Return the peak in bytes since the last call; since the process began, if the system cannot reset it (`resets`)."""
        peak = peak_rss()
        self.reset()
        return peak

    def reset(self) -> bool:
        """Lower the peak to the present use; return False if that is not allowed."""
        try:
            CLEAR.write_bytes(b"5")
        except OSError:
            return False
        return True


def peak_rss() -> int:
    """Return the peak of this process's resident memory in bytes."""
    try:
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:  # no Linux: the peak since the process began, which cannot be reset there
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
