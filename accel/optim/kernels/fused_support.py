"""Whether torch's fused kernels can move some weights, here and in their dtype."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.device.dtensor import local_shard
from accel.optim.fused import Fused
from accel.optim.kernels.kernel_check import is_dense, select_kernel
from accel.optim.kernels.plain_kernels import PLAIN

__all__ = ["has_fused", "plain_dtypes"]


def has_fused(params: list[tuple[str, Tensor]], device: torch.device) -> bool:
    """Return whether torch's fused kernels can move `params`: on `device`, real, each without gaps or overlaps in memory."""
    if device.type not in ("cpu", "cuda", "mps", "xpu"):
        return False
    pieces = [local_shard(param) for _, param in params]
    return all(piece.is_floating_point() and is_dense(piece) for piece in pieces)


def plain_dtypes(optimizer: Optimizer) -> list[str]:
    """Return the dtypes of weights for which a fused optimiser has to do without a fused kernel, as texts.

    It makes the test of the kernels (`accel.optim.kernels.kernel_check`), if this process has not made it yet.
    """
    if not isinstance(optimizer, Fused):
        return []
    params = {(param.dtype, param.device) for group in optimizer.param_groups for param in group["params"]}
    plain = {
        str(dtype).removeprefix("torch.")
        for dtype, device in params
        for name in optimizer.algorithms
        if select_kernel(name, optimizer.kernel_dtype(dtype), device) is PLAIN[name]
    }
    return sorted(plain)
