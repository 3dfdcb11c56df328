"""The distance between two sets of tensors, layer by layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from accel.device.accelerators.float64 import wide_dtype

__all__ = ["FLOOR", "Distances", "layer_distances", "layer_of"]

FLOOR = 1e-3
"""Share of the norm of all layers that a layer counts with at least: a bias in front of a normalisation has no gradient at all."""


class Distances(NamedTuple):
    """Distances by layer.

    Args:
        layers: names of the layers, in the order of the model.
        numbers: the distances, (layers,) float32 on the device.
    """

    layers: list[str]
    numbers: Tensor

    def named(self, numbers: list[float]) -> dict[str, float]:
        """Return the distances, as they were read, by layer."""
        return dict(zip(self.layers, numbers, strict=True))


def layer_of(name: str) -> str:
    """Return the layer of a parameter: the module that it belongs to, or its own name at the top of the model.

    >>> layer_of("blocks.0.linear.weight"), layer_of("scale")
    ('blocks.0.linear', 'scale')
    """
    return name.rpartition(".")[0] or name


def layer_distances(values: dict[str, Tensor], plain: dict[str, Tensor]) -> Distances:
    """Return how far the values of each layer are from the plain ones: the 2-norm of the difference over that of the plain ones.

    Args:
        values: tensors by name of the parameter; one that is missing counts as zeros.
        plain: the same, to compare with.
    """
    squares: dict[str, tuple[Tensor, Tensor]] = {}
    for name, tensor in plain.items():
        other = values.get(name)
        difference = tensor if other is None else other.to(tensor.dtype) - tensor
        wide = wide_dtype(tensor.device)
        pair = difference.to(wide).abs().square().sum(), tensor.to(wide).abs().square().sum()
        layer = layer_of(name)
        before = squares.get(layer)
        squares[layer] = pair if before is None else (before[0] + pair[0], before[1] + pair[1])
    if not squares:
        return Distances([], torch.zeros(0))
    differences, norms = (torch.stack(column).sqrt() for column in zip(*squares.values(), strict=True))
    floor = FLOOR * norms.square().sum().sqrt() + torch.finfo(torch.float32).tiny
    return Distances(list(squares), (differences / norms.maximum(floor)).float())
