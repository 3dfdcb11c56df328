"""What the kinds of accelerator beside CUDA can and cannot: Apple's `mps`, and Intel's `xpu`.

CUDA alone has pinned memory here, streams, events and several ranks. On the other two every copy is waited for, so that nothing is
read before it has arrived.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.system.machine import OTHER_ACCELERATORS

__all__ = ["default_generator", "empty_cache", "has_float64", "moved", "other_accelerator", "sent", "synchronize", "wide_dtype"]


def other_accelerator(device: torch.device) -> Any:
    """Return torch's module of an accelerator that is no CUDA device, such as `torch.mps`; None for CUDA and the CPU."""
    return torch.get_device_module(device) if device.type in OTHER_ACCELERATORS else None


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64: an `mps` does not, and an `xpu` may not."""
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps"


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating point format of a device, in which sums are kept: float64 where it has that, else float32."""
    return torch.float64 if has_float64(device) else torch.float32


def sent(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor on a device. The host does not wait for a copy to CUDA; elsewhere a copy may read memory that is gone."""
    return tensor.to(device, dtype, non_blocking=device.type == "cuda")


def moved(value: Any, device: torch.device, what: str) -> Any:
    """Return a tensor, a module or another object with a method `to` on a device.

    Args:
        value: what is moved.
        device: where to.
        what: what it is, in words, for the message.

    Raises:
        ConfigError: if it holds numbers in float64, and the device has none.
    """
    if device.type in OTHER_ACCELERATORS and not has_float64(device) and (name := _float64_in(value)):
        raise ConfigError(
            f"device={device.type} has no float64, and {what} {name}; make it float32, with float(), or set device=cpu"
        )
    return value.to(device)


def _float64_in(value: Any) -> str:
    """Return in words that a tensor or a module has numbers in float64; empty if it has none."""
    wide = (torch.float64, torch.complex128)
    if isinstance(value, nn.Module):
        tensors = [*value.named_parameters(), *value.named_buffers()]
        return next((f"has {name} in it" for name, tensor in tensors if tensor.dtype in wide), "")
    return "has a tensor in it" if isinstance(value, Tensor) and value.dtype in wide else ""


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
        torch.get_device_module(device).synchronize()
