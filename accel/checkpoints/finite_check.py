"""Check that a state is finite, made on its copy by the thread that writes it, so that no update waits for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accel.checkpoints.snapshot import tensors
from accel.checkpoints.weights.weight_names import plain_names

__all__ = ["BITS", "BLOCK", "MOVED", "FiniteCheck", "finite", "tracked_state"]

BITS = {
    torch.float16: (np.int16, 0x7C00), torch.bfloat16: (np.int16, 0x7F80), torch.float32: (np.int32, 0x7F800000),
    torch.float64: (np.int64, 0x7FF0000000000000),
}  # fmt: skip
"""By dtype: the integer of its width, and the bits of its exponent, which are all 1 in NaN and infinity alone."""
BLOCK = 1 << 18
"""Numbers checked at a time: they stay in the processor's cache."""
MOVED = ("optim", "average", "precision")
"""Parts whose tensors an update moves. Others may keep an infinity with a meaning, such as the best loss so far."""


class FiniteCheck:
    """Check of the weights, and of the state that optimiser and average keep of them.

    Args:
        model: the model before its first update: a buffer that is infinite then, such as a mask, may be so.
    """

    def __init__(self, model: nn.Module) -> None:
        plain = plain_names(model)
        self.exempt = {(plain.get(name, name),) for name, buffer in model.named_buffers() if not finite(buffer.detach().cpu())}

    def __call__(self, state: dict[str, Any], roles: dict[str, str]) -> bool:
        """Return whether a state, as `capture` makes it, is finite.

        Args:
            state: the state, with the `loss` of the last update.
            roles: name under which each part in `MOVED` keeps its state.
        """
        weights = (tensor for place, tensor in tensors(state["model"]) if place not in self.exempt)
        moved = (tensor for role in MOVED for _, tensor in tensors(state["parts"].get(roles.get(role, role))))
        loss = [] if state.get("loss") is None else [state["loss"]]
        return all(finite(tensor) for group in (loss, weights, moved) for tensor in group)


def tracked_state(parts: Any) -> dict[str, str]:
    """Return the name under which each part in `MOVED` keeps its state."""
    return {role: getattr(parts, role).name for role in MOVED}


def finite(tensor: Tensor) -> bool:
    """Return whether a tensor on the host holds neither NaN nor infinity. Use one thread: the others belong to the training."""
    if tensor.dtype not in BITS or tensor.layout != torch.strided:
        return True
    kind, exponent = BITS[tensor.dtype]
    # as integers, because numpy knows no bfloat16; the order of the numbers does not matter
    flat = tensor.detach().contiguous().reshape(-1).view(getattr(torch, np.dtype(kind).name)).numpy()
    return all((flat[start : start + BLOCK] & kind(exponent)).max() != exponent for start in range(0, len(flat), BLOCK))
