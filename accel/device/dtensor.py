"""Tensors that are spread over several processes (DTensor): the piece that is here, and sums over all pieces.

The kernels move the piece that this process has. What they need of the whole, norms alone, is summed over the processes, for many
parameters in one collective.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Placement(NamedTuple):
    """Over which processes a parameter is spread; the mesh is None for one that is none of DTensor's."""

    mesh: Any = None
    axes: tuple[int, ...] = ()
    """The axes of the mesh along which processes have different pieces; along all others they have the same."""

    def all_reduce(self, sums: Tensor) -> Tensor:
        """The sum, number by number, of what each process found in its own pieces. Copies of the same piece count once."""
        for axis in self.axes:
            torch.distributed.all_reduce(sums, group=self.mesh.get_group(axis))
        return sums

    def norm(self, lengths: Tensor) -> Tensor:
        """The norm over all processes, 0-dim, from those of the pieces that are here."""
        whole: Tensor = torch.linalg.vector_norm(lengths)
        return whole if self.mesh is None else self.all_reduce(whole.square_()).sqrt_()


def placement(tensor: Tensor) -> Placement:
    """Over which processes a tensor is spread."""
    if not is_dtensor(tensor):
        return Placement()
    placements = tensor.placements  # type: ignore[attr-defined]
    axes = tuple(axis for axis, placement in enumerate(placements) if not placement.is_replicate())
    return Placement(tensor.device_mesh, axes)  # type: ignore[attr-defined]


def is_dtensor(tensor: Tensor) -> bool:
    """Whether it is a DTensor. Asking by name spares the import of `torch.distributed.tensor`."""
    return hasattr(tensor, "to_local")


def local_shard(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """The piece that is here, in the same memory; of a gradient, the piece that belongs to the parameter `like`."""
    if not is_dtensor(tensor):
        return tensor
    if like is not None and tensor.placements != like.placements:  # type: ignore[attr-defined]
        tensor = tensor.redistribute(like.device_mesh, like.placements)  # type: ignore[attr-defined]
    piece: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return piece


def with_shard(tensor: Tensor, piece: Tensor) -> Tensor:
    """The same of another piece, on any device, where nothing is to be computed with it: what is spread, over whom, how.

    `DTensor.from_local` would carry the piece to the device of the mesh, and wait for it.
    """
    kind: Any = type(tensor)
    again: Tensor = kind(piece, tensor._spec, requires_grad=False)  # type: ignore[attr-defined]
    return again


def shard_like(value: Any, like: Any) -> Any:
    """A tensor that every process has whole, spread as `like` is, where that is spread and as large; anything else as it is."""
    if not (isinstance(value, Tensor) and isinstance(like, Tensor)) or not is_dtensor(like) or is_dtensor(value):
        return value
    if value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    place = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(value.to(like.device), *place, src_data_rank=None)  # each takes its piece, and nothing travels


def total_norm(rows: Iterable[tuple[Placement, list[Tensor]]]) -> Tensor:
    """The 2-norm over all pieces of all rows together, 0-dim, in float32 at least; one collective for all that are spread alike."""
    kinds: dict[Placement, list[Tensor]] = {}
    for kind, pieces in rows:
        kinds.setdefault(kind, []).append(torch.stack(norms(pieces)))
    found = [kind.norm(torch.cat(lengths)) for kind, lengths in kinds.items()]
    return found[0] if len(found) == 1 else torch.linalg.vector_norm(torch.stack(found))


def norms(tensors: list[Tensor]) -> list[Tensor]:
    """The 2-norm of each tensor, 0-dim, in float32 at least."""
    wide = tensors[0].dtype if tensors[0].element_size() >= 4 else torch.float32
    return list(torch._foreach_norm(tensors, 2, wide))
