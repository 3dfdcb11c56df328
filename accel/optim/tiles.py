"""A row of parameters cut to what fits into the cache, so that an update made of several operations reads memory once.

An update in scratch memory is written and read several times before it reaches the weights. Over a whole model each of these
passes goes to memory; over a tile they stay in the cache. Nothing here depends on the gradients, so it is made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accel.optim.fused import Row

CPU_TILE, DEVICE_TILE = 1 << 20, 1 << 22
"""Numbers in a tile: on a CPU what its last cache holds of a few float32 arrays; on a device, what keeps it busy for long
enough, while scratch memory stays small."""
ALIGN = 64
"""Scratch tensors begin at multiples of so many numbers: kernels read them fastest from there."""


class Tile(NamedTuple):
    """Parameters, or a piece of one, that are updated by the same few calls."""

    params: list[Tensor]
    state: list[list[Tensor]]
    """One list for each name in `Fused.keeps`, as long as `params`; the step counters are those of the whole parameters."""
    grads: list[Tensor]
    """Scratch for the gradients, so that `p.grad` stays as it was found."""
    updates: list[Tensor]
    """Scratch for the updates: those of the section, or pieces of them."""
    lines: tuple[list[Tensor], list[Tensor]]
    """`params` and `updates`, each in one dimension where memory has no holes: for their norms."""


class Section(NamedTuple):
    """Whole parameters that are updated together: several small ones in one tile, or a large one in several."""

    places: list[int]
    """Where in the row the parameters stand."""
    params: list[Tensor]
    updates: list[Tensor]
    """Scratch for the updates, shaped like `params`; all sections use the same memory."""
    tiles: list[Tile]
    length: int
    """How much of the first dimension of a large parameter stands in one tile; 0 where nothing is cut."""

    def pieces(self, grads: list[Tensor]) -> Iterator[tuple[Tile, list[Tensor]]]:
        """Every tile with its part of the gradients of the row."""
        if self.length:
            yield from zip(self.tiles, ([piece] for piece in torch.split(grads[self.places[0]], self.length)), strict=True)
        else:
            yield self.tiles[0], [grads[place] for place in self.places]

    def norms(self, found: list[Tensor]) -> Tensor:
        """The norm of each parameter, `(len(params),)`, from the `squares` of its tiles, in their order."""
        together = whole(torch.stack(found))
        return (together.sum(0, keepdim=True) if self.length else together).sqrt_()


def squares(tensors: list[Tensor]) -> list[Tensor]:
    """The square of the 2-norm of each tensor, 0-dim, in float32 at least."""
    if all(tensor.dim() == 1 and tensor.device.type == "cpu" and tensor.element_size() >= 4 for tensor in tensors):
        return [torch.dot(tensor, tensor) for tensor in tensors]  # half as long as torch's norm needs on a CPU
    found = norms(tensors)
    return list(torch._foreach_mul(found, found))


def norms(tensors: list[Tensor]) -> list[Tensor]:
    """The 2-norm of each tensor, 0-dim, in float32 at least."""
    wide = tensors[0].dtype if tensors[0].element_size() >= 4 else torch.float32
    return list(torch._foreach_norm(tensors, 2, wide))


def scaled(tensors: list[Tensor], by: list[Tensor] | float, out: list[Tensor]) -> None:
    """Writes each tensor times its 0-dim number in `by` (or times `by`) to `out`."""
    if out[0].device.type == "cpu":
        factors: Sequence[Tensor | float] = [by] * len(out) if isinstance(by, float) else by
        for tensor, factor, to in zip(tensors, factors, out, strict=True):
            torch.mul(tensor, factor, out=to)
    else:
        torch._foreach_copy_(out, tensors)
        torch._foreach_mul_(out, by)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is spread over several processes (DTensor), in one piece; any other as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sections(row: Row, size: int | None = None) -> list[Section]:
    """The row in tiles of about `size` numbers. Large parameters are cut on the CPU alone: devices have the bandwidth."""
    device = row.params[0].device
    size = size or (CPU_TILE if device.type == "cpu" else DEVICE_TILE)
    found: list[list[int]] = []
    room = 0
    for place, param in enumerate(row.params):
        if _room(param) > room:
            found.append([])
            room = size
        found[-1].append(place)
        room -= _room(param)
    scratch = _Scratch(row.params[0])
    return [_section(row, places, size, scratch) for places in found]


def _section(row: Row, places: list[int], size: int, scratch: _Scratch) -> Section:
    params = [row.params[i].detach() for i in places]
    state = [[values[i] for i in places] for values in row.state]
    layouts = state[0] if state else params
    updates = scratch.like("updates", layouts)
    length = _length(layouts[0], size)
    if not length:
        tile = Tile(params, state, scratch.like("grads", layouts), updates, (lines(params), lines(updates)))
        return Section(places, params, updates, [tile], 0)
    count = -(-len(params[0]) // length)
    pieces = [[tensor] * count if tensor.dim() == 0 else torch.split(tensor, length) for [tensor] in state]
    tiles = []
    for number, (param, update) in enumerate(zip(torch.split(params[0], length), torch.split(updates[0], length), strict=True)):
        mine = [[piece[number]] for piece in pieces]
        tiles.append(Tile([param], mine, scratch.like("grads", [update]), [update], (lines([param]), lines([update]))))
    return Section(places, params, updates, tiles, length)


def lines(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors in one dimension, in the order of memory; one with holes, or on several processes, stays as it is."""
    return [
        tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
        if not hasattr(tensor, "full_tensor")
        and sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) == tensor.numel() - 1
        else tensor
        for tensor in tensors
    ]


def _length(layout: Tensor, size: int) -> int:
    """How much of its first dimension a tile of `size` takes of a tensor; 0 where it is small, or its pieces would have holes."""
    if layout.numel() <= size or layout.device.type != "cpu" or layout.stride(0) * layout.shape[0] != layout.numel():
        return 0
    return max(1, size // layout.stride(0))


def _room(tensor: Tensor) -> int:
    """How many numbers of scratch memory a tensor takes."""
    return -(-tensor.numel() // ALIGN) * ALIGN


class _Scratch:
    """Memory that is written anew before every use: one stretch of it for all."""

    def __init__(self, example: Tensor) -> None:
        self.example, self.memory = example, dict[str, Tensor]()

    def like(self, name: str, layouts: list[Tensor]) -> list[Tensor]:
        """Tensors in the shapes and memory layouts of `layouts` (which have no holes), one after another in memory `name`."""
        if hasattr(self.example, "full_tensor"):  # spread over processes: its pieces have sizes of their own
            return [torch.empty_like(layout) for layout in layouts]
        need = sum(map(_room, layouts))
        if name not in self.memory:
            self.memory[name] = self.example.new_empty(0)
        memory = self.memory[name]
        if memory.numel() < need:  # grown in place: the tensors handed out before share the storage, whatever its size
            memory.resize_(need)
        found, start = [], 0
        for layout in layouts:
            found.append(memory.as_strided(layout.shape, layout.stride(), start))
            start += _room(layout)
        return found
