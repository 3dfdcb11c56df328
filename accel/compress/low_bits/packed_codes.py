"""Codes of a few bits, side by side in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

__all__ = ["count_bytes", "pack_codes", "unpack_codes"]


def count_bytes(numbers: int, bits: int) -> int:
    """Return the number of bytes that so many codes take."""
    return (numbers * bits + 7) // 8


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Return codes packed into bytes, (ceil(numel * bits / 8),) uint8. The lowest bit of the first is the lowest of the first byte.

    Args:
        codes: uint8 below 2^bits, of any shape, in the order of their dimensions.
        bits: 1 to 8.
    """
    flat = codes.contiguous().view(-1, 1)
    each = (flat >> torch.arange(bits, dtype=torch.uint8, device=codes.device) & 1).flatten()
    padded = torch.nn.functional.pad(each, (0, -len(each) % 8)).view(-1, 8)
    shifts = torch.arange(8, dtype=torch.uint8, device=codes.device)
    return (padded << shifts).sum(1, dtype=torch.uint8)


def unpack_codes(packed: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    """Return the codes, uint8 in a shape, of which `pack_codes` made bytes."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    each = (packed.view(-1, 1) >> shifts & 1).flatten()[: prod(shape) * bits].view(-1, bits)
    return (each << shifts[:bits]).sum(1, dtype=torch.uint8).view(tuple(shape))
