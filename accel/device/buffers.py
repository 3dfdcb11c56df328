"""The buffers of a model, to be put back where an update moves nothing."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class BufferSlot(NamedTuple):
    """Where a buffer stands: in which module's buffers, by which name."""

    buffers: dict[str, Tensor | None]
    name: str


class BufferGroup(NamedTuple):
    """The buffers of one format on one device, and two flat tensors with room for all of them."""

    buffers: list[Tensor]
    saved: Tensor
    saved_views: list[Tensor]
    """Views of `kept`, in the shapes of the buffers."""
    current: Tensor
    current_views: list[Tensor]


class Buffers:
    """What the forward passes of an update moved (BatchNorm's statistics and counters), with what it was before.

    They move before anyone can know whether the update is to be skipped, and one NaN among them stays for good. Put together
    in one tensor per format they take four operations per update, however many there are; nothing is read on the host.
    """

    def __init__(self, model: nn.Module) -> None:
        found: dict[tuple[torch.device, torch.dtype], dict[Tensor, BufferSlot]] = {}
        for module in model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.numel() and buffer.layout == torch.strided and writable(buffer):
                    found.setdefault((buffer.device, buffer.dtype), {}).setdefault(buffer, BufferSlot(module._buffers, name))
        self.groups = [buffer_group(list(buffers)) for buffers in found.values()]
        self.slots = [list(buffers.values()) for buffers in found.values()]
        self.save()

    def save(self) -> None:
        """What they are now is what to go back to."""
        for row in self.groups:
            torch._foreach_copy_(row.saved_views, row.buffers)

    def restore_if_skipped(self, found_inf: Tensor) -> None:
        """Puts them back where `found_inf` (0-dim on the device) is not 0; otherwise what they are now is what to go back to."""
        self.track_reassigned()
        for row in self.groups:
            torch._foreach_copy_(row.current_views, row.buffers)
            torch.where(found_inf != 0, row.saved, row.current, out=row.saved)
            torch._foreach_copy_(row.buffers, row.saved_views)

    def track_reassigned(self) -> None:
        """Finds the buffers that the forward passes assigned anew, of the same shape and format: from now on they are meant.

        A copy of each takes its place: what was assigned may be the user's own (a batch, say), and is not to be written to.
        """
        for row, places in zip(self.groups, self.slots, strict=True):
            for number, (buffers, name) in enumerate(places):
                old, new = row.buffers[number], buffers.get(name)
                if new is not old and new is not None and same_format(old, new):
                    row.buffers[number] = buffers[name] = new.detach().clone()


def buffer_group(buffers: list[Tensor]) -> BufferGroup:
    """The row of these buffers, of one format on one device."""
    sizes = [buffer.numel() for buffer in buffers]

    def flat() -> tuple[Tensor, list[Tensor]]:
        tensor = buffers[0].new_empty(sum(sizes))
        return tensor, [part.view(buffer.shape) for part, buffer in zip(torch.split(tensor, sizes), buffers, strict=True)]

    return BufferGroup(buffers, *flat(), *flat())


def same_format(a: Tensor, b: Tensor) -> bool:
    """Whether one can take the numbers of the other."""
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and b.layout == torch.strided


def writable(tensor: Tensor) -> bool:
    """Whether each number has a place of its own in memory, as in none that was expanded."""
    return all(stride or size == 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
