"""How much memory was in use at most since one last looked."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class DeviceMemoryPeak:
    """What torch has allocated on a CUDA device. It asks torch's allocator; the device is not waited for."""

    resets = True
    description = "allocated on the device"

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def read_and_reset(self) -> int:
        """The most bytes since the last call."""
        peak = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak


class ProcessMemoryPeak:
    """What this process holds in physical memory, libraries and data included, as Linux counts it."""

    description = "resident memory of the process"

    def __init__(self) -> None:
        self.resets = self.reset()

    def read_and_reset(self) -> int:
        """The most bytes since the last call; where the system does not let go of the peak (`resets`), since the process began."""
        peak = peak_rss()
        self.reset()
        return peak

    def reset(self) -> bool:
        """Makes the peak what is in use now; False where that is not allowed."""
        try:
            CLEAR.write_bytes(b"5")
        except OSError:
            return False
        return True


def peak_rss() -> int:
    """The peak of this process's resident memory in bytes."""
    try:
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:  # no Linux: the peak since the process began, which nothing lets go of there
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
