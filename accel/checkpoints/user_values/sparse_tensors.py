"""Sparse tensors, kept as the dense tensors that they are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["SPARSE", "from_pieces", "is_sparse", "pieces_of"]

SPARSE = {
    str(layout): layout for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
}
"""The sparse layouts, by name."""
BY_ROWS = (torch.sparse_csr, torch.sparse_bsr)


def is_sparse(value: Any) -> bool:
    """Return whether a value is a sparse tensor, of any of torch's layouts."""
    return isinstance(value, Tensor) and str(value.layout) in SPARSE


def pieces_of(tensor: Tensor) -> list[Tensor]:
    """Return the dense tensors that a sparse one is made of, which share its memory: its indices, then its numbers."""
    tensor = tensor.detach()
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in BY_ROWS:
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]


def from_pieces(layout: str, shape: list[int], pieces: list[Tensor], coalesced: bool) -> Tensor:
    """Return the sparse tensor of these pieces.

    Args:
        layout: its layout, a name in `SPARSE`.
        shape: its shape.
        pieces: its pieces.
        coalesced: whether no index comes twice (torch.sparse_coo).

    Raises:
        RuntimeError: for indices beyond its shape.
    """
    if layout == str(torch.sparse_coo):
        indices, values = pieces
        return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True)._coalesced_(coalesced)
    outer, inner, values = pieces
    return torch.sparse_compressed_tensor(outer, inner, values, shape, layout=SPARSE[layout], check_invariants=True)
