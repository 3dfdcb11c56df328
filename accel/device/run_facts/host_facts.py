"""The machine of a run in words, for its plan and its report."""

from __future__ import annotations

import platform

import torch

from accel.system.cpu.processor import read_processor
from accel.system.free_space import total_memory

__all__ = ["host_facts"]


def host_facts(device: torch.device) -> dict[str, str]:
    """Return processor, memory, GPU, torch and system of this machine, by name, in words. It takes a millisecond or two.

    Args:
        device: of the run; one on CUDA is described.
    """
    processor = read_processor()
    quota = f", with a quota of {processor.quota:g}" if processor.quota is not None else ""
    flags = f"; {', '.join(processor.flags)}" if processor.flags else ""
    facts = {"processor": f"{processor.name}, {processor.cores} of {processor.installed} cores{quota}{flags}"}
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
