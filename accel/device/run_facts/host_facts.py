"""The machine of a run in words, for its plan and its report."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

from accel.system.free_space import total_memory
from accel.system.machine import cores

__all__ = ["CPUINFO", "host_facts"]

CPUINFO = Path("/proc/cpuinfo")


def host_facts(device: torch.device) -> dict[str, str]:
    """Return processor, memory, GPU, torch and system of this machine, by name, in words. It takes a millisecond or two.

    Args:
        device: of the run; one on CUDA is described.
    """
    processor = platform.processor() or platform.machine()
    try:
        with CPUINFO.open() as file:  # a large machine has a megabyte of it
            processor = next((match[1] for line in file if (match := re.match(r"model name\s*:\s*(.+)", line))), processor)
    except OSError:
        pass
    facts = {"processor": f"{processor}, {cores()} of {os.cpu_count() or cores()} cores"}
    if (memory := total_memory()) is not None:
        facts["memory"] = f"{memory / 1e9:.3g} GB"
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        facts["GPU"] = f"{card.name}, {card.total_memory / 1e9:.3g} GB, capability {card.major}.{card.minor}"
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU"
    threads = torch.get_num_threads()
    facts["torch"] = f"{torch.__version__} {built}, {threads} thread{'s' * (threads != 1)}"
    facts["system"] = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return facts
