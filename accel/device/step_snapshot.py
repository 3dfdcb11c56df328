"""Snapshot of RNG state and buffers, so that an update can be run again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from accel.device.accelerators.runtime import default_generator
from accel.device.buffers import writable
from accel.device.rng import host_rng_state, set_host_rng_state

__all__ = ["PROBED_UPDATES", "StepSnapshot", "group_buffers"]

PROBED_UPDATES = 8
"""The number of updates in which draws from Python's generator and numpy's are looked for, by the model or the loss."""


class StepSnapshot:
    """Snapshot of the state that forward and backward passes move, at a cost of a few microseconds per update.

    torch's generators are copied every time (1 microsecond each). So are the model's buffers, if it has any, moved in place or
    assigned anew. Python's generator and numpy's take 50 microseconds. They are copied in the first `PROBED_UPDATES` updates, and
    later only if something drew from them there.

    Args:
        model: the module whose buffers are kept.
        device: of the run; the generator of an accelerator is one of torch's.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.generators = [torch.default_generator]
        if (generator := default_generator(device)) is not None:
            self.generators.append(generator)
        self.modules = [module for module in model.modules() if module._buffers]
        self.watched, self.draws = 0, False
        self.host: Any = None
        self.buffers: list[Tensor | None] = []
        """The buffers of the last snapshot, in order, flat and by module."""
        self.module_buffers: list[dict[str, Tensor | None]] = []
        self.groups: list[tuple[list[Tensor], list[Tensor]]] = []
        """The buffers that can be written, by device and dtype, and their copies."""

    def take(self) -> None:
        """Take a snapshot of the present state."""
        self.states = [generator.get_state() for generator in self.generators]
        if self.draws or self.watched < PROBED_UPDATES:
            self.host = host_rng_state()
        if self.modules:
            buffers = [buffer for module in self.modules for buffer in module._buffers.values()]
            if len(buffers) != len(self.buffers) or any(a is not b for a, b in zip(buffers, self.buffers, strict=True)):
                self.buffers, self.groups = buffers, group_buffers(buffers)
                self.module_buffers = [dict(module._buffers) for module in self.modules]
            for group, copies in self.groups:
                torch._foreach_copy_(copies, group)

    def discard(self) -> None:
        """End an update that needs no snapshot any longer."""
        if self.watched < PROBED_UPDATES and not self.draws:
            self.watched += 1
            self.draws = host_rng_state() != self.host
            self.host = None

    def restore(self) -> None:
        """Restore the snapshot. It may be called more than once."""
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)
        if self.host is not None:
            set_host_rng_state(self.host)
        for module, buffers in zip(self.modules, self.module_buffers, strict=True):
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for group, copies in self.groups:
                torch._foreach_copy_(group, copies)


def group_buffers(buffers: list[Tensor | None]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Return the buffers by device and dtype, each with room for a copy."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for buffer in buffers:
        if buffer is not None and buffer.numel() and buffer.layout == torch.strided and writable(buffer):
            groups.setdefault((buffer.device, buffer.dtype), []).append(buffer.detach())
    return [(group, [torch.empty_like(buffer) for buffer in group]) for group in groups.values()]
