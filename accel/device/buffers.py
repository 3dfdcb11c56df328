"""The buffers of a model, put back if an update is skipped."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["BufferGroup", "BufferSlot", "Buffers", "buffer_group", "same_format", "writable"]


class BufferSlot(NamedTuple):
    """The place of a buffer: the buffers of its module, and its name among them."""

    buffers: dict[str, Tensor | None]
    name: str


class BufferGroup(NamedTuple):
    """The buffers of one dtype on one device, and two flat tensors with room for all of them."""

    buffers: list[Tensor]
    saved: Tensor
    saved_views: list[Tensor]
    """Views of `kept`, in the shapes of the buffers."""
    current: Tensor
    current_views: list[Tensor]


class Buffers:
    """The buffers that the forward passes of an update move (BatchNorm's statistics and counters), with their values before it.

    They move before anyone can know whether the update is to be skipped, and one NaN among them stays for good. Gathered in one
    tensor per dtype they take four operations per update, however many there are. Nothing is read on the host.

    Args:
        model: the module whose buffers are kept; sparse and expanded ones are left out.
    """

    def __init__(self, model: nn.Module) -> None:
        self.collect(model)

    def collect(self, model: nn.Module) -> None:
        """Collect the buffers that the model has now, and save their values."""
        slots: dict[tuple[torch.device, torch.dtype], dict[Tensor, BufferSlot]] = {}
        for module in model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.numel() and buffer.layout == torch.strided and writable(buffer):
                    slots.setdefault((buffer.device, buffer.dtype), {}).setdefault(buffer, BufferSlot(module._buffers, name))
        self.groups = [buffer_group(list(buffers)) for buffers in slots.values()]
        self.slots = [list(buffers.values()) for buffers in slots.values()]
        self.save()

    def save(self) -> None:
        """Save the present values, to be restored after a skipped update."""
        for group in self.groups:
            torch._foreach_copy_(group.saved_views, group.buffers)

    def restore_if_skipped(self, found_inf: Tensor) -> None:
        """Put the saved values back if `found_inf` (0-dim, on the device) is not 0; else save the present ones."""
        self.track_reassigned()
        for group in self.groups:
            torch._foreach_copy_(group.current_views, group.buffers)
            torch.where(found_inf != 0, group.saved, group.current, out=group.saved)
            torch._foreach_copy_(group.buffers, group.saved_views)

    def track_reassigned(self) -> None:
        """Track the buffers that the forward passes have replaced by new tensors of equal shape and dtype.

        A copy of each new tensor takes its place: the tensor may be the user's own (a batch, say), which nobody may write to.
        """
        for group, slots in zip(self.groups, self.slots, strict=True):
            for index, (buffers, name) in enumerate(slots):
                old, new = group.buffers[index], buffers.get(name)
                if new is not old and new is not None and same_format(old, new):
                    group.buffers[index] = buffers[name] = new.detach().clone()


def buffer_group(buffers: list[Tensor]) -> BufferGroup:
    """Return the group of these buffers, all of one dtype on one device."""
    sizes = [buffer.numel() for buffer in buffers]

    def flat() -> tuple[Tensor, list[Tensor]]:
        tensor = buffers[0].new_empty(sum(sizes))
        return tensor, [part.view(buffer.shape) for part, buffer in zip(torch.split(tensor, sizes), buffers, strict=True)]

    return BufferGroup(buffers, *flat(), *flat())


def same_format(a: Tensor, b: Tensor) -> bool:
    """Return whether one tensor can take the numbers of the other: one shape, dtype and device, and strided."""
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and b.layout == torch.strided


def writable(tensor: Tensor) -> bool:
    """Return whether each number has its own place in memory, which is not so after `expand`."""
    return all(stride or size == 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
