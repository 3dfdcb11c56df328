"""Numbers in float64, which some accelerators do not have: where sums are kept instead, and what cannot be moved there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.system.machine import OTHER_ACCELERATORS

__all__ = ["has_float64", "moved", "wide_dtype"]


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64: an `mps` does not, and an `xpu` may not."""
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps"


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating point format of a device, in which sums are kept: float64 where it has that, else float32."""
    return torch.float64 if has_float64(device) else torch.float32


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
