"""The kernels for a dtype on a device: torch's fused ones, where they have been seen to be right.

torch 2.13's fused SGD leaves every full SIMD block of a bfloat16 or float16 weight on a CPU where it is, without a word
(https://github.com/pytorch/pytorch/issues/191763). So no fused kernel is believed before it has moved a few small tensors, once in
a process, as plain operations do.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from accel.optim.kernels.plain_kernels import PLAIN, Kernel

__all__ = ["CASES", "SIZE", "fused_kernel", "is_dense", "is_right", "select_kernel"]

SIZE = 259
"""The length of the tensors in the test: two of the longest SIMD blocks (128 numbers of 16 bits) and a tail."""
SGD: dict[str, Any] = {
    "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "dampening": 0.0, "nesterov": False, "maximize": False, "is_first_step": False,
}  # fmt: skip
ADAM: dict[str, Any] = {
    "lr": 0.5,
    "beta1": 0.5,
    "beta2": 0.75,
    "weight_decay": 0.0,
    "eps": 0.125,
    "amsgrad": False,
    "maximize": False,
}
CASES: dict[str, tuple[dict[str, Any], ...]] = {
    "sgd": (
        SGD,
        {**SGD, "momentum": 0.5, "weight_decay": 0.25, "nesterov": True, "grad_scale": 4.0, "found_inf": 0.0},
        {**SGD, "momentum": 0.5, "weight_decay": 0.25, "dampening": 0.5, "maximize": True},
        {**SGD, "momentum": 0.5, "weight_decay": 0.25, "grad_scale": 4.0, "found_inf": 1.0},
    ),
    "adam": (
        {**ADAM, "weight_decay": 0.25, "grad_scale": 4.0, "found_inf": 0.0},
        {**ADAM, "beta1": 0.0, "maximize": True},
        {**ADAM, "weight_decay": 0.25, "grad_scale": 4.0, "found_inf": 1.0},
    ),
}
"""The settings of each step of the test, by algorithm: all that the optimisers here make use of."""
CASES["adamw"] = CASES["adam"]


def is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor lies in memory without gaps or overlaps, as the fused kernels take for granted.

    They walk through memory from the first number on: of a slice of a larger tensor they would move the neighbours (torch 2.13).
    """
    return torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def fused_kernel(name: str) -> Kernel:
    """Return torch's fused kernel of an algorithm: `sgd`, `adam` or `adamw`."""
    kernel: Kernel = getattr(torch, f"_fused_{name}_")
    return kernel


@lru_cache(maxsize=256)
def select_kernel(name: str, dtype: torch.dtype, device: torch.device) -> Kernel:
    """Return torch's fused kernel of an algorithm if it is right for a dtype on a device, else the plain operations.

    The test is made once in a process, and waits for the device. Its tensors hold no random numbers, so it draws none.

    Args:
        name: `sgd`, `adam` or `adamw`.
        dtype: of the weights, real.
        device: of the weights.
    """
    kernel = fused_kernel(name)
    return kernel if device.type == "meta" or is_right(kernel, name, dtype, device) else PLAIN[name]


@torch.no_grad()
def is_right(kernel: Kernel, name: str, dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether a kernel moves small tensors as plain operations do, to a few roundings of `dtype`.

    Args:
        kernel: the kernel, called as torch's.
        name: its algorithm.
        dtype: of the tensors.
        device: of the tensors.
    """
    limit, differences = 16 * torch.finfo(dtype).eps, []
    try:
        for case in CASES[name]:
            numbers = {key: torch.tensor(case[key], device=device) for key in ("grad_scale", "found_inf") if key in case}
            results = []
            for function in (kernel, PLAIN[name]):
                weights, *others = _tensors(name, case.get("momentum", 0.0), dtype, device)
                if case.get("beta1") == 0.0:  # the first moment is the gradient, and may be written over it
                    others[1] = others[0]
                function(weights, *others, **(case | numbers))
                results.append(torch.cat([tensor for tensors in (weights, *others[1:3]) for tensor in tensors]))
            differences.append(results[0] - results[1])  # of numbers between 0 and 4
    except (NotImplementedError, RuntimeError):  # there is no such kernel
        return False
    return bool((torch.cat(differences).abs() <= limit).all())


def _tensors(name: str, momentum: float, dtype: torch.dtype, device: torch.device) -> Iterable[list[Tensor]]:
    """Return what a kernel is called with: weights and gradients between 1 and 2, and the state."""
    ramp = torch.linspace(1.0, 2.0, SIZE, dtype=torch.float32, device=device).to(dtype)
    if name == "sgd":
        return [[ramp], [ramp * 2.0], [ramp * 0.5] if momentum else []]
    return [[ramp], [ramp * 2.0], [ramp * 0.5], [ramp * 0.25], [], [torch.full((), 2.0, dtype=torch.float32, device=device)]]
