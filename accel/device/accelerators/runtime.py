"""Runtime of the accelerators beside CUDA, as torch has it for each: generators, copies, memory.

CUDA alone has pinned memory here, streams, events and several ranks. On the other two every copy is waited for, so that nothing is
read before it has arrived.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.system.machine import OTHER_ACCELERATORS

__all__ = ["default_generator", "empty_cache", "other_accelerator", "sent", "synchronize"]


def other_accelerator(device: torch.device) -> Any:
    """Return torch's module of an accelerator that is no CUDA device, such as `torch.mps`; None for CUDA and the CPU."""
    return torch.get_device_module(device) if device.type in OTHER_ACCELERATORS else None


def sent(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor on a device. The host does not wait for a copy to CUDA; elsewhere a copy may read memory that is gone."""
    return tensor.to(device, dtype, non_blocking=device.type == "cuda")


def default_generator(device: torch.device) -> torch.Generator | None:
    """Return torch's generator of an accelerator; None for the CPU, whose generator is `torch.default_generator`."""
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    if device.type not in ("cuda", "xpu"):
        return None
    module: Any = torch.get_device_module(device)
    module.init()  # before that there are no generators
    index = module.current_device() if device.index is None else device.index
    generator: torch.Generator = module.default_generators[index]
    return generator


def empty_cache(device: torch.device) -> None:
    """Return the unused memory that torch keeps of an accelerator to the device."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done all that was queued."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(*([] if device.type == "mps" else [device]))
