"""Whether a device multiplies bfloat16 by itself."""

from __future__ import annotations

import torch

from accel.system.machine import BF16_CAPABILITY, lacks_bf16

__all__ = ["describe_bf16_lack"]


def describe_bf16_lack(device: torch.device) -> str:
    """Return in words that `device` has no instructions for bfloat16; empty if it has them, or if that is not known."""
    if device.type == "cpu" and lacks_bf16():
        return "this CPU has no bfloat16 instructions (avx512_bf16, amx_bf16)"
    if device.type == "cuda" and torch.version.hip is None:
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) < BF16_CAPABILITY:
            name = torch.cuda.get_device_name(device)
            return f"this GPU ({name}, compute capability {major}.{minor}) has no bfloat16 instructions, and torch emulates them"
    return ""
